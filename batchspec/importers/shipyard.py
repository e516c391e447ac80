"""The configuration of batch-shipyard: ``config``, ``pool``, ``jobs`` and ``credentials``.

A task becomes a stage, a task factory its ``for_each``, a merge task a stage that needs the others.
Keys are not imported: for each key in the credentials, the spec has a secret parameter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from batchspec.diagnostics import Diagnostic, SpecError
from batchspec.importers.draft import (
    JOB,
    POOL,
    Body,
    Draft,
    Json,
    container_image,
    image_members,
    vm_size_note,
)
from batchspec.importers.shipyard_tasks import (
    TaskImporter,
    duration,
    files_of,
    left_out,
    lists,
    literal,
    mapping,
    resources_of,
)
from batchspec.spec import Scenario

_TOPS = frozenset(
    {"batch_shipyard", "global_resources", "pool_specification", "job_specifications"}
    | {"credentials", "data_replication", "remote_fs", "monitoring", "federation", "slurm"}
)
_POOL_KEYS = frozenset(
    (
        *("id", "vm_configuration", "vm_size", "vm_count", "max_tasks_per_node"),
        *("resize_timeout", "node_fill_type", "autoscale", "inter_node_communication_enabled"),
        *("additional_node_prep", "additional_node_prep_commands", "input_data"),
        *("resource_files", "virtual_network", "publisher", "offer", "sku"),
        *("block_until_all_global_resources_loaded", "transfer_files_on_pool_creation"),
        *("reboot_on_start_task_failed", "attempt_recovery_on_unusable"),
        *("upload_diagnostics_logs_on_unusable", "container_runtimes"),
        *("per_job_auto_scratch",),
    )
)
_JOB_KEYS = frozenset(
    (
        *("id", "auto_complete", "environment_variables", "max_task_retries", "max_wall_time"),
        *("retention_time", "priority", "user_identity", "auto_pool", "recurrence"),
        *("exit_conditions", "input_data", "tasks", "merge_task", "allow_run_on_missing_image"),
        *("remove_container_after_exit", "shm_size", "infiniband", "gpu", "data_volumes"),
        *("default_working_dir", "restrict_default_bind_mounts"),
        *("force_enable_task_dependencies",),
    )
)
_NO_COUNTERPART = {
    "ssh": "create users of nodes with the portal or `az batch node user create`",
    "rdp": "create users of nodes with the portal or `az batch node user create`",
    "remote_access_control": "see `pool.network_configuration`",
    "gpu": "use an image with the driver, or install it in `pool.start_task`",
    "certificates": "certificates were retired on 2024-02-29; use a managed identity",
    "prometheus": "see `batchspec status`",
    "federation_constraints": "a run has one pool",
    "shared_data_volumes": "see `pool.mount_configuration`",
    "environment_variables_keyvault_secret_id": "declare a secret parameter",
}


def is_shipyard(document: Json) -> bool:
    """Whether a document is a configuration file of batch-shipyard."""
    return bool(_TOPS & document.keys())


class ShipyardImporter:
    """Fills a draft from the configuration files, in any order."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft

    def documents(self, found: Sequence[Json], job: str) -> None:
        """All files of one configuration. ``job`` selects one of several jobs.

        Raises:
            SpecError: there are several jobs and no selection, or no job has the id.
        """
        merged = {key: value for document in found for key, value in document.items()}
        pool = mapping(merged.get("pool_specification"))
        if pool:
            self._pool(pool)
        resources = mapping(merged.get("global_resources"))
        self._global(resources)
        self._registries(mapping(mapping(merged.get("credentials")).get("docker_registry")))
        if note := container_image(self.draft.pool):
            self.draft.note(POOL, note)
        jobs = lists(merged.get("job_specifications"))
        if jobs:
            self._job(_selected(jobs, job), pool, mapping(resources.get("volumes")))
        for name in ("remote_fs", "monitoring", "federation", "slurm"):
            if name in merged:
                self.draft.note("", f"Not imported: `{name}` (a spec has no counterpart).")

    # --- pool ------------------------------------------------------------------------------------

    def _pool(self, pool: Json) -> None:
        found: Body = {"id": str(pool["id"])} if pool.get("id") else {}
        size = str(pool.get("vm_size") or "").lower()
        if size:
            found["vm_size"] = size
        if note := vm_size_note(size):
            self.draft.note(POOL, note)
        found["nodes"] = self._nodes(pool)
        found |= self._image(pool)
        if slots := pool.get("max_tasks_per_node"):
            found["task_slots_per_node"] = slots
        if timeout := pool.get("resize_timeout"):
            found["resize_timeout"] = duration(timeout)
        if fill := pool.get("node_fill_type"):
            found["task_scheduling_policy"] = {"node_fill_type": fill}
        if pool.get("inter_node_communication_enabled"):
            found["enable_inter_node_communication"] = True
        network = mapping(pool.get("virtual_network"))
        if subnet := network.get("arm_subnet_id"):
            found["network_configuration"] = {"subnet_id": str(subnet)}
        elif network:
            self.draft.note(POOL, "Not imported: `virtual_network` (name the subnet by its id).")
        if start := self._start_task(pool):
            found["start_task"] = start
        left_out(self.draft, POOL, pool, _POOL_KEYS, _NO_COUNTERPART)
        self.draft.pool |= found

    def _nodes(self, pool: Json) -> Any:
        count = pool.get("vm_count", 1)
        fixed = mapping(count) or {"dedicated": count}
        dedicated, spot = fixed.get("dedicated") or 0, fixed.get("low_priority") or 0
        scale = mapping(pool.get("autoscale"))
        if formula := scale.get("formula"):
            found: Body = {"formula": str(formula)}
            if interval := scale.get("evaluation_interval"):
                found["interval"] = duration(interval)
            return {"autoscale": found}
        if scenario := mapping(scale.get("scenario")):
            return self._scenario(scenario, dedicated)
        if spot and dedicated:
            return {"dedicated": dedicated, "spot": spot}
        return {"spot": spot} if spot else dedicated

    def _scenario(self, scenario: Json, least: int) -> Body:
        most = mapping(scenario.get("maximum_vm_count"))
        found: Body = {"min": least} if least else {}
        found["max"] = max(most.get("dedicated") or 0, 0)
        if spot := max(most.get("low_priority") or 0, 0):
            found["spot_max"] = spot
        name = str(scenario.get("name")).removesuffix("_max_low_priority")
        found["scenario"] = name
        times = mapping(scenario.get("time_ranges"))
        if Scenario(name).has_hours and (hours := mapping(times.get("work_hours"))):
            # The last hour is included in the original.
            found["hours"] = [hours["start"], hours["end"] + 1]
        if not Scenario(name).by_tasks and (days := mapping(times.get("weekdays"))):
            found["days"] = [days["start"], days["end"]]
        if scenario.get("bias_node_type") == "low_priority" and Scenario(name).by_tasks:
            found["prefer"] = "spot"
        return {"scale": found}

    def _image(self, pool: Json) -> Body:
        machine = mapping(pool.get("vm_configuration"))
        custom = mapping(machine.get("custom_image"))
        if custom:
            reference = {"virtualMachineImageId": custom.get("arm_image_id")}
            return image_members(reference, str(custom.get("node_agent")))[0]
        found, note = image_members(mapping(machine.get("platform_image")) or pool)
        if note:
            self.draft.note(POOL, note)
        return found

    def _start_task(self, pool: Json) -> Body:
        given = pool.get("additional_node_prep") or pool.get("additional_node_prep_commands")
        steps = mapping(given)
        prep = mapping(steps.get("commands")) or steps
        lines = [*(prep.get("pre") or ()), *(prep.get("post") or ())] if prep else given or ()
        found: Body = {}
        if lines:
            found = {"command": literal(" && ".join(map(str, lines))), "elevated": True}
        files = [*resources_of(self.draft, pool, POOL), *files_of(pool)]
        if files:
            found = {"command": "true", **found, "resources": files}
        return found

    # --- global resources ------------------------------------------------------------------------

    def _global(self, resources: Json) -> None:
        if images := resources.get("docker_images"):
            self.draft.pool["container_images"] = [str(each) for each in images]
        if resources.get("singularity_images"):
            self.draft.note(POOL, "Not imported: `singularity_images` (Batch runs Docker images).")
        for each in lists(resources.get("files")):
            self._upload(each)
        volumes = mapping(mapping(resources.get("volumes")).get("shared_data_volumes"))
        mounts = [self._mount(name, mapping(volume)) for name, volume in volumes.items()]
        if found := [mount for mount in mounts if mount]:
            self.draft.pool["mount_configuration"] = found

    def _upload(self, entry: Json) -> None:
        source, target = mapping(entry.get("source")), mapping(entry.get("destination"))
        remote = mapping(target.get("data_transfer")).get("remote_path")
        container, _, prefix = str(remote or "files").partition("/")
        key = self.draft.container(container)
        folder = str(source.get("path") or ".").rstrip("/")
        include = source.get("include") or ["**"]
        upload: Body = {"files": f"{folder}/{include[0]}"}
        if source.get("exclude"):
            upload["exclude"] = list(source["exclude"])
        if prefix:
            upload["path"] = f"{prefix}/"
        uploads = self.draft.containers[key].setdefault("upload", [])
        uploads += [{**upload, "files": f"{folder}/{each}"} for each in include]
        if remote is None:
            start = self.draft.pool.setdefault("start_task", {"command": "true"})
            start.setdefault("resources", []).append(key)
            self.draft.note(POOL, "Files that batch-shipyard copies to nodes become resources.")

    def _mount(self, name: str, volume: Json) -> Body | None:
        driver = volume.get("volume_driver")
        if driver == "azureblob":
            account = self.draft.parameter("storage_account", type="string")
            key = self.draft.parameter("storage_key", type="string", secret=True)
            return {
                "azure_blob_file_system_configuration": {
                    "account_name": f"{{{{ {account} }}}}",
                    "container_name": str(volume.get("azure_blob_container_name")),
                    "account_key": f"{{{{ {key} }}}}",
                    "relative_mount_path": name,
                }
            }
        if driver == "azurefile":
            account = self.draft.parameter("storage_account", type="string")
            key = self.draft.parameter("storage_key", type="string", secret=True)
            share = str(volume.get("azure_file_share_name"))
            return {
                "azure_file_share_configuration": {
                    "account_name": f"{{{{ {account} }}}}",
                    "azure_file_url": f"https://{{{{ {account} }}}}.file.core.windows.net/{share}",
                    "account_key": f"{{{{ {key} }}}}",
                    "relative_mount_path": name,
                }
            }
        self.draft.note(POOL, f"Not imported: the volume `{name}` (driver {driver}).")
        return None

    def _registries(self, registries: Json) -> None:
        found: list[Body] = []
        for server, given in registries.items():
            each = mapping(given)
            if not each.get("username"):
                continue
            name = "" if server == "hub" else f"{server.partition('.')[0]}_"
            password = self.draft.parameter(f"{name}password", type="string", secret=True)
            body: Body = {} if server == "hub" else {"registry_server": str(server)}
            body |= {"username": str(each["username"]), "password": f"{{{{ {password} }}}}"}
            found.append(body)
        if found:
            machine = self.draft.pool.setdefault("virtual_machine_configuration", {})
            machine["container_configuration"] = {"container_registries": found}

    # --- job -------------------------------------------------------------------------------------

    def _job(self, job: Json, pool: Json, volumes: Json) -> None:
        self.draft.name = str(job.get("id") or self.draft.name)
        found: Body = {}
        if limit := job.get("max_wall_time"):
            found["max_wall_clock_time"] = duration(limit)
        if (retries := job.get("max_task_retries")) is not None:
            found["max_retries"] = retries
        if priority := job.get("priority"):
            found["priority"] = priority
        if variables := mapping(job.get("environment_variables")):
            found["env"] = {name: literal(value) for name, value in variables.items()}
        if files := resources_of(self.draft, job, JOB):
            found["prepare"] = {"command": "true", "resources": files}
        if recurrence := mapping(job.get("recurrence")):
            found["schedule"] = self._schedule(recurrence)
        self.draft.job |= found
        if auto := job.get("auto_pool"):
            lifetime = mapping(auto).get("pool_lifetime") or "job"
            lifetime = "job_schedule" if lifetime == "job_schedule" else "job"
            rest = {key: value for key, value in self.draft.pool.items() if key != "id"}
            self.draft.pool = {"lifetime": lifetime, **rest}
        left_out(self.draft, JOB, job, _JOB_KEYS, _NO_COUNTERPART)
        TaskImporter(self.draft, job, pool, volumes).tasks()

    def _schedule(self, recurrence: Json) -> Body:
        given = mapping(recurrence.get("schedule"))
        names = {"do_not_run_until": "start", "do_not_run_after": "until"}
        found: Body = {}
        if every := given.get("recurrence_interval"):
            found["every"] = duration(every)
        if window := given.get("start_window"):
            found["window"] = duration(window)
        found |= {key: str(given[name]) for name, key in names.items() if given.get(name)}
        self.draft.note(
            JOB, "Each job of a schedule starts with one task; several need a `job_manager_task`."
        )
        return found


def _selected(jobs: Sequence[Json], wanted: str) -> Json:
    ids = [str(job.get("id")) for job in jobs]
    if not wanted and len(jobs) == 1:
        return jobs[0]
    found = next((job for job, name in zip(jobs, ids, strict=True) if name == wanted), None)
    if found is not None:
        return found
    summary = f"there is no job {wanted!r}" if wanted else f"there are {len(jobs)} jobs"
    raise SpecError(
        Diagnostic(
            "which-job",
            f"{summary}, and a spec has one",
            f"Jobs: {', '.join(ids)}.",
            fix=f"Write `--job {ids[0]}`.",
        )
    )
