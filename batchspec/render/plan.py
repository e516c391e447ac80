"""A plan as text for a terminal, as the published JSON and as markdown, and its requests.

The requests are those of ``plan -v``: ``<sas>`` and ``***`` replace secrets. A request that is
repeated for each file or task is shown once with the number of the others. A request that polls is
shown once. Nothing is sent.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

from batchspec.diagnostics import Diagnostic, Place
from batchspec.frozen import frozen
from batchspec.plan import OUTPUT_MISSING, PARTIAL_PLAN, Gate, Plan, Step, Verb, actions
from batchspec.plan.actions import Action
from batchspec.property_rules import arm_pool
from batchspec.render import units
from batchspec.render.diagnostics import (
    cell_width,
    diagnostic_json,
    diagnostic_text,
    severity_counts,
)
from batchspec.render.output import UNICODE, Style, Symbols, clean, flat, json_text, wrap
from batchspec.render.run_text import account_line, action_name, phrase, quantity, reason_text
from batchspec.spec import Record, thaw


@frozen
class Request:
    """One request: ``body`` is JSON or ``None``; ``more`` is the number of similar requests."""

    method: str
    path: str
    body: object = None
    more: int = 0
    noun: str = ""


def requests(action: Action) -> Iterator[Request]:
    """The requests of an action, in their order; only the first item of a stream is read."""
    yield from _REQUESTS[type(action)](action)


def request_lines(action: Action) -> Iterator[str]:
    """The requests as text: method and path, then the body as indented JSON."""
    for request in requests(action):
        yield f"{request.method} {clean(request.path)}"
        if request.body is not None:
            yield from json_text(request.body, indent=2).splitlines()
        if request.more:
            yield f"... and {units.counted(request.more, f'more {request.noun}')}"


def _json(body: Record) -> object:
    """A body as plain JSON; deferred texts are in their printable form."""
    thawed: object = json.loads(json.dumps(thaw(body, lambda text: text.shown)))
    return thawed


def _get(path: str) -> Request:
    return Request("GET", path)


def _put(path: str) -> Request:
    return Request("PUT", path)


def _post(path: str, body: Record | None = None) -> Request:
    return Request("POST", path, None if body is None else _json(body))


def _patch(path: str, body: Record) -> Request:
    return Request("PATCH", path, _json(body))


def _delete(path: str) -> Request:
    return Request("DELETE", path)


def _container_metadata(
    action: actions.UseContainer | actions.ReleaseContainer,
) -> Iterator[Request]:
    yield _put(f"/{action.container}?restype=container&comp=metadata")


def _upload(action: actions.UploadFiles) -> Iterator[Request]:
    for file in islice(action.files, 1):
        path = f"/{action.container}/{quote(file.blob, safe='/')}"
        yield Request("PUT", path, more=len(action.files) - 1, noun="file")


_ACCOUNT = (
    "/subscriptions/SUBSCRIPTION/resourceGroups/GROUP/providers/Microsoft.Batch/batchAccounts"
    "/ACCOUNT"
)


def _arm(method: str, pool: str, body: Record) -> Request:
    """A request for a pool to Azure Resource Manager."""
    thawed = _json(body)
    assert isinstance(thawed, dict)
    return Request(method, f"{_ACCOUNT}/pools/{pool}", arm_pool(thawed, _ACCOUNT))


def _create_pool(action: actions.CreatePool | actions.ReplacePool) -> Request:
    if action.control_plane:
        return _arm("PUT", action.pool, action.body)
    return _post("/pools", action.body)


def _delete_pool(pool: str, *, control_plane: bool) -> Request:
    return _delete(f"{_ACCOUNT if control_plane else ''}/pools/{pool}")


def _replace_pool(action: actions.ReplacePool) -> Iterator[Request]:
    yield _delete_pool(action.pool, control_plane=action.deletes_by_control_plane)
    yield _create_pool(action)


def _upload_package(action: actions.UploadPackage) -> Iterator[Request]:
    version = f"{_ACCOUNT}/applications/{action.package}/versions/{action.version}"
    yield _put(version)
    yield _post(f"{version}/activate", Record(format="zip"))


def _update_pool(action: actions.UpdatePool) -> Iterator[Request]:
    if action.control_plane:
        yield _arm("PATCH", action.pool, action.patch)
    else:
        yield _patch(f"/pools/{action.pool}", action.patch)
    if action.restart:
        body = Record(nodeRebootOption="requeue")
        yield _post(f"/pools/{action.pool}/nodes/NODE/reboot", body)


def _resize_pool(action: actions.ResizePool) -> Iterator[Request]:
    body = Record(targetDedicatedNodes=action.dedicated, targetLowPriorityNodes=action.spot).with_(
        resizeTimeout=action.timeout
    )
    if action.control_plane:
        yield _arm("PATCH", action.pool, body)
        return
    yield _post(f"/pools/{action.pool}/resize", body)


def _scale_pool(action: actions.ScalePool) -> Iterator[Request]:
    if action.formula is None:
        end = "disableAutoScale" if action.control_plane else "disableautoscale"
        yield _post(f"{_ACCOUNT if action.control_plane else ''}/pools/{action.pool}/{end}")
        return
    body = Record(autoScaleFormula=action.formula).with_(
        autoScaleEvaluationInterval=action.interval
    )
    if action.control_plane:
        yield _arm("PATCH", action.pool, body)
        return
    yield _post(f"/pools/{action.pool}/enableautoscale", body)


def _terminate(action: actions.TerminateTasks) -> Iterator[Request]:
    target = "" if action.whole else "/tasks/TASK"
    yield _post(f"/jobs/{action.job}{target}/terminate")


def _submit(action: actions.SubmitTasks) -> Iterator[Request]:
    for task in islice(action.tasks, 1):
        body = {"value": [_json(task.body)]}
        path = f"/jobs/{action.job}/addtaskcollection"
        yield Request("POST", path, body, len(action.tasks) - 1, "task")


def _retry(action: actions.RetryTasks) -> Iterator[Request]:
    for task in islice(action.tasks, 1):
        path = f"/jobs/{action.job}/tasks/{task.id}/reactivate"
        yield Request("POST", path, more=len(action.tasks) - 1, noun="task")


_REQUESTS: Mapping[type[Action], Callable[[Any], Iterable[Request]]] = {
    actions.CreateContainer: lambda a: [_put(f"/{a.container}?restype=container")],
    actions.UseContainer: _container_metadata,
    actions.ReleaseContainer: _container_metadata,
    actions.UploadFiles: _upload,
    actions.UploadPackage: _upload_package,
    actions.CreatePool: lambda a: [_create_pool(a)],
    actions.UpdatePool: _update_pool,
    actions.ResizePool: _resize_pool,
    actions.ScalePool: _scale_pool,
    actions.ReplacePool: _replace_pool,
    actions.RestartNodes: lambda a: [_post(f"/pools/{a.pool}/nodes/{n}/reboot") for n in a.nodes],
    actions.WaitForPool: lambda a: [_get(f"/pools/{a.pool}")],
    actions.CreateJob: lambda a: [_post("/jobs", a.body)],
    actions.ReplaceJob: lambda a: [_post(f"/jobs/{a.ended}/terminate"), _post("/jobs", a.body)],
    actions.TerminateTasks: _terminate,
    actions.UpdateJob: lambda a: [_patch(f"/jobs/{a.job}", a.patch)],
    actions.CloseJob: lambda a: [
        _patch(f"/jobs/{a.job}", Record(onAllTasksComplete="terminatejob"))
    ],
    actions.CreateSchedule: lambda a: [_post("/jobschedules", a.body)],
    actions.UpdateSchedule: lambda a: [_patch(f"/jobschedules/{a.schedule}", a.patch)],
    actions.ReplaceSchedule: lambda a: [
        _delete(f"/jobschedules/{a.schedule}"),
        _post("/jobschedules", a.body),
    ],
    actions.SubmitTasks: _submit,
    actions.RetryTasks: _retry,
    actions.WaitForTasks: lambda a: [_get(f"/jobs/{a.job}/taskcounts")],
    actions.DownloadResults: lambda a: [_get(f"/{a.container}?restype=container&comp=list")],
    actions.DeletePool: lambda a: [_delete_pool(a.pool, control_plane=a.control_plane)],
    actions.DeleteJob: lambda a: [_delete(f"/jobs/{a.job}")],
    actions.DeleteSchedule: lambda a: [_delete(f"/jobschedules/{a.schedule}")],
    actions.DeleteContainers: lambda a: [
        _delete(f"/{container}?restype=container") for container in a.containers
    ],
    actions.DeleteOutputs: lambda a: [_delete(f"/{a.container}/BLOB")],
}
"""The requests of each action; a test checks that every action has a row."""


VERB_COUNTS = {
    Verb.CREATE: "to create",
    Verb.UPDATE: "to update",
    Verb.RESIZE: "to resize",
    Verb.TERMINATE: "to terminate",
    Verb.REPLACE: "to replace",
    Verb.UPLOAD: "to upload",
    Verb.SUBMIT: "to submit",
    Verb.WAIT: "to wait for",
    Verb.DOWNLOAD: "to download",
    Verb.DELETE: "to delete",
}
"""The text of the summary for the number of steps of a verb."""

VERB_STYLES = {
    Verb.CREATE: "create",
    Verb.UPDATE: "change",
    Verb.RESIZE: "change",
    Verb.TERMINATE: "delete",
    Verb.REPLACE: "delete",
    Verb.DELETE: "delete",
    Verb.UPLOAD: "move",
    Verb.SUBMIT: "move",
    Verb.WAIT: "dim",
    Verb.DOWNLOAD: "move",
    Verb.KEEP: "keep",
}

_MIN_REASON = 16
"""The smallest width of the column of reasons."""


def plan_text(
    plan: Plan,
    *,
    color: bool = False,
    width: int = 80,
    symbols: Symbols = UNICODE,
    verbose: bool = False,
    here: Path | None = None,
    nothing: str = "",
    folded: bool = False,
) -> str:
    """The plan as text of ``width`` columns: account, steps with reasons, findings, summary.

    ``verbose`` adds the predecessors and the requests of each step. ``here`` is the folder that
    paths are relative to. ``nothing`` replaces the summary of a plan without steps. ``folded``
    leaves the steps out.
    """
    style = Style(color)
    lines = [style("bold", account_line(plan.account)), *_title(plan, style, width)]
    rows = _Rows(plan, style, symbols, width, here)
    if plan.steps and not folded:
        lines.append("")
        for number, step in enumerate(plan.steps, 1):
            lines += rows.lines(step, str(number))
            if verbose:
                lines += _more(step, style)
    if plan.kept and not folded:
        lines.append("")
        for step in plan.kept:
            lines += rows.lines(step, "")
    for finding in plan.findings:
        lines += ["", diagnostic_text(finding, color=color, width=width)]
    if plan.estimate is not None:
        from batchspec.render.cost import estimate_text  # noqa: PLC0415 - start time

        lines += ["", *estimate_text(plan.estimate, plan.account.target, style, width)]
    summary = wrap((plan.empty and nothing) or plan_summary(plan), width, rest="  ")
    lines += ["", *(style("bold", line) for line in summary)]
    lines += wrap(_questions(plan.steps), width)
    return "\n".join(lines)


def plan_summary(plan: Plan) -> str:
    """One line: ``Plan: 3 to create, 2 to upload; 1 kept.`` or ``Nothing to do: ...``."""
    if plan.empty and any(finding.code == PARTIAL_PLAN for finding in plan.findings):
        return "Nothing to do: the selected part is up to date."
    if plan.empty and plan.scheduled:
        return "Nothing to do: the job schedule is up to date."
    if plan.empty and any(finding.code == OUTPUT_MISSING for finding in plan.findings):
        return "Nothing to do: all tasks have succeeded, but outputs are missing."
    if plan.empty:
        return "Nothing to do: everything is up to date and all tasks have succeeded."
    counts = plan.counts
    todo = ", ".join(
        f"{counts[verb]:,} {text}" for verb, text in VERB_COUNTS.items() if verb in counts
    )
    kept = f"; {len(plan.kept):,} kept" if plan.kept else ""
    return f"Plan: {todo}{kept}."


def _title(plan: Plan, style: Style, width: int) -> Iterator[str]:
    first, *rest = [line.strip() for line in plan.description.strip().splitlines()] or [""]
    name = flat(plan.name)
    for number, line in enumerate([first, *rest]):
        head = f"{name}: " if number == 0 and line else name if number == 0 else ""
        text = textwrap.fill(
            head + flat(line), width, subsequent_indent="  ", initial_indent="" if head else "  "
        )
        yield style("bold", name) + text[len(name) :] if head else text


def _questions(steps: Sequence[Step]) -> str:
    asked = [flat(step.subject) for step in steps if step.gate is Gate.ASK]
    if not asked:
        return ""
    kept = "it is kept" if len(asked) == 1 else "they are kept"
    pools = sum(subject.startswith("pool ") for subject in asked)
    after = "" if pools == len(asked) else "; after a failure, only for the pool"
    return (
        f"At the end, apply asks before it deletes {units.listed(asked)}. Without a terminal,"
        f" {kept}. -y answers yes{after if pools else '; after a failure, no'}."
    )


def _more(step: Step, style: Style) -> Iterator[str]:
    if step.after:
        yield style("dim", f"         after {', '.join(flat(name) for name in step.after)}")
    if step.action is not None:
        for line in request_lines(step.action):
            yield style("dim", f"         {line}")


class _Rows:
    """Formats the steps in columns: number, symbol, verb, subject with its size, reason."""

    def __init__(
        self, plan: Plan, style: Style, symbols: Symbols, width: int, here: Path | None
    ) -> None:
        steps = (*plan.steps, *plan.kept)
        self._style, self._symbols, self._here, self._width = style, symbols, here, width
        self._digits = len(str(len(plan.steps))) if plan.steps else 0
        self._symbol_width = max((len(symbols.verbs[step.verb]) for step in steps), default=1)
        self._verb = max((len(step.verb) for step in steps), default=1)
        self._start = self._digits + self._symbol_width + self._verb + 5
        room = max(width * 2 // 5, 20)
        fitting = [w for step in steps if (w := cell_width(self._subject(step))) <= room]
        self._subjects = max(fitting, default=room)
        self._reasons = self._start + self._subjects + 2
        self._beside = width - self._reasons >= _MIN_REASON
        if not self._beside:
            self._reasons = self._start + 2

    def lines(self, step: Step, number: str) -> Iterator[str]:
        """One step; a long reason continues on the lines below, in its column.

        If there is no room for a column of reasons, each reason is on the line below its step.
        """
        style = self._style
        style_name = VERB_STYLES[step.verb]
        symbol = style(style_name, f"{self._symbols.verbs[step.verb]:>{self._symbol_width}}")
        head = f" {number:>{self._digits}} {symbol} {style(style_name, step.verb.value)}"
        head += " " * (self._verb - len(step.verb) + 2)
        subject, *more = self._wrapped(self._subject(step), self._start) or [""]
        reason = self._wrapped(self._reason(step), self._reasons)
        gap = self._subjects - cell_width(subject) + 2
        beside = bool(reason) and self._beside and gap >= 2 and not more
        first = " " * gap + style("dim", reason.pop(0)) if beside else ""
        yield (head + subject + first).rstrip()
        for line in more:
            yield " " * self._start + line
        for line in reason:
            yield " " * self._reasons + style("dim", line)

    def _wrapped(self, text: str, column: int) -> list[str]:
        """A text in lines that fit between a column and the right margin."""
        return wrap(text, max(self._width - column, _MIN_REASON))

    def _subject(self, step: Step) -> str:
        amount = quantity(step, self._here)
        return flat(step.subject) + (f" ({amount})" if amount else "")

    @staticmethod
    def _reason(step: Step) -> str:
        return flat(reason_text(step))


def plan_json(plan: Plan) -> str:
    """The plan as indented JSON, without a secret.

    ``steps`` are in their order; kept resources (``verb`` ``keep``, ``action`` null) are at the
    end; ``counts`` counts them by verb. ``empty``: there is nothing to do. ``cost`` is the
    estimate, if there is one.
    """
    account = plan.account
    return json_text(
        {
            "version": 1,
            "target": account.target,
            "account": {"batch": account.batch, "storage": account.storage},
            "spec": {"name": plan.name, "digest": plan.digest},
            "fingerprint": plan.fingerprint,
            "empty": plan.empty,
            "steps": [_step_json(step) for step in (*plan.steps, *plan.kept)],
            "counts": dict(plan.counts),
            "findings": [diagnostic_json(problem) for problem in plan.findings],
            **_cost_json(plan),
        },
        indent=2,
    )


def _cost_json(plan: Plan) -> dict[str, object]:
    if plan.estimate is None:
        return {}
    from batchspec.render.cost import estimate_json  # noqa: PLC0415 - start time

    return {"cost": estimate_json(plan.estimate)}


def _step_json(step: Step) -> dict[str, object]:
    return {
        "id": step.id,
        "action": None if step.action is None else action_name(step.action),
        "verb": step.verb.value,
        "subject": step.subject,
        "reason": step.reason,
        "after": list(step.after),
        "items": step.items,
        "gate": step.gate.value,
        "changes": list(step.changes),
    }


def plan_markdown(plan: Plan, *, here: Path | None = None) -> str:
    """The plan as markdown; ``here`` is the folder that paths are shown relative to."""
    account = plan.account
    lines = [
        f"### batchspec plan: {_text(plan.name)}",
        "",
        f"**{_text(account.target)}**"
        f" · Batch {_code(account.batch)} · Storage {_code(account.storage)}",
        "",
        f"**{plan_summary(plan)}**",
    ]
    if plan.findings:
        lines += ["", *_findings(plan.findings)]
    if plan.estimate is not None:
        lines += ["", *estimate_markdown(plan)]
    if plan.steps:
        lines += ["", *_table(plan.steps, here)]
    if plan.kept:
        title = f"<summary>{len(plan.kept):,} kept as they are</summary>"
        lines += ["", "<details>", title, "", *_table(plan.kept, here), "", "</details>"]
    lines += ["", f"<sub>spec {_code(plan.digest[:12])} · account and files "]
    lines[-1] += f"{_code(plan.fingerprint[:12])}</sub>"
    return "\n".join(lines)


def estimate_markdown(plan: Plan) -> Iterator[str]:
    """The cost of a plan, as markdown; a sentence if there is nothing to do."""
    from batchspec.render.cost import NOTHING_TO_ESTIMATE, estimate_lines  # noqa: PLC0415

    if plan.estimate is None:
        yield NOTHING_TO_ESTIMATE
        return
    total, *rest = estimate_lines(plan.estimate, plan.account.target)
    yield f"**{_text(total)}**"
    yield ""
    for line in rest:
        yield f"- {_prose(line)}"


def cost_markdown(plan: Plan, spent: Sequence[str]) -> str:
    """The account, the estimate of a plan, and the cost of recorded runs, as markdown."""
    account = plan.account
    lines = [
        f"### batchspec cost: {_text(plan.name)}",
        "",
        f"**{_text(account.target)}**"
        f" · Batch {_code(account.batch)} · Storage {_code(account.storage)}",
        "",
        *estimate_markdown(plan),
    ]
    if spent:
        lines += ["", f"**{_text(spent[0])}**", "", *(f"- {_prose(line)}" for line in spent[1:])]
    return "\n".join(lines)


def refusal_markdown(spec: str, problems: Sequence[Diagnostic]) -> str:
    """The errors that prevent a plan, as markdown; ``spec`` is the path of the spec."""
    title = f"### batchspec plan: {_code(spec)}"
    message = "**No plan: the spec has errors.**"
    return "\n".join([title, "", message, "", *_findings(problems)])


def _table(steps: Sequence[Step], here: Path | None) -> Iterator[str]:
    yield "| | step | quantity | reason |"
    yield "|---|---|---|---|"
    for step in steps:
        cells = [
            _code(UNICODE.verbs[step.verb]),
            _text(phrase(step.verb, step.subject)),
            _text(quantity(step, here)),
            _prose(reason_text(step)),
        ]
        yield f"| {' | '.join(cells)} |"


def _findings(findings: Sequence[Diagnostic]) -> Iterator[str]:
    yield f"**Findings: {severity_counts(findings)}**"
    yield ""
    for finding in findings:
        summary = _prose(finding.summary)
        yield f"- **{finding.severity}** {_code(finding.code)}: {summary}{_place(finding.where)}"
        for line in finding.detail.splitlines():
            yield f"  <br>{_prose(line)}"
        if finding.fix:
            yield f"  <br>*Hint:* {_prose(finding.fix)}"


def _place(where: Place | None) -> str:
    return "" if where is None else f" ({_code(f'{where.file}:{where.line}:{where.column}')})"


_SPECIAL = re.compile(r"([\\`*\[\]<|~$&]|(?<!\w)_|_(?!\w))")
"""Characters with a meaning in markdown within a line; ``_`` only at the edge of a word."""


def _text(text: str) -> str:
    """A text on one line with markdown escaped, also for the cell of a table."""
    return _escaped(flat(text))


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", text)


def _prose(text: str) -> str:
    """A message with markdown escaped, except code between backticks."""
    parts = flat(text).split("`")
    if len(parts) % 2 == 0:
        return _text(text)
    return "".join(_code(part) if at % 2 else _escaped(part) for at, part in enumerate(parts))


def _code(text: str) -> str:
    """A text as code; the fence is longer than any run of backticks in it."""
    text = " ".join(clean(text).split()).replace("|", "\\|")
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}"
