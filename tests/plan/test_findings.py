"""The rules: every code has a rule, every rule has a test, and all of them are documented.

Rules that a case in ``cases/`` cannot show are tested here: the case would be too long, or need a
file that YAML cannot describe.
"""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from batchspec.diagnostics import Diagnostic, Secret, Severity
from batchspec.plan import GROUPS, RULES
from batchspec.plan.rules.checks import checks, errors
from batchspec.plan.rules.image import vm_size_odd, vm_size_retired
from batchspec.plan.rules.registry import advice
from batchspec.plan.rules.rule import Finding, RuleContext
from batchspec.plan.rules.sas import sas_ends_early
from batchspec.plan.stage_tasks import StageTasks
from batchspec.plan.task_sets import TaskSets
from batchspec.property_rules import PROPERTY_RULES
from batchspec.spec import Record, Scale, Spec, scale_bounds
from tests.plan.making import observed, spec, stage

ROOT = Path(__file__).parents[2]
RAISED_IN = (
    *sorted((ROOT / "batchspec/plan").rglob("*.py")),
    *sorted((ROOT / "batchspec/spec").rglob("*.py")),
    *sorted((ROOT / "batchspec/property_rules").rglob("*.py")),
    ROOT / "batchspec/observe/local_files.py",
)
REPORTING = {"Diagnostic", "_refuse", "refuse", "_fail", "add", "_add"}
"""Functions whose first argument is the code of a diagnostic."""
USAGE_ERRORS = {
    "bad-json": "import of a file that is not JSON",
    "bad-plan-file": "a file that is not a saved plan",
    "no-job-yet": "attach to a schedule without a job",
    "no-results": "download of a spec without results",
    "no-run": "attach without a job",
    "no-such-step": "--target-step with an unknown step",
    "not-retried": "retry of a schedule",
    "file-moved": "a file that changed after the plan was made",
    "plan-stale": "a saved plan that is stale",
}
"""Usage errors, which are not findings."""

GOLDENS = (*(ROOT / "tests/plan/cases").glob("*.txt"), *(ROOT / "tests/spec/cases").glob("*.txt"))
HERE, SOURCE = Path(__file__), ROOT / "tests/spec/test_source.py"
DISK, ROWS = ROOT / "tests/observe/test_local_files.py", ROOT / "tests/spec/test_rows.py"
TEMPLATE = ROOT / "tests/spec/test_template.py"
ELSEWHERE = {
    "changed-file": (ROWS, 'match="changed"'),
    "control-character": (SOURCE, ""),
    "many-tasks": (HERE, ""),
    "no-file": (SOURCE, ""),
    "no-permission": (SOURCE, ""),
    "not-a-file": (DISK, ""),
    "not-readable": (SOURCE, ""),
    "not-utf8": (SOURCE, ""),
    "replaced-pool-in-use": (ROOT / "tests/apply/test_executor.py", ""),
    "request-too-large": (HERE, ""),
    "result-edited": (ROOT / "tests/plan/test_outputs.py", ""),
    "rows-encoding": (ROWS, '"UTF-16"'),
    "rows-format": (ROWS, ""),
    "task-too-large": (ROOT / "tests/plan/test_task_rules.py", ""),
    "tasks-not-checked": (ROOT / "tests/spec/test_hostile_inputs.py", "tasks-not-checked"),
    "template-call": (TEMPLATE, ""),
    "template-statement": (TEMPLATE, ""),
    "too-deep": (SOURCE, ""),
    "too-large": (SOURCE, ""),
    "too-many-dependencies": (HERE, ""),
    "unreadable-file": (DISK, ""),
}
"""Tests of rules that no case shows, and the text in them if it is not the code."""


def raised() -> Iterator[tuple[Path, str, Severity]]:
    """Every code of a diagnostic that no rule creates, and its severity."""
    for rule in PROPERTY_RULES:
        yield ROOT / "batchspec/property_rules", rule.code, Severity[rule.severity.upper()]
    for path in RAISED_IN:
        for call in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(call, ast.Tuple) and path.name == "yaml_faults.py":
                # A table of parser messages and codes.
                for code in [c for part in call.elts[1:2] for c in codes(part)]:
                    yield path, code, Severity.ERROR
            if not isinstance(call, ast.Call) or not call.args or named(call) not in REPORTING:
                continue
            by_name = {keyword.arg: keyword.value for keyword in call.keywords}
            severity = by_name.get("severity")
            known = Severity[severity.attr] if isinstance(severity, ast.Attribute) else None
            for code in codes(call.args[0]):
                yield path, code, known or Severity.ERROR


def named(call: ast.Call) -> str:
    """The name of the called function."""
    match call.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def codes(argument: ast.expr) -> Iterator[str]:
    """The codes that a first argument can be."""
    match argument:
        case ast.Constant(value=str(code)) if re.fullmatch(r"[a-z0-9-]+", code):
            yield code
        case ast.IfExp():
            yield from codes(argument.body)
            yield from codes(argument.orelse)


def test_every_code_that_is_raised_has_a_rule_of_its_severity() -> None:
    wrong = []
    for path, code, severity in raised():
        rule = RULES.get(code)
        if code not in USAGE_ERRORS and (rule is None or rule.severity is not severity):
            wrong.append(f"{path.name}: {code} ({severity})")
    assert wrong == []


def test_every_group_with_checks_is_checked() -> None:
    assert [*checks()] == [check for group in GROUPS for check in group.checks]


def test_every_rule_without_a_check_is_raised_elsewhere() -> None:
    sources = (path for path in RAISED_IN if "rules" not in path.parts)
    everywhere = "".join(path.read_text("utf-8") for path in sources)
    described = [code for code, rule in RULES.items() if not list_of_parameters(rule.check)]
    assert len(described) > 50
    assert [code for code in described if f'"{code}"' not in everywhere] == []


def list_of_parameters(check: Callable[..., object]) -> list[str]:
    """The names of a check's parameters; only metadata without a check have none."""
    return [*inspect.signature(check).parameters]


def test_every_rule_is_shown_by_a_case() -> None:
    shown = {
        code
        for golden in GOLDENS
        for code in re.findall(r"\[([a-z0-9-]+)\]$", golden.read_text("utf-8"), re.MULTILINE)
    }
    for code, (path, words) in ELSEWHERE.items():
        assert (words or f'"{code}"') in path.read_text("utf-8"), code
    assert sorted(set(RULES) - shown - set(ELSEWHERE)) == []


def test_a_code_has_one_rule() -> None:
    assert len(RULES) == sum(len(group.rules) for group in GROUPS)


@pytest.mark.parametrize("code", RULES)
def test_every_rule_has_title_reason_and_fix(code: str) -> None:
    rule = RULES[code]
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", code)
    assert rule.title and not rule.title.endswith(".")
    assert rule.why.endswith(".") and rule.fix.endswith(".")


def test_a_finding_has_the_severity_and_the_fix_of_its_rule() -> None:
    rule = RULES["pool-kept"]
    found = rule.report(Finding("summary"))
    assert (found.code, found.severity, found.fix) == ("pool-kept", Severity.WARNING, rule.fix)
    assert rule.report(Finding("summary", fix="Other.")).fix == "Other."


@pytest.mark.parametrize("tool", ["generate_findings", "generate_changes"])
def test_the_generated_documents_are_current(tool: str) -> None:
    command = [sys.executable, f"tools/{tool}.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# --- rules that no case shows --------------------------------------------------------------------


def of_pool(**properties: object) -> RuleContext:
    return RuleContext(spec(stage()), observed(), Record({**properties}))  # type: ignore[dict-item]


def codes_of_errors(context: RuleContext) -> list[str]:
    return [problem.code for problem in errors(context)]


def test_a_request_that_is_too_large() -> None:
    settings = tuple(Record(name=f"N{n}", value="x" * 1000) for n in range(1000))
    good = {"targetDedicatedNodes": 1}
    assert codes_of_errors(of_pool(**good)) == []
    start = Record(commandLine="true", environmentSettings=settings)
    assert codes_of_errors(of_pool(startTask=start, **good)) == ["request-too-large"]
    context = of_pool(**good)
    job = replace(context.spec.job, properties=Record(commonEnvironmentSettings=settings))
    assert codes_of_errors(replace(context, spec=replace(context.spec, job=job))) == [
        "request-too-large"
    ]


@pytest.mark.parametrize("key", ["jobPreparationTask", "jobReleaseTask", "jobManagerTask"])
def test_a_command_of_a_special_task_that_is_too_long(key: str) -> None:
    context = of_pool(targetDedicatedNodes=1)
    job = replace(context.spec.job, properties=Record({key: Record(commandLine="x" * 131_072)}))
    assert codes_of_errors(replace(context, spec=replace(context.spec, job=job))) == [
        "command-too-long"
    ]
    start = of_pool(targetDedicatedNodes=1, startTask=Record(commandLine="x" * 131_072))
    assert codes_of_errors(start) == ["command-too-long"]


@pytest.mark.parametrize(("number", "expected"), [(954, []), (956, ["too-many-dependencies"])])
def test_ids_that_are_too_long_in_total(number: int, expected: list[str]) -> None:
    ids = tuple(f"{n:064}" for n in range(number))
    it = stage(body=Record(dependsOn=Record(taskIds=ids)))
    context = RuleContext(spec(it), observed(), Record(targetDedicatedNodes=1))
    assert codes_of_errors(context) == expected


@pytest.mark.parametrize(("number", "expected"), [(200_000, []), (200_001, ["many-tasks"])])
def test_more_tasks_than_the_service_counts(number: int, expected: list[str]) -> None:
    class Many(tuple):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return number

    it = stage()
    work = TaskSets("job", None, True, (StageTasks(it, number, 0, 0, (), (), Many()),))
    context = RuleContext(spec(it), observed(), Record(targetDedicatedNodes=1))
    found = advice(context, (), work)
    assert [problem.code for problem in found if problem.code == "many-tasks"] == expected


# --- sizes and formulas ------------------------------------------------------------------------


def of_size(name: str) -> list[Diagnostic]:
    context = of_pool(vmSize=name)
    return [*vm_size_retired(context), *vm_size_odd(context)]


@pytest.mark.parametrize(
    "name",
    [
        "standard_d2s_v5",
        "STANDARD_D2S_V3",
        "Standard_F2s_v2",
        "standard_ds2_v2",
        "standard_nc24ads_a100_v4",
        "standard_e4-2s_v5",
        "standard_hb120-16rs_v3",
        "standard_m416ms_v2",
        "standard_nd96isr_h100_v5",
        "standard_b2s",
        "standard_dc2as_v5",
    ],
)
def test_available_sizes_have_no_finding(name: str) -> None:
    assert of_size(name) == []


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("standard_a1", "vm-size-retired"),
        ("Basic_A3", "vm-size-retired"),
        ("standard_nc24r", "vm-size-retired"),
        ("standard_nv6", "vm-size-retired"),
        ("standard_h16mr", "vm-size-retired"),
        ("standard_nc6s_v3", "vm-size-retired"),
        ("standard_nv16as_v4", "vm-size-retired"),
        ("d2s_v5", "vm-size-odd"),
        ("large", "vm-size-odd"),
        ("standard_d3s_v5", "vm-size-odd"),
        ("standard d2s v5", "vm-size-odd"),
    ],
)
def test_retired_and_invalid_sizes(name: str, code: str) -> None:
    assert [problem.code for problem in of_size(name)] == [code]


def test_a_size_that_retires_within_a_year_has_its_date() -> None:
    (problem,) = of_size("standard_nv16as_v4")
    assert problem.summary.endswith("will be retired by Azure on 2026-09-30")


@pytest.mark.parametrize(("least", "most", "spot"), [(0, 4, 0), (2, 9, 0), (1, 3, 20), (0, 0, 7)])
@pytest.mark.parametrize("slots", [1, 4])
def test_the_bounds_of_a_formula_are_its_parameters(
    least: int, most: int, spot: int, slots: int
) -> None:
    scale = Scale(least, most, spot, timedelta(minutes=15), slots)
    assert scale_bounds(scale.formula) == (least, most + spot)
    assert scale_bounds("$TargetDedicatedNodes = min(10, $PendingTasks);") is None


def test_findings_point_to_the_most_specific_key() -> None:
    """Without the position of a key, the position is that of the pool."""
    context = of_pool(targetDedicatedNodes=0)
    (problem,) = errors(context)
    assert problem.where == context.spec.pool.where
    there = replace(context.spec, places={"pool.nodes": replace(context.spec.pool.where, line=9)})
    (problem,) = errors(replace(context, spec=there))
    assert problem.where is not None and problem.where.line == 9


def test_a_spec_has_the_positions_of_its_keys(tmp_path: Path) -> None:
    found: Spec = _read(tmp_path)
    at = {name: place.line for name, place in found.places.items()}
    assert (at["pool.nodes"], at["tasks.count.retries"], at["cleanup.pool"]) == (6, 14, 15)


def _read(folder: Path) -> Spec:
    from batchspec.spec import read_spec  # noqa: PLC0415

    path = folder / "a.yaml"
    path.write_text(
        """\
version: 1
name: a
parameters: {}
pool:
  vm_size: standard_d2s_v5
  nodes: 1
  image: ubuntu-24.04

job:
  max_wall_clock_time: 1h
tasks:
  count:
    command: "true"
    retries: 2
cleanup: {pool: never}
""",
        encoding="utf-8",
    )
    return read_spec(path)


def test_sas_ends_early_shows_no_signature() -> None:
    """The case ``signature-in-parameter.yaml`` contains a marked signature."""
    goldens = [path.read_text("utf-8") for path in GOLDENS]
    assert any("[sas-ends-early]" in text for text in goldens)
    assert not any("MARKED" in text for text in goldens)


@pytest.mark.parametrize(
    ("secret", "expected"),
    [
        ("https://s/c?se=2026-03-01T00%3A30%3A00Z&sig=x", ["sas-ends-early"]),
        ("https://s/c?se=2026-03-01&sig=x", ["sas-ends-early"]),
        ("BlobEndpoint=x;a?se=2027-01-01&b?sv=1&se=2026-03-01T00:59:00Z", ["sas-ends-early"]),
        ("https://s/c?se=2026-03-01T02:00:00Z&sig=x", []),
        ("https://s/c?se=soon", []),
        ("se=2020-01-01", []),
    ],
)
def test_the_first_expiry_counts(secret: str, expected: list[str]) -> None:
    context = of_pool(targetDedicatedNodes=1)
    it = replace(context.spec, parameters={"address": Secret(secret)})
    found = list(sas_ends_early(replace(context, spec=it)))
    assert [problem.code for problem in found] == expected
    assert not any("sig=x" in f"{problem}" for problem in found)
