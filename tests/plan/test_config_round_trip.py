"""``batchspec config`` prints the same spec: the same plan, ids and digests."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from batchspec.diagnostics import Diagnostics
from batchspec.observe import Spool, scan
from batchspec.plan import check_offline
from batchspec.plan.observed import AccountNames, ContainerFacts, Observed
from batchspec.plan.rules.image import runs_windows
from batchspec.plan.tasks import expand
from batchspec.spec import (
    EachBlob,
    Record,
    Rows,
    Spec,
    ValueSources,
    dump_document,
    expanded_document,
    read_rows,
    read_spec,
    thaw,
)

ROOT = Path(__file__).parents[2]
GALLERY = sorted(path.name for path in (ROOT / "specs").glob("*.yaml"))
VARIABLES: Mapping[str, dict[str, str]] = {"secret.yaml": {"signing_key": "hunter2hunter2"}}
NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the gallery, whose specs can be replaced."""
    folder = tmp_path_factory.mktemp("gallery")
    for name in ("specs", "task_app"):
        shutil.copytree(ROOT / name, folder / name)
    return folder / "specs"


@pytest.mark.parametrize("name", GALLERY)
@pytest.mark.parametrize("form", ["yaml", "json"])
def test_the_gallery(name: str, form: str, gallery: Path) -> None:
    path, given = gallery / name, VARIABLES.get(name, {})
    before, text = content(path, given), path.read_text("utf-8")
    printed = dump_document(expanded_document(path, ValueSources(given)), form)
    try:
        path.write_text(printed, "utf-8")
        assert content(path, given) == before
        assert dump_document(expanded_document(path, ValueSources(given)), form) == printed
    finally:
        path.write_text(text, "utf-8")


def content(path: Path, given: Mapping[str, str]) -> object:
    """The contents of a plan and of its tasks, without positions."""
    spec = read_spec(path, ValueSources(given))
    problems = Diagnostics()
    with Spool() as spool:
        scan(spec.containers.values(), spool, problems)
        problems.raise_if_any()
        files = {key: spool.files(key) for key in spec.containers}
        observed = Observed(
            AccountNames("", "", ""),
            NOW,
            {key: ContainerFacts(None, files[key]) for key in spec.containers},
            rows={
                stage.name: read_rows(stage.for_each.path)
                for stage in spec.stages
                if isinstance(stage.for_each, Rows)
            },
        )
        windows = runs_windows(spec, observed)
        tasks = [
            tasks_of(expand(spec, stage, observed, windows=windows))
            for stage in spec.stages
            if not isinstance(stage.for_each, EachBlob)
        ]
        found = [problem.code for problem in check_offline(spec, files, NOW)]
    return (requests(spec), tasks, found)


def tasks_of(tasks: object) -> list[object]:
    return [(task.id, identity(task.body), task.inputs) for task in tasks]  # type: ignore[attr-defined]


def requests(spec: Spec) -> object:
    """The bodies of the requests, and the rest of the spec."""
    pool, job = spec.pool, spec.job
    return (
        (spec.name, spec.description, spec.digest, dict(spec.parameters)),
        (pool.id, pool.kind, identity(pool.properties), pool.image and pool.image.name, pool.auto),
        (job.id, job.limit, identity(job.properties), pool.windows, pool.start_containers),
        identity(job.schedule or Record()),
        [(c.key, c.id, c.existing, c.metadata, c.public_access) for c in spec.containers.values()],
        [(stage.name, stage.needs, stage.logs, stage.required) for stage in spec.stages],
        [(result.container, result.to, result.match, result.flat) for result in spec.results],
        spec.cleanup,
    )


def identity(body: Record) -> object:
    return thaw(body, lambda text: text.identity())
