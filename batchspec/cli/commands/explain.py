"""``batchspec explain``: the meaning of a code, the reason for it, and its fix."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from batchspec.cli.console import out
from batchspec.cli.options import Format, TextOrJson
from batchspec.diagnostics import Diagnostic, UsageError, did_you_mean
from batchspec.exit_codes import Exit

if TYPE_CHECKING:
    from batchspec.cli.service_error_codes import ErrorCode


@dataclass(frozen=True, slots=True)
class Explanation:
    """A code and its kind (``kind``: a severity, ``cause`` or ``service``).

    ``effect`` is the effect of a cause on the run.

    Texts that do not apply are empty.
    """

    code: str
    kind: str
    title: str
    why: str = ""
    effect: str = ""
    fix: str = ""


def explain(
    code: Annotated[
        str | None,
        typer.Argument(
            metavar="[CODE]", help="A code, such as unknown-key. [default: list all codes]"
        ),
    ] = None,
    output_format: TextOrJson = Format.TEXT,
) -> int:
    """Explain the code of an error, a warning or a cause, and how to fix it.

    Without a code, list all codes. The command also explains codes of the
    services, such as AccountCoreQuotaReached.
    """
    from batchspec.cli.service_error_codes import failure_code

    known = _explanations()
    if code is None:
        found = known
    else:
        name = code.strip("[]`'\"")
        found = [each for each in known if each.code.lower() == name.lower()]
        if not found and (failure := failure_code(name)) is not None:
            found = [_of_error(failure)]
        if not found:
            raise UsageError(_unknown(name, [each.code for each in known]))
    if output_format is Format.JSON:
        out(json.dumps([asdict(each) for each in found], indent=2))
    elif code is None:
        out("\n".join(f"{each.code:<40} {each.kind:<16} {_title(each)}" for each in found))
    else:
        # A code of a plan can also be a cause for which a run waits, or an error of a command.
        out("\n\n".join("\n".join(_lines(each)) for each in found))
    return Exit.DONE


def _unknown(code: str, known: Iterable[str]) -> Diagnostic:
    return Diagnostic(
        "command-line",
        f"there is no code {code!r}",
        fix=did_you_mean(code, known) or "`batchspec explain` lists all codes.",
    )


def _lines(explanation: Explanation) -> Iterator[str]:
    yield f"{explanation.code} ({explanation.kind})"
    yield ""
    yield _filled(_sentence(_title(explanation)))
    parts = (("Why", explanation.why), ("Effect", explanation.effect), ("Fix", explanation.fix))
    for label, text in parts:
        if text:
            yield ""
            yield _filled(f"{label}: {_sentence(text)}")


def _title(explanation: Explanation) -> str:
    return f"{explanation.title[:1].upper()}{explanation.title[1:].removesuffix('.')}"


def _filled(text: str) -> str:
    from batchspec.render import wrap

    return "\n".join(wrap(text, 80))


def _sentence(text: str) -> str:
    """A text with a period."""
    return text if text.endswith((".", "?")) else f"{text}."


def _explanations() -> list[Explanation]:
    """Every code: rules, causes of waiting, errors of commands, and codes of the services.

    Several of them can have the same code.
    """
    from batchspec.apply.monitor import CAUSES
    from batchspec.cli.error_codes import GROUPS
    from batchspec.cloud.errors import TABLE
    from batchspec.plan import RULES

    found = [
        Explanation(rule.code, str(rule.severity), rule.title, rule.why, fix=rule.fix)
        for rule in RULES.values()
    ]
    found += [
        Explanation(
            kind.code, "cause", kind.description, effect=_effect(kind.ends_when), fix=kind.action
        )
        for kind in CAUSES.values()
    ]
    found += [_of_error(each) for group in GROUPS for each in group.codes]
    found += [Explanation(code, "service", title, fix=fix) for code, (title, fix) in TABLE.items()]
    return sorted(found, key=lambda each: each.code.lower())


def _of_error(code: ErrorCode) -> Explanation:
    """The explanation of an error of a command, or of a cause of failed tasks."""
    return Explanation(code.code, code.severity, code.title, code.why, fix=code.fix)


def _effect(ends: str) -> str:
    """The effect of a cause on a run; ``ends`` is when it ends the run early."""
    if not ends:
        return "The run waits, at most until its deadline"
    return "The run ends early" if ends == "always" else f"The run ends early if {ends}"
