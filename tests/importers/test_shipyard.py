"""Configurations of batch-shipyard. The recipes follow those of its repository."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from batchspec.diagnostics import SpecError
from batchspec.importers import import_documents
from tests.importers.drafts import imported

POOL = """\
pool_specification:
  id: shared
  vm_configuration:
    platform_image: {publisher: Canonical, offer: UbuntuServer, sku: 18.04-LTS}
  vm_count: {dedicated: 4, low_priority: 2}
  vm_size: STANDARD_D2S_V5
  inter_node_communication_enabled: true
  ssh: {username: shipyard}
"""
CONFIG = """\
batch_shipyard: {storage_account_settings: mystorageaccount}
global_resources:
  docker_images: [busybox]
"""


def jobs(tasks: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {"job_specifications": [{"id": "work", "tasks": tasks, **more}]}


def documents(tasks: list[dict[str, Any]], **more: Any) -> dict[str, object]:
    return {"config.yaml": CONFIG, "pool.yaml": POOL, "jobs.yaml": jobs(tasks, **more)}


def test_blast(tmp_path: Path) -> None:
    storage = {"storage_account_settings": "mystorageaccount"}
    query = {
        "task_factory": {
            "file": {
                "azure_storage": {
                    **storage,
                    "remote_path": "blast/chunks",
                    "include": ["query-*.fa"],
                },
                "task_filepath": "file_name",
            }
        },
        "docker_image": "quay.io/biocontainers/blast:2.7.1",
        "environment_variables": {"db_name": "tiny"},
        "resource_files": [{"blob_source": "https://example.org/t.phr", "file_path": "db/t.phr"}],
        "command": '/bin/bash -c "blastp -db db/$db_name -query {file_name} > r && '
        'head -n 10 r | cut -f 2 > {file_name_no_extension}.top"',
        "output_data": {
            "azure_storage": [
                {
                    **storage,
                    "remote_path": "blast/sequences",
                    "local_path": "$AZ_BATCH_TASK_WORKING_DIR",
                    "include": ["*.top"],
                }
            ]
        },
    }
    merge = {
        "docker_image": "python:3-alpine",
        "input_data": {"azure_storage": [{**storage, "remote_path": "blast/sequences"}]},
        "command": '/bin/sh -c "cat query-*.top > results.txt"',
        "output_data": {
            "azure_storage": [
                {
                    **storage,
                    "remote_path": "blast/results",
                    "local_path": "$AZ_BATCH_TASK_WORKING_DIR/results.txt",
                }
            ]
        },
    }
    found = imported(tmp_path, documents([query], merge_task=merge))
    document = found.document
    assert document["pool"]["nodes"] == {"dedicated": 4, "spot": 2}
    assert document["pool"]["image"] == "ubuntu-hpc-2204"
    assert "Not imported: `ssh`" in found.text
    first, second = document["tasks"].values()
    assert first["for_each"] == {"blobs": "blast", "prefix": "chunks/", "match": ["query-*.fa"]}
    assert first["command"].endswith("> {{ file.stem }}.top")
    assert first["resources"][0]["http_url"] == "{{ file.url }}"
    assert first["outputs"] == [{"files": "*.top", "container": "blast", "path": "sequences/"}]
    assert second["needs"] == ["task"]
    assert second["outputs"][0] == {
        "files": "results.txt",
        "container": "blast",
        "path": "results/results.txt",
    }


def test_a_command_for_the_entry_point_of_an_image(tmp_path: Path) -> None:
    task = {
        "image": "alfpark/ffmpeg:3.2.1",
        "resource_files": [{"blob_source": "https://example.org/v.mp4", "file_path": "v.mp4"}],
        "command": "-i v.mp4 -c:v hevc output.mp4",
        "shm_size": "256m",
        "additional_docker_run_options": ["--workdir /app"],
    }
    found = imported(tmp_path, documents([task]))
    (stage,) = found.document["tasks"].values()
    assert stage["command_line"] == "-i v.mp4 -c:v hevc output.mp4"
    assert stage["container_settings"] == {
        "image_name": "alfpark/ffmpeg:3.2.1",
        "container_run_options": "--workdir /app --shm-size 256m",
    }


def test_multi_instance_tasks(tmp_path: Path) -> None:
    task = {
        "docker_image": "alfpark/namd:2.11-tcp",
        "multi_instance": {"num_instances": "pool_current_dedicated"},
        "command": "/sw/run_namd.sh apoa1 100",
    }
    found = imported(tmp_path, documents([task], auto_complete=True))
    (stage,) = found.document["tasks"].values()
    assert stage["instances"] == {"count": 4, "command": "true"}


@pytest.mark.parametrize(
    ("factory", "command", "items", "template"),
    [
        (
            {"parametric_sweep": {"product": [{"start": 0, "stop": 10, "step": 2}]}},
            "sleep {}",
            {"range": [0, 10, 2]},
            "sleep {{ value }}",
        ),
        (
            {
                "parametric_sweep": {
                    "product": [
                        {"start": 0, "stop": 3, "step": 1},
                        {"start": 5, "stop": 9, "step": 1},
                    ]
                }
            },
            "run {1} {0:03d}",
            {"matrix": {"value0": {"range": [0, 3]}, "value1": {"range": [5, 9]}}},
            "run {{ value1 }} {{ value0 | zfill(3) }}",
        ),
        (
            {"parametric_sweep": {"product_iterables": ["ab", "01"]}},
            "run {0} {1}",
            {"matrix": {"value0": ["a", "b"], "value1": ["0", "1"]}},
            "run {{ value0 }} {{ value1 }}",
        ),
        (
            {"parametric_sweep": {"zip": ["ab", "01"]}},
            "run {} {}",
            {"list": [{"value0": "a", "value1": "0"}, {"value0": "b", "value1": "1"}]},
            "run {{ value0 }} {{ value1 }}",
        ),
        (
            {"parametric_sweep": {"combinations": {"iterable": ["x", "y", "z"], "length": 2}}},
            "run {0} {1}",
            {
                "list": [
                    {"value0": "x", "value1": "y"},
                    {"value0": "x", "value1": "z"},
                    {"value0": "y", "value1": "z"},
                ]
            },
            "run {{ value0 }} {{ value1 }}",
        ),
        ({"repeat": 3}, "run {0}", {"range": [0, 3]}, None),
    ],
)
def test_task_factories(
    factory: dict[str, Any],
    command: str,
    items: dict[str, Any],
    template: str | None,
    tmp_path: Path,
) -> None:
    found = imported(tmp_path, documents([{"task_factory": factory, "command": command}]))
    (stage,) = found.document["tasks"].values()
    assert stage["for_each"] == items
    # A repeated command is not a format.
    assert stage.get("command", stage.get("command_line")) == (template or command)


@pytest.mark.parametrize("kind", ["combinations", "permutations"])
def test_values_that_are_too_many_to_combine_are_refused(kind: str, tmp_path: Path) -> None:
    given = {"iterable": ["x", "y"], "length": 10**10, "replacement": True}
    task = {"task_factory": {"parametric_sweep": {kind: given}}, "command": "run {0}"}
    with pytest.raises(SpecError, match="more than 100 values are combined"):
        imported(tmp_path, documents([task]))


@pytest.mark.parametrize(
    "drawn",
    [
        {"integer": {"start": 0, "stop": 1000, "step": 1}},
        {"distribution": {"gauss": {"mu": 1, "sigma": 0.1}}},
        {"distribution": {"triangular": {"high": 1, "low": 0, "mode": None}}},
    ],
)
def test_random_values_are_drawn_once(drawn: dict[str, Any], tmp_path: Path) -> None:
    task = {"task_factory": {"random": {"generate": 5, **drawn}}, "command": "sleep {}"}
    found = imported(tmp_path, documents([task]))
    (stage,) = found.document["tasks"].values()
    assert len(set(stage["for_each"]["list"])) == 5
    assert found.text == imported(tmp_path, documents([task])).text
    assert "generated during the import" in found.text


def test_limits_dependencies_and_schedules(tmp_path: Path) -> None:
    tasks = [
        {"id": "a", "command": "true", "max_task_retries": 2, "max_wall_time": "1.12:00:00"},
        {
            "id": "b",
            "command": "true",
            "depends_on": ["a"],
            "exit_conditions": {"default": {"exit_options": {"job_action": "terminate"}}},
        },
    ]
    found = imported(
        tmp_path,
        documents(
            tasks,
            max_wall_time="02:30:00",
            retention_time="1.00:00:00",
            environment_variables={"LEVEL": 3},
            auto_pool={"pool_lifetime": "job"},
        ),
    )
    assert found.document["job"]["max_wall_clock_time"] == "2h30m"
    assert found.document["job"]["env"] == {"LEVEL": "3"}
    assert found.document["pool"]["lifetime"] == "job"
    first, second = found.document["tasks"].values()
    assert first["max_wall_clock_time"] == "1d12h"
    assert first["retention"] == "1d"
    assert second["needs"] == ["a"]
    assert second["exit_codes"] == {"default": "terminate"}
    assert found.document["job"]["task_failure_mode"] == "performexitoptionsjobaction"


def test_uploads_volumes_and_registries(tmp_path: Path) -> None:
    config = {
        "global_resources": {
            "files": [
                {
                    "source": {"path": "data", "include": ["*.txt"], "exclude": ["*.tmp"]},
                    "destination": {"data_transfer": {"remote_path": "inputs/raw"}},
                }
            ],
            "volumes": {
                "shared_data_volumes": {
                    "store": {
                        "volume_driver": "azureblob",
                        "azure_blob_container_name": "models",
                        "container_path": "/models",
                    },
                    "gfs": {"volume_driver": "glusterfs_on_compute", "container_path": "/gfs"},
                }
            },
        }
    }
    secret = "c2VjcmV0LWtleQ=="
    credentials = {
        "credentials": {
            "batch": {"account_key": secret},
            "docker_registry": {"example.azurecr.io": {"username": "me", "password": secret}},
        }
    }
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.txt").write_text("a", encoding="utf-8")
    found = imported(
        tmp_path,
        {
            "config.yaml": config,
            "credentials.yaml": credentials,
            "pool.yaml": POOL,
            "jobs.yaml": jobs([{"command": "true"}]),
        },
        storage_account="acc",
        storage_key="k",
        example_password="p",
    )
    assert secret not in found.text
    assert found.document["containers"]["inputs"]["upload"] == [
        {"files": "data/*.txt", "exclude": ["*.tmp"], "path": "raw/"}
    ]
    (mount,) = found.document["pool"]["mount_configuration"]
    assert mount["azure_blob_file_system_configuration"]["container_name"] == "models"
    assert "the volume `gfs` (driver glusterfs_on_compute)" in found.text
    assert found.document["parameters"]["example_password"] == {"type": "string", "secret": True}


@pytest.mark.parametrize(
    ("scale", "nodes"),
    [
        (
            {
                "scenario": {
                    "name": "active_tasks",
                    "maximum_vm_count": {"dedicated": 16, "low_priority": 8},
                }
            },
            {"scale": {"min": 4, "max": 16, "spot_max": 8, "scenario": "active_tasks"}},
        ),
        (
            {
                "scenario": {
                    "name": "workday_with_offpeak_max_low_priority",
                    "maximum_vm_count": {"dedicated": 9, "low_priority": 8},
                    "time_ranges": {"work_hours": {"start": 7, "end": 16}},
                }
            },
            {
                "scale": {
                    "min": 4,
                    "max": 9,
                    "spot_max": 8,
                    "scenario": "workday_with_offpeak",
                    "hours": [7, 17],
                }
            },
        ),
        (
            {"formula": "$TargetDedicatedNodes = 1;", "evaluation_interval": "00:05:00"},
            {"autoscale": {"formula": "$TargetDedicatedNodes = 1;", "interval": "5m"}},
        ),
    ],
)
def test_autoscaling(scale: dict[str, Any], nodes: dict[str, Any], tmp_path: Path) -> None:
    pool = {
        "pool_specification": {
            "vm_count": {"dedicated": 4, "low_priority": 0},
            "vm_size": "standard_d2s_v5",
            "autoscale": scale,
            "vm_configuration": {
                "platform_image": {"publisher": "canonical", "offer": "ubuntu-24_04-lts",
                                   "sku": "server"}
            },
        }
    }  # fmt: skip
    found = imported(tmp_path, {"pool.yaml": pool, "jobs.yaml": jobs([{"command": "true"}])})
    assert found.document["pool"]["nodes"] == nodes


def test_one_of_several_jobs(tmp_path: Path) -> None:
    both = {"job_specifications": [{"id": "a", "tasks": [{"command": "true"}]}, {"id": "b"}]}
    path = tmp_path / "jobs.yaml"
    with pytest.raises(SpecError, match="2 jobs"):
        imported(tmp_path, {"jobs.yaml": both})
    with pytest.raises(SpecError, match="no job 'c'"):
        import_documents([path], job="c")
    assert import_documents([path], job="a").name == "a"


def test_secrets_of_variables_and_signatures_are_not_imported(tmp_path: Path) -> None:
    secret, signed = "hunter2-and-more", "https://acc.blob.core.windows.net/c/a.sh?sv=1&sig=abc"
    task = {
        "command": f"curl -H {secret} {signed}",
        "environment_variables": {"API_TOKEN": secret, "INPUT": signed, "THREADS": 4},
        "resource_files": [{"blob_source": signed, "file_path": "a.sh"}],
    }
    found = imported(
        tmp_path, {"pool.yaml": POOL, "jobs.yaml": jobs([task])}, api_token=secret, plans=False
    )
    assert secret not in found.text and "sv=1" not in found.text
    (stage,) = found.document["tasks"].values()
    assert stage["env"] == {
        "API_TOKEN": "{{ api_token }}",
        "INPUT": signed.partition("?")[0],
        "THREADS": "4",
    }


def test_braces_of_texts_stay_as_they_are(tmp_path: Path) -> None:
    braces = "docker ps --format '{{.Names}}'"
    pool = {
        **yaml.safe_load(POOL)["pool_specification"],
        "additional_node_prep": {"commands": {"pre": [braces]}},
    }
    task = {"command": "true", "environment_variables": {"FORMAT": "{{.Names}}"}}
    found = imported(
        tmp_path, {"pool.yaml": {"pool_specification": pool}, "jobs.yaml": jobs([task])}
    )
    (stage,) = found.spec.stages
    assert "{{.Names}}" in str(found.spec.pool.properties["startTask"])
    assert "{{.Names}}" in str(stage.body["environmentSettings"])
