"""Rules of autoscale formulas, with the parser of the embedded service."""

from __future__ import annotations

from collections.abc import Iterator

from batchspec.autoscale import FormulaCheck, FormulaProblem, check
from batchspec.diagnostics import Diagnostic, Severity
from batchspec.spec.validator_messages import did_you_mean, listed
from batchspec.spec.yaml_tree import Node

_FORMULAS = (("nodes", "autoscale", "formula"), ("auto_scale_formula",))
_CODES = {
    FormulaCheck.SYNTAX: "formula-syntax",
    FormulaCheck.UNKNOWN: "formula-unknown",
    FormulaCheck.TYPE: "formula-type",
    FormulaCheck.NO_TARGET: "formula-no-target",
    FormulaCheck.OLD_NAME: "formula-old-name",
}


def formula_rules(root: Node) -> Iterator[Diagnostic]:
    """Errors of the formula of a pool, at their line and column in the file."""
    for path in _FORMULAS:
        formula = root.get("pool", *path)
        if formula is not None and isinstance(formula.value, str) and formula.template is None:
            for problem in check(formula.value):
                yield _diagnostic(formula, formula.value, problem)


def _diagnostic(formula: Node, text: str, problem: FormulaProblem) -> Diagnostic:
    line, column = problem.at.line, problem.at.column
    offset = sum(map(len, text.split("\n")[: line - 1])) + line - 1 + column - 1
    return Diagnostic(
        _CODES[problem.check],
        problem.reason,
        f"Line {line}, column {column} of the formula." if formula.filled else "",
        formula.part(offset, problem.text),
        _fix(problem),
        Severity.WARNING if problem.check is FormulaCheck.OLD_NAME else Severity.ERROR,
    )


def _fix(problem: FormulaProblem) -> str:
    match problem.check:
        case FormulaCheck.SYNTAX:
            return (
                "End each statement with `;`."
                if problem.reason.startswith("`;` is missing")
                else ""
            )
        case FormulaCheck.OLD_NAME:
            return f"Write `{problem.known[0]}`."
        case FormulaCheck.NO_TARGET if not problem.known:
            return "Set the number of nodes, for example `$TargetDedicatedNodes = 1;`."
        case FormulaCheck.TYPE:
            is_vector = problem.reason.endswith("not a doubleVec")
            return "Use one of its values, for example the maximum: `max(...)`." * is_vector
    near = did_you_mean(problem.text.removeprefix("."), problem.known)
    if not near and problem.reason.endswith("not a function"):
        return f"The functions are {listed(problem.known)}."
    return near
