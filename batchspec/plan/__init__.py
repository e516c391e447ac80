"""The planner: a spec and observed facts → :class:`~batchspec.plan.plan.Plan`.

In: a spec and :class:`~batchspec.plan.observed.Observed`. Out: a frozen plan of steps with reasons,
findings, and the snapshot that it is based on. Functions: ``build`` (``plan``, ``apply``,
``retry``), ``attach``, ``destroy``, ``assemble.detached``, and ``plan_file`` for saved plans.

Not here: reading or changing the account or the disk (``observe``, ``apply``), requests
(``cloud``), formatted output (``render``). Everything is pure; time is an argument.

Modules are imported one by one, because imports count in the start time of a command.
"""
