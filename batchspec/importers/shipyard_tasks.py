"""The tasks of a job of batch-shipyard, with their factories and their files."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from batchspec.importers.draft import (
    OWN_FILE,
    Body,
    Draft,
    Expressions,
    Json,
    bash_script,
    shell_script,
    stage_section,
)
from batchspec.importers.rest import read_url

_FIELD = re.compile(r"\{\{|\}\}|\{(\w*)(?::0?(\d)d?)?\}")
_FILE_FIELDS = {
    "url": "file.url",
    "file_path": "file.path",
    "file_path_with_container": "file.path",
    "file_name": "file.name",
    "file_name_no_extension": "file.stem",
}
_WORKING = "$AZ_BATCH_TASK_WORKING_DIR"
_TASK = "$AZ_BATCH_TASK_DIR"
_MOST_VALUES = 10_000
"""The maximum number of values of a sweep in a spec."""
_MOST_COMBINED = 100
"""The maximum number of values of one task of a sweep."""
_TASK_KEYS = frozenset(
    (
        *("id", "docker_image", "image", "task_factory", "environment_variables", "command"),
        *("entrypoint", "resource_files", "input_data", "output_data", "data_volumes", "ports"),
        *("depends_on", "depends_on_range", "max_task_retries", "max_wall_time"),
        *("retention_time", "exit_conditions", "multi_instance"),
        *("additional_docker_run_options", "shm_size", "name", "labels", "gpu", "infiniband"),
        *("remove_container_after_exit", "default_working_dir"),
    )
)
_NO_COUNTERPART = {
    "singularity_image": "Batch runs Docker images; start `singularity` in the command",
    "shared_data_volumes": "see `pool.mount_configuration`",
    "environment_variables_keyvault_secret_id": "declare a secret parameter",
}
_ACTIONS = {"terminate": "terminate", "disable": "disable"}


class TaskImporter:
    """Adds the stages of a job to a draft. ``volumes`` are those of the global resources."""

    def __init__(self, draft: Draft, job: Json, pool: Json, volumes: Json) -> None:
        self.draft = draft
        self._job = job
        self._pool = pool
        self._volumes = mapping(volumes.get("data_volumes"))
        self._expressions = Expressions()
        self._stages: dict[str, str] = {}

    def tasks(self) -> None:
        """All tasks, and the merge task."""
        for number, task in enumerate(lists(self._job.get("tasks"))):
            self._task(task, str(task.get("id") or f"task-{number:05}"))
        merge = mapping(self._job.get("merge_task"))
        if merge:
            needs = list(self.draft.stages)
            name = self._task(merge, str(merge.get("id") or "merge"))
            self.draft.stages[name] = {"needs": needs, **self.draft.stages[name]}

    def _task(self, task: Json, wanted: str) -> str:
        factory = mapping(task.get("task_factory"))
        name = self.draft.stage("task" if factory else wanted, {})
        section = stage_section(name)
        body, fields = self._factory(factory, name, section)
        if not factory:
            body["id"] = wanted
            self._stages[wanted] = name
        body |= self._command(task, fields)
        variables = mapping(task.get("environment_variables"))
        if variables:
            body["env"] = {key: literal(value) for key, value in variables.items()}
        if mapping(self._job.get("user_identity")).get("default_pool_admin"):
            body["elevated"] = True
        own = body.pop("resources", [])
        files = [*own, *resources_of(self.draft, task, section), *files_of(task)]
        if factory.get("file") and files and not own:
            files = [OWN_FILE, *files]
        if files:
            body["resources"] = files
        if outputs := list(self._outputs(task, section)):
            body["outputs"] = outputs
        body |= self._limits(task)
        body |= self._instances(task, section)
        body |= self._needs(task)
        left_out(self.draft, section, task, _TASK_KEYS, _NO_COUNTERPART)
        self.draft.stages[name] = body
        return name

    # --- command and container -------------------------------------------------------------------

    def _command(self, task: Json, fields: Mapping[str, str]) -> Body:
        image = task.get("docker_image") or task.get("image")
        line = str(task.get("command") or "")
        if fields:
            count = itertools.count()
            line = _FIELD.sub(lambda match: self._field(match, fields, count), line)
        found: Body = {}
        if shell_script(line) is not None or bash_script(line) is not None or not image:
            found = self._expressions.command(line)
        elif line:
            # A shell would pass `/bin/sh` to the entry point of the image.
            found["command_line"] = self._expressions.finish(line)
        if image:
            options = self._run_options(task)
            if not line:
                found["command_line"] = ""
            found |= (
                {"container_settings": {"image_name": str(image), "container_run_options": options}}
                if options
                else {"container_image": str(image)}
            )
        return found

    def _field(self, match: re.Match[str], fields: Mapping[str, str], count: Iterator[int]) -> str:
        if match[0] in {"{{", "}}"}:
            return match[0][0]
        name = match[1] or str(next(count))
        expression = fields.get(name)
        if expression is None:
            return match[0]
        return self._expressions.add(
            f"{expression} | zfill({match[2]})" if match[2] else expression
        )

    def _run_options(self, task: Json) -> str:
        options = [str(each) for each in task.get("additional_docker_run_options") or ()]
        if entry := task.get("entrypoint"):
            options.append(f"--entrypoint {entry}")
        if size := task.get("shm_size") or self._job.get("shm_size"):
            options.append(f"--shm-size {size}")
        options += [f"-p {port}" for port in task.get("ports") or ()]
        options += [f"--label {label}" for label in task.get("labels") or ()]
        for name in (*(self._job.get("data_volumes") or ()), *(task.get("data_volumes") or ())):
            volume = mapping(self._volumes.get(name))
            path = str(volume.get("container_path"))
            host = volume.get("host_path")
            mode = f":{volume['bind_options']}" if volume.get("bind_options") else ""
            options.append(f"-v {host}:{path}{mode}" if host else f"-v {path}")
        return " ".join(options)

    # --- factories -------------------------------------------------------------------------------

    def _factory(self, factory: Json, name: str, section: str) -> tuple[Body, dict[str, str]]:
        """The ``for_each`` of a stage, and the expressions of the fields of its command."""
        if (times := factory.get("repeat")) is not None:
            items = {"range": [0, int(times)]}
            return {"for_each": items, "id": f"{name}-{{{{ index }}}}"}, {}
        if mapping(factory.get("file")):
            return self._each_file(mapping(factory["file"]), section)
        sweep = mapping(factory.get("parametric_sweep"))
        if product := sweep.get("product"):
            return _matrix([{"range": _range(each)} for each in lists(product)])
        if iterables := sweep.get("product_iterables"):
            return _matrix([list(each) for each in iterables])
        return self._listed(sweep, factory, section)

    def _listed(self, sweep: Json, factory: Json, section: str) -> tuple[Body, dict[str, str]]:
        """A factory whose values a spec can only list."""
        rows = _rows(sweep, factory)
        if rows is not None:
            if factory.get("random"):
                self.draft.note(section, "The random values were generated during the import.")
            if len(rows) > _MOST_VALUES:
                self.draft.note(section, f"Only the first {_MOST_VALUES:,} values are listed.")
            return _list(rows[:_MOST_VALUES])
        if factory:
            self.draft.note(
                section,
                "Not imported: the `custom` task factory. Write its values to a file, and use "
                "`for_each: {rows: FILE}`.",
            )
            return {"for_each": {"list": [0]}}, {"0": "value"}
        return {}, {}

    def _each_file(self, file: Json, section: str) -> tuple[Body, dict[str, str]]:
        storage = mapping(file.get("azure_storage"))
        if storage.get("is_file_share"):
            self.draft.note(section, "The files were on a file share; upload them to a container.")
        remote = str(storage.get("remote_path") or storage.get("container") or "input")
        container, _, prefix = remote.partition("/")
        items: Body = {"blobs": self.draft.container(container, existing=True)}
        if prefix:
            items["prefix"] = f"{prefix.rstrip('/')}/"
        if include := storage.get("include"):
            items["match"] = [str(each) for each in include]
        if storage.get("exclude"):
            self.draft.note(section, "Not imported: `exclude` of the files; use `match`.")
        body: Body = {"for_each": items}
        place = file.get("task_filepath")
        if place in {"file_path", "file_path_with_container", "file_name_no_extension"}:
            path = "file.stem" if place == "file_name_no_extension" else "file.path"
            body["resources"] = [{**OWN_FILE, "file_path": f"{{{{ {path} }}}}"}]
        return body, dict(_FILE_FIELDS)

    # --- files -----------------------------------------------------------------------------------

    def _outputs(self, task: Json, section: str) -> Iterator[Body]:
        for each in lists(mapping(task.get("output_data")).get("azure_storage")):
            if each.get("is_file_share"):
                self.draft.note(section, "An output went to a file share; here to a container.")
            if each.get("exclude"):
                self.draft.note(section, "Not imported: `exclude` of an output.")
            container, _, prefix = str(each.get("remote_path")).partition("/")
            key = self.draft.container(container)
            for files in _patterns(each):
                body: Body = {"files": files, "container": key}
                wild = re.search(r"[*?\[]", files)
                folder = f"{prefix.rstrip('/')}/" if prefix else ""
                if not wild:
                    folder += files.rpartition("/")[2]
                if folder:
                    body["path"] = folder
                yield body

    # --- limits and dependencies -----------------------------------------------------------------

    def _limits(self, task: Json) -> Body:
        found: Body = {}
        if (retries := task.get("max_task_retries")) is not None:
            found["retries"] = retries
        if limit := task.get("max_wall_time"):
            found["max_wall_clock_time"] = duration(limit)
        if kept := task.get("retention_time") or self._job.get("retention_time"):
            found["retention"] = duration(kept)
        conditions = mapping(task.get("exit_conditions")) or mapping(
            self._job.get("exit_conditions")
        )
        options = mapping(mapping(conditions.get("default")).get("exit_options"))
        action = _ACTIONS.get(str(options.get("job_action")))
        if action is None and options.get("dependency_action") == "satisfy":
            action = "satisfy"
        if action in _ACTIONS.values():
            self.draft.job["task_failure_mode"] = "performexitoptionsjobaction"
        return found | ({"exit_codes": {"default": action}} if action else {})

    def _instances(self, task: Json, section: str) -> Body:
        several = mapping(task.get("multi_instance"))
        if not several:
            return {}
        count = several.get("num_instances", 1)
        if not isinstance(count, int):
            text = str(count)
            kind = "low_priority" if text.endswith("low_priority") else "dedicated"
            nodes = self._pool.get("vm_count", 1)
            count = int(text) if text.isdecimal() else mapping(nodes).get(kind) or nodes
            self.draft.note(section, "The number of instances was the number of nodes of the pool.")
        command = several.get("coordination_command") or "true"
        found: Body = {"count": count if isinstance(count, int) else 1, "command": literal(command)}
        if files := files_of(several):
            found["resources"] = files
        return {"instances": found}

    def _needs(self, task: Json) -> Body:
        found: Body = {}
        ids = [str(each) for each in task.get("depends_on") or ()]
        if ids and all(each in self._stages for each in ids):
            found["needs"] = [self._stages[each] for each in ids]
        elif ids:
            found["depends_on"] = {"task_ids": ids}
        if ends := task.get("depends_on_range"):
            ranges = [{"start": ends[0], "end": ends[1]}]
            found["depends_on"] = {**found.get("depends_on", {}), "task_id_ranges": ranges}
        return found


def literal(value: object) -> str:
    """A value as a text without expressions: braces of the original are escaped."""
    return Expressions().finish(str(value))


def mapping(value: object) -> dict[str, Any]:
    """The value if it is a mapping, else an empty mapping."""
    return {str(key): item for key, item in value.items()} if isinstance(value, Mapping) else {}


def lists(value: object) -> list[dict[str, Any]]:
    """The mappings of a list."""
    return [mapping(each) for each in value] if isinstance(value, list) else []


def left_out(
    draft: Draft, section: str, body: Json, known: frozenset[str], reasons: Mapping[str, str]
) -> None:
    """Note the members of ``body`` that are not imported, unless they have no value."""
    for key, value in body.items():
        if key not in known and value not in (None, False, [], {}, ""):
            reason = reasons.get(key, "a spec has no counterpart")
            draft.note(section, f"Not imported: `{key}` ({reason}).")


def resources_of(draft: Draft, owner: Json, section: str) -> list[str | Body]:
    """The ``input_data`` of a pool, job or task as resources."""
    data = mapping(owner.get("input_data"))
    if data.get("azure_batch"):
        draft.note(
            section,
            "Not imported: `input_data.azure_batch` (nodes are deleted; store the files as outputs "
            "of the other task, and read them from there).",
        )
    found: list[str | Body] = []
    for each in lists(data.get("azure_storage")):
        if each.get("is_file_share"):
            draft.note(section, "Files of a file share were not imported; use a container.")
            continue
        if each.get("include") or each.get("exclude"):
            draft.note(section, "Not imported: `include` and `exclude` of the files.")
        container, _, prefix = str(each.get("remote_path")).partition("/")
        key = draft.container(container)
        if "upload" not in draft.containers[key] and key not in _outputs_of(draft):
            draft.containers[key]["existing"] = True
        folder = _inside(str(each.get("local_path") or ""))
        if not prefix and not folder:
            found.append(key)
            continue
        body: Body = {"storage_container_url": read_url(key)}
        body |= {"blob_prefix": f"{prefix.rstrip('/')}/"} if prefix else {}
        found.append(body | ({"file_path": folder} if folder else {}))
    return found


def files_of(owner: Json) -> list[Body]:
    """The ``resource_files`` of a pool or task."""
    found: list[Body] = []
    for each in lists(owner.get("resource_files")):
        body: Body = {"http_url": str(each.get("blob_source")), "file_path": str(each["file_path"])}
        if mode := each.get("file_mode"):
            body["file_mode"] = str(mode)
        found.append(body)
    return found


def duration(value: object) -> str:
    """A duration ``d.HH:mm:ss`` in the form of a spec."""
    match = re.fullmatch(r"(?:(\d+)\.)?(\d+):(\d+)(?::(\d+))?", str(value))
    if match is None:
        return str(value)
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    whole = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    parts = (
        (whole.days, "d"),
        (whole.seconds // 3600, "h"),
        (whole.seconds // 60 % 60, "m"),
        (whole.seconds % 60, "s"),
    )
    return "".join(f"{number}{unit}" for number, unit in parts if number) or "0s"


def _outputs_of(draft: Draft) -> set[str]:
    return {
        output["container"]
        for stage in draft.stages.values()
        for output in stage.get("outputs", ())
    }


def _inside(path: str) -> str:
    """A path relative to the working directory of a task."""
    return path.removeprefix(_WORKING).strip("/") if path.startswith((_WORKING, "/")) else path


def _patterns(entry: Json) -> Iterator[str]:
    """The file patterns of an output, relative to the working directory of the task."""
    place = str(entry.get("local_path") or _TASK)
    include = [str(each) for each in entry.get("include") or ()]
    if place.startswith(_WORKING):
        inside = place.removeprefix(_WORKING).strip("/")
    elif place.startswith(_TASK):
        inside = f"../{place.removeprefix(_TASK).strip('/')}".rstrip("/")
    else:
        inside = place.rstrip("/")
    if not include:
        # A path with a suffix is a file.
        is_file = "." in inside.rpartition("/")[2].strip(".")
        yield inside if is_file else f"{inside}/**/*".lstrip("/")
    for pattern in include:
        if inside == ".." and pattern.startswith("wd/"):
            yield pattern.removeprefix("wd/")
        else:
            yield f"{inside}/{pattern}".lstrip("/")


def _range(given: Json) -> list[int]:
    start, stop, step = int(given["start"]), int(given["stop"]), int(given.get("step") or 1)
    return [start, stop] if step == 1 else [start, stop, step]


def _matrix(axes: Sequence[Any]) -> tuple[Body, dict[str, str]]:
    """``for_each`` over every combination of ranges or lists."""
    if len(axes) == 1:
        items = axes[0] if isinstance(axes[0], Mapping) else {"list": axes[0]}
        return {"for_each": dict(items)}, {"0": "value"}
    names = [f"value{number}" for number in range(len(axes))]
    fields = {str(number): name for number, name in enumerate(names)}
    return {"for_each": {"matrix": dict(zip(names, axes, strict=True))}}, fields


def _list(rows: Sequence[Sequence[Any]]) -> tuple[Body, dict[str, str]]:
    """``for_each`` over rows of values."""
    if all(len(row) == 1 for row in rows):
        return {"for_each": {"list": [row[0] for row in rows]}}, {"0": "value"}
    names = [f"value{number}" for number in range(max(map(len, rows)))]
    items = [dict(zip(names, row, strict=False)) for row in rows]
    return {"for_each": {"list": items}}, {str(n): name for n, name in enumerate(names)}


def _rows(sweep: Json, factory: Json) -> list[tuple[Any, ...]] | None:
    """The values of a sweep that a spec can only list."""
    limit = _MOST_VALUES + 1
    if given := mapping(sweep.get("combinations")):
        choose = (
            itertools.combinations_with_replacement
            if given.get("replacement")
            else itertools.combinations
        )
        chosen = choose(given["iterable"], _length(given))
        return list(itertools.islice(chosen, limit))
    if given := mapping(sweep.get("permutations")):
        permuted = itertools.permutations(given["iterable"], _length(given))
        return list(itertools.islice(permuted, limit))
    if zipped := sweep.get("zip"):
        return list(itertools.islice(zip(*zipped, strict=False), limit))
    drawn = mapping(factory.get("random"))
    return _drawn(drawn) if drawn else None


def _length(given: Json) -> int:
    """The number of values in a combination.

    The limit bounds the memory.

    Raises:
        ValueError: the length is not a number, or is too large.
    """
    length = int(given["length"])
    if length > _MOST_COMBINED:
        raise ValueError(f"more than {_MOST_COMBINED:,} values are combined")
    return length


def _drawn(given: Json) -> list[tuple[Any, ...]]:
    """Random values; equal for equal configurations."""
    source = random.Random(given.get("seed") or 0)  # noqa: S311 - not for secrets
    count = min(int(given.get("generate") or 1), _MOST_VALUES)
    if whole := mapping(given.get("integer")):
        start, stop, step = (int(whole[key]) for key in ("start", "stop", "step"))
        return [(source.randrange(start, stop, step),) for _ in range(count)]
    (name, options), *_ = mapping(given.get("distribution")).items()
    options = mapping(options)
    draw: Callable[[], float] = {
        "uniform": lambda: source.uniform(options["a"], options["b"]),
        "triangular": lambda: source.triangular(
            options["low"], options["high"], options.get("mode")
        ),
        "beta": lambda: source.betavariate(options["alpha"], options["beta"]),
        "exponential": lambda: source.expovariate(options["lambda"]),
        "gamma": lambda: source.gammavariate(options["alpha"], options["beta"]),
        "gauss": lambda: source.gauss(options["mu"], options["sigma"]),
        "lognormal": lambda: source.lognormvariate(options["mu"], options["sigma"]),
        "pareto": lambda: source.paretovariate(options["alpha"]),
        "weibull": lambda: source.weibullvariate(options["alpha"], options["beta"]),
    }[name]
    return [(draw(),) for _ in range(count)]
