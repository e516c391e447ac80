"""batchspec: one YAML file describes a whole Azure Batch run.

::

    import batchspec

    spec = batchspec.load("topn.yaml", variables={"top": 5})
    print(batchspec.plan(spec).markdown)
    report = batchspec.apply(spec)
    print(report.outcome, report.tasks.succeeded)

Nothing is printed, no signal is handled, and the process is not ended. Errors are exceptions with
:class:`Diagnostic` values: :class:`BatchspecError` and its subclasses. :mod:`batchspec.aio` has the
same functions for programs with an event loop, :mod:`batchspec.events` the events of a run, and
:mod:`batchspec.local` the embedded service. Other modules are not public.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

# The functions `plan` and `apply` replace the packages of these names as attributes of this
# package: an import sets the attribute, hence these imports come before the functions.
import batchspec.apply
import batchspec.plan  # noqa: F401
from batchspec.lazy_imports import lazy_names
from batchspec.version import __version__

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping

    from batchspec.api.options import Target
    from batchspec.api.values import (
        Confirm,
        ConsentError,
        LoadedSpec,
        PlanStep,
        Question,
        RunError,
        RunPlan,
    )
    from batchspec.apply.events import Outcome, Stamped
    from batchspec.diagnostics import (
        BatchspecError,
        ConflictError,
        Diagnostic,
        DiskError,
        Place,
        Secret,
        ServiceError,
        Severity,
        SignInError,
        SpecError,
        StalePlanError,
        UsageError,
    )
    from batchspec.render import Report, Status

__all__ = [
    "BatchspecError",
    "ConflictError",
    "ConsentError",
    "Diagnostic",
    "DiskError",
    "LoadedSpec",
    "Outcome",
    "Place",
    "PlanStep",
    "Question",
    "Report",
    "RunError",
    "RunPlan",
    "Secret",
    "ServiceError",
    "Severity",
    "SignInError",
    "SpecError",
    "StalePlanError",
    "Stamped",
    "Status",
    "Target",
    "UsageError",
    "__version__",
    "apply",
    "destroy",
    "load",
    "plan",
    "retry",
    "status",
]

__getattr__ = lazy_names(
    __name__,
    {
        "api.options": "Target",
        "api.values": "ConsentError LoadedSpec PlanStep Question RunError RunPlan",
        "apply.events": "Outcome Stamped",
        "diagnostics": (
            "BatchspecError ConflictError Diagnostic DiskError Place Secret ServiceError "
            "Severity SignInError SpecError StalePlanError UsageError"
        ),
        "render": "Report Status",
    },
)


def load(
    path: str | os.PathLike[str],
    *,
    variables: Mapping[str, object] | None = None,
    variable_files: Iterable[str | os.PathLike[str]] = (),
    target: Target | str | None = None,
    environ: Mapping[str, str] | None = None,
) -> LoadedSpec:
    """Read and check a spec and its files. Sends no request.

    The other functions accept the result or a path. They read the files again, so a plan always
    matches the current files.

    Args:
        path: the spec, a YAML file.
        variables: values of parameters, as text or as JSON values. The order of precedence is
            ``variables``, ``variable_files``, ``BATCHSPEC_VAR_NAME`` in ``environ``, defaults. A
            value can be a :class:`Secret`. The value of a secret parameter can be the
            URL of a secret in Azure Key Vault, which is read when the run needs it.
        variable_files: YAML or JSON files with values of parameters. Later files override
            earlier files.
        target: ``local`` for the embedded service or ``azure``; by default azure if ``environ``
            names an account, else local.
        environ: the environment variables that name the Azure account and its credentials, and set
            parameters; by default those of this process.

    Raises:
        SpecError: every error of the spec, its files and its tasks.
        UsageError: the file is a saved plan.
    """
    from batchspec.api.runs import load_checked

    return load_checked(path, variables, variable_files, target, environ)


def plan(
    spec: LoadedSpec | str | os.PathLike[str],
    *,
    rerun: bool = False,
    replace: Iterable[str] = (),
    step: str = "",
) -> RunPlan:
    """Plan the steps of ``apply``, each with its reason. Reads the account and changes nothing.

    Args:
        spec: a loaded spec or the path of one.
        rerun: run all tasks again, including those that succeeded.
        replace: ``pool``, ``job`` or both: delete it and create it again.
        step: the id of a step: only this step and the steps that it needs.

    Raises:
        SpecError: the spec, its files or the plan have errors.
        UsageError: the environment does not name the account, or there is no such step.
        ServiceError: a service refused a request or could not be reached.
        SignInError: settings of the sign-in with Microsoft Entra ID are wrong.
    """
    from batchspec.api.runs import options_of, plan_options, run_plan, wait_for

    options, wanted = options_of(spec), plan_options(rerun, replace, step)
    return wait_for(lambda: run_plan(options, wanted))


def apply(
    spec: LoadedSpec | RunPlan | str | os.PathLike[str],
    *,
    rerun: bool = False,
    replace: Iterable[str] = (),
    step: str = "",
    detach: bool = False,
    confirm: Confirm = False,
    on_event: Callable[[Stamped], object] | None = None,
    check: bool = True,
) -> Report:
    """Run a spec: upload, create, submit, wait, download the results, clean up.

    A second call resumes the run: resources that are up to date stay, and tasks that succeeded do
    not run again.

    Args:
        spec: a loaded spec, the path of one, or a plan, which is carried out unchanged or not at
            all.
        rerun, replace, step: as for :func:`plan`.
        detach: return when every task is submitted.
        confirm: the answer to questions, such as questions about a job that was applied from
            another host or folder, about a deletion, and about ``cleanup: ask``. ``True`` answers
            as ``-y`` does. A function receives each :class:`Question` and returns the answer; it is
            called in another thread. A plan without questions needs no answer.
        on_event: receives every event with its number and time, during the run.
        check: raise :class:`RunError` if the run does not succeed. If false, return its report.

    Raises:
        ConsentError: a question was not answered with yes; nothing was sent.
        RunError: a task or a step failed, or a time limit ended the run.
        StalePlanError: the account or the files have changed since the plan was made.
        SpecError, UsageError, ServiceError, SignInError: as for :func:`plan`.
    """
    from batchspec.api.runs import plan_options, run_apply, run_control, wait_for

    wanted, control = plan_options(rerun, replace, step), run_control(confirm, on_event, check)
    return wait_for(lambda: run_apply(spec, wanted, detach, control))


def retry(
    spec: LoadedSpec | str | os.PathLike[str],
    *,
    causes: Iterable[str] = (),
    tasks: Iterable[str] = (),
    confirm: Confirm = False,
    on_event: Callable[[Stamped], object] | None = None,
    check: bool = True,
) -> Report:
    """Run failed tasks again; then wait, download and clean up as :func:`apply` does.

    If no task has failed, the outcome is ``nothing_to_do``.

    Args:
        spec: a loaded spec or the path of one.
        causes: only failures with these causes, as ``batchspec failures`` names them.
        tasks: only these tasks, each by its id or a unique part of it.
        confirm, on_event, check: as for :func:`apply`.

    Raises:
        UsageError: the spec has no run, or no failed task has such a cause or id.
        ConsentError, RunError, SpecError, ServiceError, SignInError: as for :func:`apply`.
    """
    from batchspec.api.runs import options_of, run_control, run_retry, wait_for

    options, control = options_of(spec), run_control(confirm, on_event, check)
    return wait_for(lambda: run_retry(options, causes, tasks, control))


def destroy(
    spec: LoadedSpec | str | os.PathLike[str],
    *,
    force: bool = False,
    confirm: Confirm = False,
    on_event: Callable[[Stamped], object] | None = None,
    check: bool = True,
) -> Report:
    """Delete what a spec created in the account, and nothing else.

    Args:
        spec: a loaded spec or the path of one.
        force: also delete results that are not downloaded, and a pool that runs tasks of other
            specs.
        confirm, on_event, check: as for :func:`apply`. Consent is needed only for resources
            that another client created or uses.

    Raises:
        SpecError: results are not downloaded; or the spec has errors.
        ConsentError, RunError, UsageError, ServiceError, SignInError: as for :func:`apply`.
    """
    from batchspec.api.runs import options_of, run_control, run_destroy, wait_for

    options, control = options_of(spec), run_control(confirm, on_event, check)
    return wait_for(lambda: run_destroy(options, force, control))


def status(spec: LoadedSpec | str | os.PathLike[str]) -> Status:
    """The current state of a run: pool, nodes, job, task counts, time left, causes of waits.

    Args:
        spec: a loaded spec or the path of one.

    Raises:
        SpecError: the spec has errors.
        UsageError: the environment does not name the account.
        ServiceError: a service refused a request or could not be reached.
        SignInError: settings of the sign-in with Microsoft Entra ID are wrong.
    """
    from batchspec.api.runs import options_of, run_status, wait_for

    options = options_of(spec)
    return wait_for(lambda: run_status(options))
