"""With ``storage.identity`` no request of a run has a signed URL."""

from __future__ import annotations

import pytest

from batchspec.plan import PlanOptions
from batchspec.plan.actions import CreateJob, SubmitTasks
from batchspec.plan.managed_identity import authorized, identities
from batchspec.spec import BlobUrl, Quoted, Quoting, Record, Text, thaw
from tests.plan.situation import SPEC, situation
from tests.plan.test_cases import made

ID = (
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/a"
)
NODES = Record(resourceId=ID)
ATTACHED = {"type": "UserAssigned", "userAssignedIdentities": [{"resourceId": ID}]}
OTHER = Record(resourceId=ID.replace("/a", "/b"))


@pytest.mark.parametrize("key", ["httpUrl", "storageContainerUrl", "containerUrl"])
@pytest.mark.parametrize("text", [False, True])
def test_urls_of_the_account_get_the_identity(key: str, text: bool) -> None:
    signed, plain = BlobUrl("data", "a.txt", "r"), BlobUrl("data", "a.txt")
    given = Record({key: Text((signed,)) if text else signed})
    expected = Record({key: Text((plain,)) if text else plain, "identityReference": NODES})
    assert authorized(Record(files=(given,)), ID) == Record(files=(expected,))


def test_other_urls_and_given_identities_do_not_change() -> None:
    body = Record(
        resourceFiles=(
            Record(httpUrl="https://example.com/a"),
            Record(autoStorageContainerName="data"),
            Record(httpUrl=BlobUrl("data", "a", "r"), identityReference=OTHER),
        )
    )
    unsigned = Record(httpUrl=BlobUrl("data", "a"), identityReference=OTHER)
    files = body["resourceFiles"]
    assert isinstance(files, tuple)
    assert authorized(body, ID) == Record(resourceFiles=(*files[:2], unsigned))
    assert authorized(body, "") is body


def test_urls_in_commands_have_no_signature() -> None:
    signed, plain = (Text(("x ", BlobUrl("data", None, p))) for p in ("rl", ""))
    body = Record(commandLine=Text(("sh ", Quoted(signed, Quoting.POSIX))))
    assert authorized(body, ID) == Record(commandLine=Text(("sh ", Quoted(plain, Quoting.POSIX))))


@pytest.mark.parametrize(
    ("registry", "gets"),
    [
        (Record(registryServer="lab.azurecr.io"), True),
        (Record(registryServer="LAB.AZURECR.CN"), True),
        (Record(registryServer="docker.io"), False),
        (Record(registryServer="lab.azurecr.io", username="ada"), False),
    ],
)
def test_registries_of_azure_get_the_identity(registry: Record, gets: bool) -> None:
    expected = registry.with_(identityReference=NODES) if gets else registry
    assert authorized(Record(registry=registry), ID) == Record(registry=expected)


def test_the_identities_of_a_pool() -> None:
    found = Record(identity=Record(type="UserAssigned", userAssignedIdentities=(NODES, OTHER)))
    assert identities(found) == (ID, ID.replace("/a", "/b"))
    assert identities(Record(identity=Record(type="None"))) == ()
    assert identities(Record()) == ()


POOL = SPEC[SPEC.index("pool:") : SPEC.index("job:")]
WITHOUT = SPEC.replace(POOL, "pool: {existing: demo}\n").replace(", pool: ask", "")
WITHOUT = WITHOUT.replace(
    "job: {max_wall_clock_time: 1h}",
    "job: {max_wall_clock_time: 1h, prepare: {command: ls, resources: [application]}}",
).replace("logs: false", 'outputs: [{files: "*.out", container: output}]')
WITH = WITHOUT.replace("name: demo\n", f"name: demo\nstorage: {{identity: {ID}}}\n")


def test_a_run_with_an_identity_signs_nothing_and_has_the_same_work(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    works = []
    for spec in (WITHOUT, WITH):
        there = {"targetDedicatedNodes": 1, "identity": ATTACHED}
        case = {"spec": spec, "pool": {"by": None, "set": there}}
        with situation(case, tmp_path_factory.mktemp("run")) as found:
            steps = [step.action for step in made("plan", found, PlanOptions()).steps]
            (job,) = (action for action in steps if isinstance(action, CreateJob))
            (submit,) = (action for action in steps if isinstance(action, SubmitTasks))
            tasks = list(submit.tasks)
        works.append([(task.id, task.marks) for task in tasks])
    assert not submit.sas
    assert not job.sas
    for body in (job.body, *(task.body for task in tasks)):
        shown = str(thaw(body, lambda text: text.shown))
        assert "<url>" in shown
        assert "<sas>" not in shown
        assert shown.count("<url>") == shown.count(ID)
    assert works[0] == works[1]
