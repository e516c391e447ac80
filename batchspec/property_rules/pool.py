"""Rules of a pool: sizes, users, mounts, and what its nodes are prepared with."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from batchspec.catalog import vm_sizes
from batchspec.property_rules.machine import is_windows
from batchspec.property_rules.rule import (
    JOBS,
    MANAGER,
    MISSING,
    POOLS,
    TASK,
    Found,
    Properties,
    PropertyRule,
    in_range,
    lasts,
    max_items,
    max_length,
    one_of,
    rule,
    shown,
    unique,
)

_MOUNTS = (
    "azureBlobFileSystemConfiguration",
    "nfsMountConfiguration",
    "cifsMountConfiguration",
    "azureFileShareConfiguration",
)
_SIZED = (*POOLS, "BatchPoolResizeOptions")
_RESIZE = (*_SIZED, "BatchNodeRemoveOptions")
_SCALING = (*POOLS, "BatchPoolEnableAutoScaleOptions")
_NAMED = ("BatchJobScheduleCreateOptions", MANAGER, TASK)
_FIVE_MINUTES, _WEEK = timedelta(minutes=5), timedelta(hours=168)
_UPDATES = ("BatchPoolUpdateOptions", "BatchPoolReplaceOptions")


@rule(
    "mount-paths",
    (*POOLS, "BatchPoolUpdateOptions"),
    tuple(f"mountConfiguration.{kind}.relativeMountPath" for kind in _MOUNTS),
    "same-value",
    "Each mount of a pool has another `relativeMountPath`.",
    fix="Change one of the paths.",
)
def mount_paths(given: Properties) -> Iterator[Found]:
    """Two file systems at one path."""
    seen: set[str] = set()
    for index, mount in given.objects("mountConfiguration"):
        for kind in _MOUNTS:
            path = mount.text(kind, "relativeMountPath")
            if path is None:
                continue
            key = path.strip("/\\")
            if key in seen:
                yield Found(
                    ("mountConfiguration", index, kind, "relativeMountPath"),
                    f"another file system has the same `relativeMountPath` {shown(path)}",
                )
            seen.add(key)


@rule(
    "user-ids",
    ("LinuxUserConfiguration",),
    ("uid", "gid"),
    "missing-key",
    "`uid` and `gid` are specified together, or not at all.",
    fix="Add the other one, or remove it.",
    faults=(MISSING,),
)
def user_ids(given: Properties) -> Iterator[Found]:
    """One of the two ids."""
    for name, other in (("uid", "gid"), ("gid", "uid")):
        if given.has(name) and not given.has(other):
            yield Found((name,), f"`{name}` requires `{other}`", f"Add `{other}`.", other)


@rule(
    "windows-user",
    POOLS,
    ("userAccounts.windowsUserConfiguration",),
    "wrong-system",
    "`windowsUserConfiguration` requires a pool with Windows.",
    fix="Remove it, or write `linux_user_configuration`.",
)
def windows_user(given: Properties) -> Iterator[Found]:
    """Settings of Windows for users of Linux nodes."""
    machine = given.get("virtualMachineConfiguration")
    if not isinstance(machine, Properties) or is_windows(machine) is not False:
        return
    for index, account in given.objects("userAccounts"):
        if account.has("windowsUserConfiguration"):
            yield Found(
                ("userAccounts", index, "windowsUserConfiguration"),
                "`windowsUserConfiguration` is not for nodes with Linux",
            )


_MOST_SLOTS = 256


@rule(
    "pool-slots",
    (*POOLS, _UPDATES[0]),
    ("taskSlotsPerNode", "vmSize"),
    "out-of-range",
    "`taskSlotsPerNode` must be from 1 to 4 times the number of cores of `vmSize`, at most 256.",
    fix="Decrease it, or use a larger `vm_size`.",
)
def pool_slots(given: Properties) -> Iterator[Found]:
    """More slots than a node of this size has."""
    slots = given.number("taskSlotsPerNode")
    known = vm_sizes.cores(given.text("vmSize") or "")
    most = min(4 * known, _MOST_SLOTS) if known else _MOST_SLOTS
    if slots is not None and not 1 <= slots <= most:
        why = f" for {known} cores" if known and most < _MOST_SLOTS else ""
        yield Found(
            ("taskSlotsPerNode",), f"`taskSlotsPerNode` must be from 1 to {most}{why}, not {slots}"
        )


POOL: tuple[PropertyRule, ...] = (
    max_length("display-name", (*POOLS, *JOBS, *_NAMED), "displayName", 1024),
    lasts("resize-timeout", _RESIZE, "resizeTimeout", _FIVE_MINUTES, _WEEK),
    lasts("autoscale-interval", _SCALING, "autoScaleEvaluationInterval", _FIVE_MINUTES, _WEEK),
    in_range("dedicated-nodes", _SIZED, "targetDedicatedNodes", 0),
    in_range("spot-nodes", _SIZED, "targetLowPriorityNodes", 0),
    pool_slots,
    max_items(
        "pool-packages",
        (*POOLS, *_UPDATES),
        "applicationPackageReferences",
        10,
        "too-many-packages",
    ),
    max_items("pool-mounts", (*POOLS, _UPDATES[0]), "mountConfiguration", 10, "too-many-mounts"),
    one_of("mount-kind", ("MountConfiguration",), _MOUNTS, required=True),
    one_of(
        "blob-mount-sign-in",
        ("AzureBlobFileSystemConfiguration",),
        ("accountKey", "sasKey", "identityReference"),
        required=True,
    ),
    mount_paths,
    max_length("user-name", ("UserAccount",), "name", 20),
    unique("user-names", (*POOLS, _UPDATES[0]), "userAccounts", "name"),
    user_ids,
    windows_user,
)
