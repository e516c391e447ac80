"""The catalogue of findings: it has every code, the code has every one of it, and it is documented.

What a situation of ``cases/`` does not show (because it would be long, or needs a file that YAML
cannot write down) is here.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from batchspec.diagnostics import Diagnostic, Secret, Severity
from batchspec.plan.rules.access import handed_in
from batchspec.plan.rules.catalogue import CATALOGUE, FAMILIES, finding
from batchspec.plan.rules.check import in_the_way, worth_knowing
from batchspec.plan.rules.context import RuleContext
from batchspec.plan.rules.image import size
from batchspec.plan.stage_tasks import StageTasks
from batchspec.plan.task_sets import TaskSets
from batchspec.spec import Record, Spec, scale_bounds, scale_formula
from tests.plan.making import observed, spec, stage

ROOT = Path(__file__).parents[2]
RAISED_IN = (
    *sorted((ROOT / "batchspec/plan").rglob("*.py")),
    *sorted((ROOT / "batchspec/spec").rglob("*.py")),
    ROOT / "batchspec/observe/disk.py",
)
TELLING = {"Diagnostic", "finding", "_refuse", "refuse", "_fail", "add", "_add"}
"""What is called with a code to tell a finding."""
OF_THE_COMMAND_LINE = {
    "bad-plan-file": "a file that is no saved plan",
    "no-job-yet": "attach to a schedule that has not begun",
    "no-results": "download of a spec without results",
    "no-run": "attach without a job",
    "no-such-step": "--target-step of no step",
    "not-retried": "retry of a schedule",
    "plan-stale": "a saved plan that no longer fits",
}
"""What is raised in these rooms and is wrong with what was typed, not with what would be done."""

GOLDENS = (*(ROOT / "tests/plan/cases").glob("*.txt"), *(ROOT / "tests/spec/cases").glob("*.txt"))
HERE, SOURCE = Path(__file__), ROOT / "tests/spec/test_source.py"
DISK, ROWS = ROOT / "tests/observe/test_disk.py", ROOT / "tests/spec/test_rows.py"
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
    "request-too-large": (HERE, ""),
    "rows-encoding": (ROWS, '"UTF-16"'),
    "rows-format": (ROWS, ""),
    "task-too-large": (ROOT / "tests/plan/test_faults.py", ""),
    "template-call": (TEMPLATE, ""),
    "template-statement": (TEMPLATE, ""),
    "too-deep": (SOURCE, ""),
    "too-large": (SOURCE, ""),
    "too-many-dependencies": (HERE, ""),
    "unreadable-file": (DISK, ""),
}
"""Tests of what no situation shows, and what they ask for if not for the code."""


def raised() -> Iterator[tuple[Path, str, Severity | None]]:
    """Every code in the source, and what it is said to weigh there (``None``: what it does)."""
    for path in RAISED_IN:
        for call in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(call, ast.Tuple) and path.name == "yaml_faults.py":
                # A table: what the parser says, and the code of it.
                for code in [c for part in call.elts[1:2] for c in codes(part)]:
                    yield path, code, Severity.ERROR
            if not isinstance(call, ast.Call) or not call.args or named(call) not in TELLING:
                continue
            by_name = {keyword.arg: keyword.value for keyword in call.keywords}
            weight = by_name.get("severity")
            said = Severity[weight.attr] if isinstance(weight, ast.Attribute) else Severity.ERROR
            for code in codes(call.args[0]):
                yield path, code, None if named(call) == "finding" else said


def named(call: ast.Call) -> str:
    """What is called."""
    match call.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def codes(argument: ast.expr) -> Iterator[str]:
    """The texts that a first argument can be."""
    match argument:
        case ast.Constant(value=str(code)) if re.fullmatch(r"[a-z0-9-]+", code):
            yield code
        case ast.IfExp():
            yield from codes(argument.body)
            yield from codes(argument.orelse)


def test_every_code_that_is_raised_is_in_the_catalogue_with_its_weight() -> None:
    wrong = []
    for path, code, weight in raised():
        if code in OF_THE_COMMAND_LINE:
            continue
        kind = CATALOGUE.get(code)
        if kind is None or weight not in {None, kind.severity}:
            wrong.append(f"{path.name}: {code} ({weight})")
    assert wrong == []


def test_every_code_of_the_catalogue_is_raised() -> None:
    everywhere = "".join(path.read_text("utf-8") for path in RAISED_IN if "kinds" not in str(path))
    assert [code for code in CATALOGUE if f'"{code}"' not in everywhere] == []


def test_every_code_of_the_catalogue_is_shown_by_a_situation() -> None:
    shown = {
        code
        for golden in GOLDENS
        for code in re.findall(r"\[([a-z0-9-]+)\]$", golden.read_text("utf-8"), re.MULTILINE)
    }
    for code, (path, words) in ELSEWHERE.items():
        assert (words or f'"{code}"') in path.read_text("utf-8"), code
    assert sorted(set(CATALOGUE) - shown - set(ELSEWHERE)) == []


def test_a_code_is_in_one_family() -> None:
    assert len(CATALOGUE) == sum(len(family.kinds) for family in FAMILIES)


@pytest.mark.parametrize("kind", CATALOGUE.values(), ids=lambda kind: kind.code)
def test_every_finding_says_why_and_how_to_mend_it(kind: object) -> None:
    kind = CATALOGUE[kind.code]  # type: ignore[attr-defined]
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", kind.code)
    assert kind.title and not kind.title.endswith(".")
    assert kind.why.endswith(".") and kind.mend.endswith(".")


def test_a_finding_has_the_weight_and_the_mend_of_its_kind() -> None:
    found = finding("pool-kept", "said")
    assert (found.severity, found.fix) == (Severity.WARNING, CATALOGUE["pool-kept"].mend)
    assert finding("pool-kept", "said", fix="Other.").fix == "Other."


@pytest.mark.parametrize("tool", ["generate_findings", "generate_changes"])
def test_the_documents_are_fresh(tool: str) -> None:
    command = [sys.executable, f"tools/{tool}.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# --- what no situation shows -------------------------------------------------------------------


def of_pool(**properties: object) -> RuleContext:
    return RuleContext(spec(stage()), observed(), Record({**properties}))  # type: ignore[dict-item]


def told(scene: RuleContext) -> list[str]:
    return [problem.code for problem in in_the_way(scene)]


def test_a_request_that_is_too_large_is_told() -> None:
    settings = tuple(Record(name=f"N{n}", value="x" * 1000) for n in range(1000))
    good = {"targetDedicatedNodes": 1}
    assert told(of_pool(**good)) == []
    start = Record(commandLine="true", environmentSettings=settings)
    assert told(of_pool(startTask=start, **good)) == ["request-too-large"]
    scene = of_pool(**good)
    job = replace(scene.spec.job, properties=Record(commonEnvironmentSettings=settings))
    assert told(replace(scene, spec=replace(scene.spec, job=job))) == ["request-too-large"]


@pytest.mark.parametrize("key", ["jobPreparationTask", "jobReleaseTask", "jobManagerTask"])
def test_a_command_around_the_tasks_that_is_too_long_is_told(key: str) -> None:
    scene = of_pool(targetDedicatedNodes=1)
    job = replace(scene.spec.job, properties=Record({key: Record(commandLine="x" * 131_072)}))
    assert told(replace(scene, spec=replace(scene.spec, job=job))) == ["command-too-long"]
    start = of_pool(targetDedicatedNodes=1, startTask=Record(commandLine="x" * 131_072))
    assert told(start) == ["command-too-long"]


@pytest.mark.parametrize(("number", "expected"), [(954, []), (956, ["too-many-dependencies"])])
def test_ids_that_are_too_long_together_are_told(number: int, expected: list[str]) -> None:
    ids = tuple(f"{n:064}" for n in range(number))
    it = stage(body=Record(dependsOn=Record(taskIds=ids)))
    scene = RuleContext(spec(it), observed(), Record(targetDedicatedNodes=1))
    assert told(scene) == expected


@pytest.mark.parametrize(("number", "expected"), [(200_000, []), (200_001, ["many-tasks"])])
def test_more_tasks_than_the_service_counts_are_told(number: int, expected: list[str]) -> None:
    class Many(tuple):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return number

    it = stage()
    work = TaskSets("job", None, True, (StageTasks(it, number, 0, 0, (), (), Many()),))
    scene = RuleContext(spec(it), observed(), Record(targetDedicatedNodes=1))
    found = worth_knowing(scene, (), work)
    assert [problem.code for problem in found if problem.code == "many-tasks"] == expected


# --- sizes and formulas ------------------------------------------------------------------------


def of_size(name: str) -> list[Diagnostic]:
    return list(size(of_pool(vmSize=name)))


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
        "standard_dc2s_v2",
    ],
)
def test_sizes_that_are_offered_are_not_told(name: str) -> None:
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
        ("standard d2s v5", "vm-size-odd"),
    ],
)
def test_sizes_that_are_gone_or_odd_are_told(name: str, code: str) -> None:
    assert [problem.code for problem in of_size(name)] == [code]


def test_a_size_that_goes_within_a_year_says_when() -> None:
    (problem,) = of_size("standard_nv16as_v4")
    assert problem.summary.endswith("goes on 2026-09-30")


@pytest.mark.parametrize(("least", "most", "spot"), [(0, 4, 0), (2, 9, 0), (1, 3, 20), (0, 0, 7)])
@pytest.mark.parametrize("slots", [1, 4])
def test_the_bounds_of_a_formula_are_those_it_was_made_of(
    least: int, most: int, spot: int, slots: int
) -> None:
    formula = scale_formula(
        least=least, most=most, most_spot=spot, idle=timedelta(minutes=15), slots=slots
    )
    assert scale_bounds(formula) == (least, most + spot)
    assert scale_bounds("$TargetDedicatedNodes = min(10, $PendingTasks);") is None


def test_findings_have_a_place_of_their_own() -> None:
    """Where nothing is known but the pool, it is the pool that is pointed at."""
    scene = of_pool(targetDedicatedNodes=0)
    (problem,) = in_the_way(scene)
    assert problem.where == scene.spec.pool.where
    there = replace(scene.spec, places={"pool.nodes": replace(scene.spec.pool.where, line=9)})
    (problem,) = in_the_way(replace(scene, spec=there))
    assert problem.where is not None and problem.where.line == 9


def test_a_spec_keeps_the_places_of_its_keys(tmp_path: Path) -> None:
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


def test_no_signature_is_shown_that_was_handed_in() -> None:
    """``signature-handed-in.yaml`` has one, marked."""
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
def test_the_first_address_that_expires_counts(secret: str, expected: list[str]) -> None:
    scene = of_pool(targetDedicatedNodes=1)
    it = replace(scene.spec, parameters={"address": Secret(secret)})
    found = list(handed_in(replace(scene, spec=it)))
    assert [problem.code for problem in found] == expected
    assert not any("sig=x" in f"{problem}" for problem in found)
