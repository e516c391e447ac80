"""Plans in the form that the planner creates, written by hand."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from batchspec.diagnostics import Diagnostic, Place, Secret, Severity
from batchspec.plan import Gate, Plan, Step, Task, Verb
from batchspec.plan import actions as a
from batchspec.plan.observed import AccountNames, LocalFile
from batchspec.spec import BlobUrl, Quoted, Quoting, Record, Text

LOCAL = AccountNames("local", "http://127.0.0.1:43210", "http://127.0.0.1:10000/batchspec")
AZURE = AccountNames(
    "azure", "https://mybatch.westeurope.batch.azure.com", "https://mydata.blob.core.windows.net"
)
HOURS = timedelta(hours=2)
HERE = Path("/home/user/project")

POOL = Record(
    id="topn",
    vmSize="standard_d2s_v5",
    targetDedicatedNodes=3,
    startTask=Record(
        commandLine="/bin/sh -c 'cp topn.py \"$AZ_BATCH_NODE_SHARED_DIR/\"'",
        resourceFiles=(Record(httpUrl=BlobUrl("application", "topn.py", "r"), filePath="topn.py"),),
        waitForSuccess=True,
    ),
)

TASK = Task(
    id="count-a-txt-1f2e3d4c5b6a",
    stage="count",
    index=0,
    body=Record(
        id="count-a-txt-1f2e3d4c5b6a",
        commandLine=Text(
            (
                "/bin/sh -c 'topn.py a.txt 3 ",
                Quoted(Text((BlobUrl("output", None, "cw"),)), Quoting.POSIX),
                "'",
            )
        ),
        environmentSettings=(Record(name="TOKEN", value=Secret("hush-hush")),),
        resourceFiles=(Record(httpUrl=BlobUrl("input", "a.txt", "r"), filePath="a.txt"),),
    ),
    inputs=(("input", "a.txt"),),
)

FILE = LocalFile("a b.txt", str(HERE / "a b.txt"), 4_115, b"")
LIMIT = timedelta(minutes=30)


def _plan(
    account: AccountNames, steps: tuple[Step, ...], kept: tuple[Step, ...] = (), **more: object
) -> Plan:
    values: dict[str, object] = {
        "account": account,
        "name": "topn",
        "description": "The three most frequent words of every input file.",
        "digest": "1f" * 32,
        "steps": steps,
        "kept": kept,
        "findings": (),
        "fingerprint": "2e" * 32,
        **more,
    }
    return Plan(**values)  # type: ignore[arg-type]


_FRESH = (
    Step(
        "container:input",
        a.CreateContainer("input"),
        Verb.CREATE,
        "container input",
        "new",
    ),
    Step(
        "upload:input",
        a.UploadFiles("input", (FILE,) * 3, 12_345),
        Verb.UPLOAD,
        "files to input",
        "2 not there yet, 1 changed",
        ("container:input",),
        3,
    ),
    Step(
        "pool:topn",
        a.CreatePool("topn", POOL, HOURS),
        Verb.CREATE,
        "pool topn",
        "new",
        ("upload:application",),
        3,
    ),
    Step(
        "pool:topn:ready",
        a.WaitForPool("topn", 3),
        Verb.WAIT,
        "nodes of topn",
        "tasks run on nodes whose start task has succeeded",
        ("pool:topn",),
        3,
    ),
    Step(
        "job:topn",
        a.CreateJob("topn", Record(id="topn", poolInfo=Record(poolId="topn")), HOURS),
        Verb.CREATE,
        "job topn",
        "new",
        ("pool:topn",),
    ),
    Step(
        "tasks:count",
        a.SubmitTasks("topn", "count", (TASK,) * 3, HOURS),
        Verb.SUBMIT,
        "tasks of count",
        "new",
        ("job:topn", "upload:input"),
        3,
    ),
    Step(
        "job:topn:close",
        a.CloseJob("topn"),
        Verb.UPDATE,
        "job topn",
        "it ends by itself when all its tasks are completed",
        ("tasks:count",),
    ),
    Step(
        "job:topn:done",
        a.WaitForTasks("topn", "topn", 3, LIMIT),
        Verb.WAIT,
        "tasks of topn",
        "the run lasts until they are completed",
        ("job:topn:close", "pool:topn:ready"),
        3,
    ),
    Step(
        "results:output",
        a.DownloadResults("output", HERE / "results", "topn"),
        Verb.DOWNLOAD,
        "results from output",
        "they are checked before anything is deleted",
        ("job:topn:done",),
        0,
    ),
    Step(
        "cleanup:pool:topn",
        a.DeletePool("topn"),
        Verb.DELETE,
        "pool topn",
        "cleanup: ask",
        ("results:output",),
        gate=Gate.ASK,
    ),
    Step(
        "cleanup:containers",
        a.DeleteContainers(("application", "input", "output")),
        Verb.DELETE,
        "containers application, input, output",
        "cleanup: on_success",
        ("cleanup:pool:topn",),
        3,
        Gate.SUCCESS,
    ),
    Step(
        "cleanup:job:topn",
        a.DeleteJob("topn"),
        Verb.DELETE,
        "job topn",
        "cleanup: ask",
        gate=Gate.ASK,
    ),
)

_CHANGED = (
    Step(
        "pool:topn",
        a.ReplacePool("topn", POOL, HOURS),
        Verb.REPLACE,
        "pool topn",
        "vmSize: standard_d2s_v5 -> standard_d4s_v5 (it cannot be changed in place)",
        items=3,
    ),
    Step(
        "pool:other",
        a.ResizePool("other", 1200, 3),
        Verb.RESIZE,
        "pool other",
        "it has 2 dedicated nodes, the spec says 1,200 dedicated and 3 spot nodes",
        items=1203,
    ),
    Step(
        "pool:third",
        a.UpdatePool("third", Record(taskSlotsPerNode=4), HOURS),
        Verb.UPDATE,
        "pool third-pool-with-a-name-that-is-as-long-as-names-of-pools-may-be",
        "taskSlotsPerNode: 1 -> 4",
    ),
    Step(
        "earlier:topn",
        a.TerminateTasks("topn"),
        Verb.TERMINATE,
        "tasks of an earlier version",
        "3 running, 9 waiting; submitted by ada@host at 14:02 UTC",
        items=12,
    ),
    Step(
        "job:topn",
        a.UpdateJob("topn", Record(priority=10)),
        Verb.UPDATE,
        "job topn",
        "priority: 0 -> 10",
    ),
    Step(
        "tasks:count:retry",
        a.RetryTasks("topn", "count", (TASK,) * 1),
        Verb.SUBMIT,
        "failed tasks of count",
        "failed",
        items=1,
    ),
)

_KEPT = (
    Step("container:output", None, Verb.KEEP, "container output", "up to date"),
    Step(
        "tasks:count:kept",
        None,
        Verb.KEEP,
        "tasks of count",
        "all 3 succeeded in job topn",
        items=3,
    ),
)

_FINDINGS = (
    Diagnostic(
        "image-ends-soon",
        "the image ubuntu-22.04 is supported until 2027-06-30 only",
        where=Place("specs/topn.yaml", 22, 10, "  image: ubuntu-22.04", 12),
        fix="Use `ubuntu-24.04`.",
        severity=Severity.WARNING,
    ),
    Diagnostic(
        "fixed-pool",
        "nothing deletes the pool 'topn', and it has a fixed number of nodes",
        detail="Its nodes are billed until it is deleted.",
        severity=Severity.NOTE,
    ),
)

PLANS: dict[str, Plan] = {
    "fresh": _plan(LOCAL, _FRESH, _KEPT[:1]),
    "changed": _plan(AZURE, _CHANGED, _KEPT, findings=_FINDINGS),
    "nothing": _plan(LOCAL, (), _KEPT),
    "bare": _plan(AZURE, (), (), description="", name="x"),
}
