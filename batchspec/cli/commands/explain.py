"""``batchspec explain``: the meaning of a code, the reason for it, and its fix."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
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
    """Explain a code of an error, a warning or a cause: why, and how to fix it.

    Without a code, list all codes. Codes of the services, such as AccountCoreQuotaReached, are
    explained, too.
    """
    from batchspec.cli.service_error_codes import failure_code

    known = _explanations()
    if code is None:
        found = list(known.values())
    else:
        name = code.strip("[]`'\"")
        by_lower = {each.lower(): each for each in known}
        if name.lower() in by_lower:
            found = [known[by_lower[name.lower()]]]
        elif (failure := failure_code(name)) is not None:
            found = [_of_error(failure)]
        else:
            raise UsageError(_unknown(name, known))
    if output_format is Format.JSON:
        out(json.dumps([asdict(each) for each in found], indent=2))
    elif code is None:
        out("\n".join(f"{each.code:<40} {each.kind:<16} {each.title}" for each in found))
    else:
        out("\n".join(_lines(found[0])))
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
    title = explanation.title
    yield _filled(_sentence(f"{title[:1].upper()}{title[1:]}"))
    parts = (("Why", explanation.why), ("Effect", explanation.effect), ("Fix", explanation.fix))
    for label, text in parts:
        if text:
            yield ""
            yield _filled(f"{label}: {_sentence(text)}")


def _filled(text: str) -> str:
    from batchspec.render import wrap

    return "\n".join(wrap(text, 80))


def _sentence(text: str) -> str:
    """A text with a period."""
    return text if text.endswith((".", "?")) else f"{text}."


def _explanations() -> Mapping[str, Explanation]:
    """Every code: rules, causes of waiting, errors of commands, and codes of the services."""
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
    by_code: dict[str, Explanation] = {}
    for each in sorted(found, key=lambda each: each.code.lower()):
        # A code can be a cause and the error that ends a run: the cause explains more.
        by_code.setdefault(each.code, each)
    return by_code


def _of_error(code: ErrorCode) -> Explanation:
    """The explanation of an error of a command, or of a cause of failed tasks."""
    return Explanation(code.code, code.severity, code.title, code.why, fix=code.fix)


def _effect(ends: str) -> str:
    """The effect of a cause on a run; ``ends`` is when it ends the run early."""
    return f"The run ends early ({ends})" if ends else "The run waits, at most until its deadline"
