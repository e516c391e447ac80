"""The rules that every plan is checked against.

In: a :class:`~batchspec.plan.rules.rule.RuleContext`. Out: diagnostics. A rule is one function
with its code, severity, title, reason and fix in its decorator; ``registry`` lists all of them, and
``docs/findings.md`` is generated from it. To add a rule, add the function and a case in
``tests/plan/cases``. Not here: steps, and requests to the account.
"""
