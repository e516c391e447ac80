"""The specs of the gallery: expected results, set-up, or the reason why a spec does not run here.

The expected results are written by hand from the description of each spec.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from azure.batch import BatchClient, models
from azure.core.credentials import AzureNamedKeyCredential
from azure.storage.blob import BlobServiceClient

from tests.e2e.conftest import Workplace
from tests.local.management import ServicePlace, attach_identities, identity_id

KEY = "0123456789abcdef"
"""The secret that a spec is given; it must not appear in any output."""


def _blobs(place: Workplace) -> None:
    source = place.folder / "specs" / "data" / "blobs"
    connection = place.endpoints().connection_string
    with BlobServiceClient.from_connection_string(connection) as storage:
        container = storage.create_container("blobs-archive")
        for path in sorted(source.rglob("*.*")):
            container.upload_blob(path.relative_to(source).as_posix(), path.read_bytes())


def _pool(name: str) -> Callable[[Workplace], None]:
    def make(place: Workplace) -> None:
        ends = place.endpoints()
        credential = AzureNamedKeyCredential(ends.batch_account, ends.batch_key)
        with BatchClient(ends.batch_url, credential) as client:
            image = models.BatchVmImageReference(
                publisher="canonical", offer="ubuntu-24_04-lts", sku="server"
            )
            machine = models.VirtualMachineConfiguration(
                image_reference=image, node_agent_sku_id="batch.node.ubuntu 24.04"
            )
            client.create_pool(
                models.BatchPoolCreateOptions(
                    id=name,
                    vm_size="standard_d2s_v5",
                    target_dedicated_nodes=1,
                    virtual_machine_configuration=machine,
                )
            )

    return make


def _identity_pool(place: Workplace) -> None:
    _pool("with-identity")(place)
    nodes = identity_id("nodes").replace("resourceGroups/batchspec", "resourceGroups/batch")
    attach_identities(ServicePlace(place.endpoints()), "with-identity", nodes)


def windows_package(place: Workplace) -> None:
    """Add the application package of ``topn-windows.yaml`` to the embedded service."""
    package = place.home / "applications" / "python" / "3.12.zip"
    package.parent.mkdir(parents=True)
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("python.exe", "")


def _top(name: str, words: int, different: int, **counts: int) -> str:
    """What the program of the tutorial writes for a file."""
    head = f"# {name}.txt: top 3 of {words} words, {different} different; read as utf-8\n"
    return head + "".join(f"{word}\t{count}\n" for word, count in counts.items())


@dataclass(frozen=True)
class Case:
    """A spec that runs here: its results by path, its options, and what is set up before."""

    results: Mapping[str, str]
    given: tuple[str, ...] = ()
    first: Callable[[Workplace], None] | None = None


@dataclass(frozen=True)
class Without:
    """A spec that is not run with the others, the reason, and what is set up before its plan."""

    why: str
    first: Callable[[Workplace], None] | None = None


TOP = "the\t14\na\t5\nin\t4\nand\t3\nclock\t3\n"

CASES: Mapping[str, Case | Without] = {
    "application-package": Case(
        {
            "harbour.txt.top.txt": _top("harbour", 30, 24, the=6, to=2, **{"and": 1}),
            "market.txt.top.txt": _top("market", 28, 25, **{"is": 2}, it=2, of=2),
            "museum.txt.top.txt": _top("museum", 17, 15, **{"is": 2}, the=2, big=1),
            "station.txt.top.txt": _top("station", 17, 15, hour=2, the=2, an=1),
            "tower.txt.top.txt": _top("tower", 12, 11, the=2, **{"and": 1}, back=1),
        }
    ),
    "auto-pool": Case({f"hello-{n}.txt": "hello from a pool of my own\n" for n in range(3)}),
    "autoscale": Case({f"step-{n:02}.txt": f"step {n}\n" for n in range(12)}),
    "autoscale-formula": Case({"left.txt": "left\n", "right.txt": "right\n"}),
    "blobs": Case({"2026-07/01.sum": "7\n", "2026-07/02.sum": "11.5\n"}, first=_blobs),
    "cleanup": Case({"little.txt": "done\n"}),
    "commands": Case(
        {
            "text.txt": "it's $HOME; `date`\n",
            "raw.txt": "1\n2\n",
            "lines.txt": "in wd\n",
            "it-s-HOME-date.txt": "",
            "two words.txt": "",
        }
    ),
    "container-image": Without("tasks in containers need an engine, and the engine a registry"),
    "environment": Case(
        {
            f"{n}.txt": f"de, careful, part {n} of job environment\n"
            f"pool environment, task look-{n}\n"
            for n in ("one", "two")
        }
    ),
    "existing-pool": Case({"where.txt": "on shared\n"}, first=_pool("shared")),
    "exit-codes": Case({"report.txt": "checked\n"}),
    "files": Case(
        {
            "harbour.words": "30\n",
            "market.words": "28\n",
            "museum.words": "17\n",
            "station.words": "17\n",
            "group-0.letters": "237\n",
            "group-1.letters": "131\n",
            "group-2.letters": "50\n",
        }
    ),
    "list": Case(
        {
            "colours/red.txt": "red has 3 characters\n",
            "colours/green.txt": "green has 5 characters\n",
            "colours/dark-blue.txt": "dark blue has 9 characters\n",
            "shapes/square.txt": "the outline of a square is 10.0\n",
            "shapes/hexagon.txt": "the outline of a hexagon is 6\n",
        }
    ),
    "logs": Case({"counting/up/stdout.txt": "1\n2\n3\n", "counting/up/stderr.txt": "counted up\n"}),
    "managed-identity": Case({"museum.words": "17\n"}, first=_identity_pool),
    "map-reduce": Case({"top.txt": TOP}),
    "matrix": Case(
        {
            "growth-1-10.txt": "1104.62\n",
            "growth-1-20.txt": "1220.19\n",
            "growth-1-30.txt": "1347.85\n",
            "growth-2_5-10.txt": "1280.08\n",
            "growth-2_5-20.txt": "1638.62\n",
            "growth-2_5-30.txt": "2097.57\n",
            "growth-4-10.txt": "1480.24\n",
            "growth-4-20.txt": "2191.12\n",
            "growth-25-1.txt": "1250.00\n",
        }
    ),
    "metadata": Case({f"{n}.txt": f"hello {n}\n" for n in ("Ada", "Grace", "Katherine")}),
    "multi-instance": Case({"rally.txt": "nodes: 3\nfirst: true\n"}),
    "outputs": Case(
        {
            "100/quotient/value.txt": "14\n",
            "100/remainder/value.txt": "2\n",
            "700/quotient/value.txt": "100\n",
            "700/remainder/value.txt": "0\n",
            "journals/100.log": "dividing 100 by 7\ndone\n",
            "journals/700.log": "dividing 700 by 7\ndone\n",
        }
    ),
    "parameters": Case({f"{n}.txt": f"Good evening, {n}!\n" * 2 for n in ("Ada", "Grace")}),
    "pipeline": Case({"report.txt": "mean 12\nfrom -5 to 31\n"}),
    "preparation": Case({"cat.txt": "Katze\n", "dog.txt": "Hund\n", "owl.txt": "Eule\n"}),
    "range": Case(
        {
            "primes-000.txt": "2\n3\n5\n7\n11\n13\n17\n19\n23\n",
            "primes-025.txt": "29\n31\n37\n41\n43\n47\n",
            "primes-050.txt": "53\n59\n61\n67\n71\n73\n",
            "primes-075.txt": "79\n83\n89\n97\n",
        }
    ),
    # Without faults; with faults in test_fault_injection.py.
    "fault-injection": Case(
        {f"square-{n}.txt": f"{n * n}\n" for n in range(1, 13)} | {"total.txt": "650\n"}
    ),
    "resources": Case(
        {
            "monday.german.txt": "die Katze schläft\n",
            "tuesday.german.txt": "die Sonne scheint\n",
        }
    ),
    "results": Case(
        {
            "tables/north.csv": "north\n",
            "tables/south.csv": "south\n",
            "journal/north/north.log": "seen north\n",
            "journal/south/south.log": "seen south\n",
            "kept/north/tables/raw/north.raw": "north raw\n",
        }
    ),
    "retries": Case({"attempts.txt": "it took 3 attempts\n"}),
    "rows-csv": Case(
        {
            "trip-000.txt": "from Oslo to Bergen are 463 km\n",
            "trip-001.txt": "from St. John's to Corner Brook are 688 km\n",
            "trip-002.txt": "from Washington, D.C. to New York are 362 km\n",
            "trip-003.txt": 'from the "Old" Town to $(the new one) are 3 km\n',
        }
    ),
    "rows-jsonl": Case(
        {
            "greeting-0.txt": "Good morning, Ada!\n",
            "greeting-1.txt": "HELLO, GRACE!\n" * 3,
            "greeting-2.txt": "Bon après-midi, Édouard!\n" * 2,
        }
    ),
    "schedule": Without("its jobs come by themselves: test_schedule.py"),
    "secret": Case(
        {
            "signed-0.txt": "I owe you ten.\n"
            "7f39fe81c418c625235dc28f80da0fcd874ab922f80b3a74a1ac9da2f5af26e1\n",
            "signed-1.txt": "You owe me twenty.\n"
            "272fa65b136d05fce67b299c1ca624ea6c92dea90e04f1e9fd56ae44e1eb300e\n",
        },
        given=("--var", f"signing_key={KEY}"),
    ),
    "sharing": Case({"first.txt": "one\n", "second.txt": "two\n", "third.txt": "three\n"}),
    "slots": Case(
        {f"small-{n}.txt": "one slot\n" for n in range(6)}
        | {f"large-{n}.txt": "four slots\n" for n in range(2)}
    ),
    "spot": Case({f"square-{n}.txt": f"{n * n}\n" for n in range(1, 7)}),
    "start-task": Case({f"say-{n}.txt": f"{n}. serendipity\n" for n in range(3)}),
    "time-limits": Case({"waited.txt": "waited in time\n"}),
    "topn": Without("the tutorial has its own tests: test_tutorial.py"),
    "topn-windows": Without("there are no Windows nodes: test_windows.py", windows_package),
    "uploads": Case({"list.txt": "./about/us.html\n./index.html\n./notes/today.md\n"}),
}
"""Every spec of the gallery."""
