"""Templates of the Azure Batch CLI extensions. The recipes follow its samples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from batchspec.diagnostics import SpecError
from batchspec.importers import import_documents
from tests.importers.drafts import imported

UBUNTU = {
    "imageReference": {
        "publisher": "Canonical",
        "offer": "UbuntuServer",
        "sku": "18.04-LTS",
        "version": "latest",
    },
    "nodeAgentSKUId": "batch.node.ubuntu 18.04",
}


def text(default: str | None = None, **more: Any) -> dict[str, Any]:
    given = {} if default is None else {"defaultValue": default}
    return {"type": "string", **given, **more}


def job(properties: dict[str, Any], **parameters: Any) -> dict[str, Any]:
    return {
        "parameters": parameters,
        "job": {"type": "Microsoft.Batch/batchAccounts/jobs", "properties": properties},
    }


def stored(pattern: str, group: str, **more: str) -> dict[str, Any]:
    return {
        "filePattern": pattern,
        "destination": {"autoStorage": {"fileGroup": group, **more}},
        "uploadOptions": {"uploadCondition": "TaskSuccess"},
    }


RENDER = job(
    {
        "id": "[parameters('jobName')]_[parameters('frameStart')]-[parameters('frameEnd')]",
        "displayName": "[parameters('blendFile')]",
        "onAllTasksComplete": "terminateJob",
        "poolInfo": {
            "autoPoolSpecification": {
                "autoPoolIdPrefix": "blender_pool",
                "poolLifetimeOption": "job",
                "keepAlive": False,
                "pool": {
                    "vmSize": "[parameters('vmSize')]",
                    "virtualMachineConfiguration": UBUNTU,
                    "packageReferences": [{"type": "aptPackage", "id": "blender"}],
                    "targetDedicatedNodes": "[parameters('numberNodes')]",
                    "enableAutoScale": False,
                },
            }
        },
        "taskFactory": {
            "type": "parametricSweep",
            "parameterSets": [
                {
                    "start": "[parameters('frameStart')]",
                    "end": "[parameters('frameEnd')]",
                    "step": 1,
                }
            ],
            "repeatTask": {
                "displayName": "Frame {0}",
                "commandLine": "blender -b \"[parameters('blendFile')]\" -o"
                " \"[parameters('jobName')]_####\" -f {0} -t 0",
                "resourceFiles": [{"source": {"fileGroup": "[parameters('sceneData')]"}}],
                "outputFiles": [
                    stored("[parameters('jobName')]_*", "[parameters('outputFileGroup')]")
                ],
            },
        },
    },
    blendFile=text(),
    sceneData=text("blender-data"),
    numberNodes={"type": "int", "defaultValue": 5},
    vmSize=text("standard_d2s_v5", allowedValues=["standard_d2s_v5", "standard_d4s_v5"]),
    jobName=text(),
    frameStart={"type": "int"},
    frameEnd={"type": "int"},
    outputFileGroup=text(),
)


def test_a_render_farm(tmp_path: Path) -> None:
    found = imported(
        tmp_path,
        {"render.json": RENDER},
        blendFile="my scene.blend",
        jobName="film",
        frameStart="1",
        frameEnd="10",
        outputFileGroup="frames",
    )
    document = found.document
    assert document["pool"]["lifetime"] == "job"
    assert document["pool"]["start_task"]["elevated"] is True
    assert document["containers"] == {
        "sceneData": {"id": "fgrp-{{ sceneData }}", "existing": True},
        "outputFileGroup": {"id": "fgrp-{{ outputFileGroup }}"},
    }
    assert document["parameters"]["vmSize"]["enum"] == ["standard_d2s_v5", "standard_d4s_v5"]
    (stage,) = found.spec.stages
    assert stage.resources == ("sceneData",)
    assert document["tasks"]["sweep"]["for_each"]["range"] == [
        "{{ frameStart }}",
        "{{ frameEnd + 1 }}",
    ]
    assert "18.04-LTS, which Batch no longer lists" in found.text


SWEEP = job(
    {
        "id": "[parameters('jobId')]",
        "constraints": {"maxWallClockTime": "PT5H", "maxTaskRetryCount": 1},
        "poolInfo": {"poolId": "[parameters('poolId')]"},
        "taskFactory": {
            "type": "parametricSweep",
            "parameterSets": [
                {"start": 1, "end": 500, "step": 1},
                {"start": 500, "end": 1000, "step": 500},
            ],
            "repeatTask": {
                "commandLine": "ffmpeg -y -i sample{0:3}.[parameters('inputType')] -s {1} out.mp3",
                "resourceFiles": [
                    {
                        "source": {
                            "fileGroup": "[parameters('inputFileGroup')]",
                            "prefix": "sample{0}.[parameters('inputType')]",
                        }
                    }
                ],
                "outputFiles": [
                    {
                        "filePattern": "out.mp3",
                        "destination": {
                            "container": {
                                "path": "audio{0}_{1}.mp3",
                                "containerUrl": "[parameters('outputFileStorageUrl')]",
                            }
                        },
                        "uploadOptions": {"uploadCondition": "TaskSuccess"},
                    }
                ],
                "packageReferences": [{"type": "aptPackage", "id": "ffmpeg"}],
            },
        },
    },
    inputFileGroup=text("audio"),
    outputFileStorageUrl=text(),
    inputType=text("wav"),
    poolId=text("shared"),
    jobId=text("convert"),
)


def test_two_parameter_sets(tmp_path: Path) -> None:
    found = imported(tmp_path, {"job.sweep.json": SWEEP})
    stage = found.document["tasks"]["sweep"]
    assert stage["for_each"]["matrix"] == {
        "value0": {"range": [1, 501]},
        "value1": {"range": [500, 1001, 500]},
    }
    assert stage["command"] == (
        "ffmpeg -y -i sample{{ value0 | zfill(3) }}.{{ inputType }} -s {{ value1 }} out.mp3"
    )
    # The signed URL of the destination is no longer a parameter.
    assert "outputFileStorageUrl" not in found.document["parameters"]
    assert found.document["job"]["max_wall_clock_time"] == "PT5H"
    assert "apt-get install -y ffmpeg" in found.document["job"]["prepare"]["command"]


PER_FILE = {
    "templateMetadata": {"description": "Prints each file."},
    "parameters": {"testData": text(), "outputUrl": text()},
    "onAllTasksComplete": "terminateJob",
    "taskFactory": {
        "type": "taskPerFile",
        "source": {"fileGroup": "[parameters('testData')]"},
        "repeatTask": {
            "commandLine": "/bin/bash -c 'cat {fileName}'",
            "resourceFiles": [{"httpUrl": "{url}", "filePath": "{fileName}"}],
            "outputFiles": [stored("../stdout.txt", "printed", path="{fileNameWithoutExtension}")],
        },
    },
}


def test_a_job_with_an_application_template(tmp_path: Path) -> None:
    job_file = {
        "id": "taskperfile",
        "applicationTemplateInfo": {
            "filePath": "template.json",
            "parameters": {"testData": "numbers", "outputUrl": "https://example.org/x?sig=1"},
        },
        "poolInfo": {
            "autoPoolSpecification": {
                "poolLifetimeOption": "job",
                "pool": {
                    "vmSize": "standard_d2s_v5",
                    "virtualMachineConfiguration": UBUNTU,
                    "targetDedicatedNodes": 3,
                },
            }
        },
    }
    found = imported(tmp_path, {"job.json": job_file, "template.json": PER_FILE})
    stage = found.document["tasks"]["file"]
    assert stage["for_each"] == {"blobs": "testData"}
    assert stage["command"] == "cat {{ file.name }}"
    assert "resources" not in stage  # The default is the file of the task.
    assert stage["outputs"][0]["path"] == "{{ file.stem }}"
    assert found.document["parameters"] == {"testData": {"type": "string", "default": "numbers"}}
    assert "unused" in found.text


def test_escaped_braces_and_prefixes(tmp_path: Path) -> None:
    recipe = job(
        {
            "id": "ocr",
            "poolInfo": {"poolId": "shared"},
            "taskFactory": {
                "type": "taskPerFile",
                "source": {"fileGroup": "scans", "prefix": "2020/"},
                "repeatTask": {
                    "commandLine": "/bin/bash -c 'gs -o {fileNameWithoutExtension}-%03d.png "
                    '{fileName} && for f in *.png; do tesseract "$f" "${{f%.*}}"; done\'',
                    "outputFiles": [stored("*.txt", "words", path="text")],
                },
                "mergeTask": {"id": "all", "commandLine": "/bin/sh -c 'ls | sort'"},
            },
        }
    )
    found = imported(tmp_path, {"job.json": recipe})
    stages = found.document["tasks"]
    assert '"${f%.*}"' in stages["file"]["command"]
    assert stages["file"]["for_each"] == {"blobs": "scans", "prefix": "2020/"}
    assert stages["merge"] == {"needs": ["file"], "command": "ls | sort"}


def test_a_pool_template_and_a_job_template(tmp_path: Path) -> None:
    pool = {
        "parameters": {
            "vmSize": text("standard_d2s_v5"),
            "vmCount": {"type": "int", "defaultValue": 3, "minValue": 1},
            "poolId": text("ocrpool"),
        },
        "pool": {
            "type": "Microsoft.Batch/batchAccounts/pools",
            "properties": {
                "id": "[parameters('poolId')]",
                "virtualMachineConfiguration": UBUNTU,
                "vmSize": "[parameters('vmSize')]",
                "targetDedicatedNodes": "[parameters('vmCount')]",
                "maxTasksPerNode": 2,
            },
        },
    }
    tasks = {
        "type": "taskCollection",
        "tasks": [{"id": "hello", "commandLine": "[concat('echo ', parameters('who'))]"}],
    }
    jobs = job(
        {"id": "j", "poolInfo": {"poolId": "[parameters('poolId')]"}, "taskFactory": tasks},
        poolId=text("ocrpool"),
        who=text(),
    )
    values = {"who": {"value": "world"}}
    found = imported(tmp_path, {"job.json": jobs, "pool.json": pool, "values.json": values})
    assert found.document["pool"]["nodes"] == "{{ vmCount }}"
    assert found.document["pool"]["task_slots_per_node"] == 2
    assert found.document["parameters"]["vmCount"]["minimum"] == 1
    assert found.document["tasks"]["hello"] == {"id": "hello", "command": "echo {{ who }}"}
    assert found.document["parameters"]["who"]["default"] == "world"


def test_a_cloud_service(tmp_path: Path) -> None:
    pool = {
        "parameters": {},
        "pool": {
            "properties": {
                "id": "mpi",
                "cloudServiceConfiguration": {"osFamily": "4"},
                "vmSize": "standard_d2s_v5",
                "targetDedicated": 3,
                "enableInterNodeCommunication": True,
                "startTask": {"commandLine": "cmd /c setup.exe", "runElevated": True},
            }
        },
    }
    task = {
        "id": "mpi",
        "commandLine": "cmd /c mpiexec.exe -wdir %AZ_BATCH_TASK_SHARED_DIR% hello.exe",
        "multiInstanceSettings": {
            "numberOfInstances": 3,
            "coordinationCommandLine": "cmd /c start cmd /c smpd.exe -d",
            "commonResourceFiles": [{"source": {"fileGroup": "mpi"}}],
        },
    }
    factory = {"type": "taskCollection", "tasks": [task]}
    jobs = job({"id": "j", "poolInfo": {"poolId": "mpi"}, "taskFactory": factory})
    found = imported(tmp_path, {"pool.json": pool, "job.json": jobs})
    assert found.document["pool"]["image"] == "windowsserver-2022"
    assert found.document["pool"]["nodes"] == 3
    assert found.document["tasks"]["mpi"]["instances"]["count"] == 3
    assert "cloud services (OS family 4)" in found.text


def test_an_unknown_factory_is_noted(tmp_path: Path) -> None:
    factory = {"type": "perHour", "repeatTask": {"commandLine": "true"}}
    path = tmp_path / "j.json"
    body = job({"poolInfo": {"poolId": "shared"}, "taskFactory": factory})
    path.write_text(json.dumps(body), encoding="utf-8")
    assert "Not imported: the task factory `perHour`." in import_documents([path]).text("test")


def test_secrets_of_templates_are_not_imported(tmp_path: Path) -> None:
    secret, hidden = "hunter2-and-more", "correct-horse"
    command = "/bin/sh -c 'run [parameters('password')] [parameters('account')]'"
    recipe = job(
        {
            "id": "j",
            "poolInfo": {"poolId": "shared"},
            "taskFactory": {
                "type": "taskCollection",
                "tasks": [
                    {
                        "id": "t",
                        "commandLine": command,
                        "environmentSettings": [{"name": "API_TOKEN", "value": secret}],
                    }
                ],
            },
        },
        password={"type": "string", "defaultValue": hidden},
        account={"type": "secureString", "defaultValue": hidden},
    )
    values = {"password": {"value": hidden}, "account": {"value": hidden}}
    found = imported(
        tmp_path,
        {"job.json": recipe, "values.json": values},
        api_token=secret,
        password="p",
        account="a",
        plans=False,
    )
    assert secret not in found.text and hidden not in found.text
    for name in ("api_token", "password", "account"):
        assert found.document["parameters"][name]["secret"] is True


def test_an_application_template_that_is_a_list(tmp_path: Path) -> None:
    job_file = {"id": "j", "applicationTemplateInfo": {"filePath": "template.json"}}
    with pytest.raises(SpecError) as caught:
        imported(tmp_path, {"job.json": job_file, "template.json": []})
    assert caught.value.problems[0].code == "unknown-document"


@pytest.mark.parametrize(
    "variables",
    [
        {"a": "[variables('a')]"},
        {f"v{n}": f"[variables('v{n + 1}')][variables('v{n + 1}')]" for n in range(60)}
        | {"a": "[variables('v0')]"},
    ],
)
def test_variables_that_would_never_end(variables: dict[str, str], tmp_path: Path) -> None:
    recipe = {"variables": variables, "pool": {"id": "[variables('a')]"}}
    with pytest.raises(SpecError) as caught:
        imported(tmp_path, {"pool.json": recipe})
    assert caught.value.problems[0].code == "unknown-document"


def test_an_application_template_is_in_the_folder_of_the_job(tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text(json.dumps(PER_FILE), encoding="utf-8")
    (tmp_path / "jobs").mkdir()
    path = tmp_path / "jobs" / "job.json"
    info = {"filePath": "../secret.json"}
    path.write_text(json.dumps({"applicationTemplateInfo": info}), encoding="utf-8")
    with pytest.raises(SpecError, match="outside its folder"):
        import_documents([path])
