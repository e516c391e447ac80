"""Rules of a pool: sizes, users, mounts, preparation of nodes, and network."""

from __future__ import annotations

import re
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
    matches,
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
    "Each mount of a pool has a different `relativeMountPath`.",
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
    "`windowsUserConfiguration` requires a Windows pool.",
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
                "`windowsUserConfiguration` is not for Linux nodes",
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
        why = f" for {known} core{'s' * (known != 1)}" if known and most < _MOST_SLOTS else ""
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


_NAT = ("BatchInboundNatPool",)
_ENDPOINTS = ("BatchPoolEndpointConfiguration",)
_SECURITY_RULE = ("NetworkSecurityGroupRule",)
_NETWORK = ("NetworkConfiguration",)
_START, _END = "frontendPortRangeStart", "frontendPortRangeEnd"
_POOLS, _RULES = "inboundNATPools", "networkSecurityGroupRules"
_RESERVED = range(50_000, 55_001)
_FEWEST_PORTS = 40
_MOST_RULES = 25
_TAG = r"[A-Za-z][A-Za-z0-9.]*"
_PORTS = r"(\d{1,5})(?:-(\d{1,5}))?"
_SUBSCRIPTION = r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers"


@rule(
    "nat-pool-range",
    _NAT,
    (_START, _END),
    "out-of-range",
    "The front-end range has at least 40 ports and none from 50000 to 55000.",
    fix="Use a free range of at least 40 ports, for example 10000 to 10099.",
)
def nat_pool_range(given: Properties) -> Iterator[Found]:
    """The external ports of a NAT pool."""
    first, last = given.number(_START), given.number(_END)
    if first is None or last is None:
        return
    if last < first:
        yield Found(
            (_END,),
            f"`{_END}` ({last}) must not be less than `{_START}` ({first})",
            f"Swap `{_START}` and `{_END}`.",
        )
        return
    if first < _RESERVED.stop and last >= _RESERVED.start:
        yield Found(
            (_START,), f"the ports {first} to {last} include reserved ones (50000 to 55000)"
        )
    elif (count := last - first + 1) < _FEWEST_PORTS:
        ports = f"{count} port{'s' if count != 1 else ''}"
        yield Found((_END,), f"the range has {ports}; the minimum is {_FEWEST_PORTS}")


@rule(
    "nat-pool-overlap",
    _ENDPOINTS,
    (f"{_POOLS}.{_START}", f"{_POOLS}.{_END}"),
    "same-value",
    "The front-end ranges of a pool's NAT pools do not overlap.",
    fix="Use a separate range for each NAT pool.",
)
def nat_pool_overlap(given: Properties) -> Iterator[Found]:
    """Ranges that share a port."""
    seen: list[tuple[int, int, str]] = []
    for index, pool in given.objects(_POOLS):
        first, last = pool.number(_START), pool.number(_END)
        if first is None or last is None or last < first:
            continue
        other = next((found for found in seen if found[0] <= last and first <= found[1]), None)
        if other is not None:
            yield Found(
                (_POOLS, index, _START),
                f"the ports {first} to {last} overlap with those of {shown(other[2])}"
                f" ({other[0]} to {other[1]})",
            )
        seen.append((first, last, pool.text("name") or ""))


@rule(
    "security-rule-count",
    _ENDPOINTS,
    (f"{_POOLS}.{_RULES}",),
    "too-many",
    "All NAT pools of a pool have at most 25 security rules together.",
    fix="Combine some of the rules.",
)
def security_rule_count(given: Properties) -> Iterator[Found]:
    """The rules of all NAT pools."""
    count = 0
    for index, pool in given.objects(_POOLS):
        before, count = count, count + len(pool.list(_RULES))
        if before <= _MOST_RULES < count:
            yield Found(
                (_POOLS, index, _RULES),
                f"the pool has more than {_MOST_RULES} security rules, the maximum",
            )


@rule(
    "security-rule-priorities",
    _ENDPOINTS,
    (f"{_POOLS}.{_RULES}.priority",),
    "same-value",
    "The priorities of a pool's security rules are unique.",
    fix="Give each rule of the pool a different priority from 150 to 4096.",
)
def security_rule_priorities(given: Properties) -> Iterator[Found]:
    """Rules with the same priority, in any NAT pool."""
    seen: set[int] = set()
    for index, pool in given.objects(_POOLS):
        for number, entry in pool.objects(_RULES):
            priority = entry.number("priority")
            if priority is not None and priority in seen:
                yield Found(
                    (_POOLS, index, _RULES, number, "priority"),
                    f"another security rule of the pool has the `priority` {priority}",
                )
            if priority is not None:
                seen.add(priority)


@rule(
    "security-rule-source",
    _SECURITY_RULE,
    ("sourceAddressPrefix",),
    "bad-format",
    "`sourceAddressPrefix` is an IP address, a subnet, a tag or `*`.",
    fix="Write for example `10.10.10.10`, `192.168.1.0/24`, `Internet` or `*`.",
)
def security_rule_source(given: Properties) -> Iterator[Found]:
    """The address of a security rule."""
    text = given.text("sourceAddressPrefix")
    if text is None or text == "*" or re.fullmatch(_TAG, text):
        return
    import ipaddress  # noqa: PLC0415 - few specs have security rules

    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        yield Found(
            ("sourceAddressPrefix",),
            f"`sourceAddressPrefix` must be an IP address, a subnet, a tag or `*`, not"
            f" {shown(text)}",
        )


@rule(
    "security-rule-ports",
    _SECURITY_RULE,
    ("sourcePortRanges",),
    "bad-format",
    "`sourcePortRanges` are `*`, ports or ranges of ports from 0 to 65535 that do not overlap.",
    fix="Write for example `['22', '100-200']`.",
)
def security_rule_ports(given: Properties) -> Iterator[Found]:
    """The source ports of a security rule."""
    seen: list[tuple[int, int]] = []
    for index, text in enumerate(given.list("sourcePortRanges")):
        if not isinstance(text, str):
            continue
        match = re.fullmatch(_PORTS, text)
        first = int(match[1]) if match else 0
        last = int(match[2] or match[1]) if match else 65_535
        if (match is None and text != "*") or not first <= last <= 65_535:
            yield Found(
                ("sourcePortRanges", index),
                f"`sourcePortRanges` are `*`, ports or ranges from 0 to 65535, not {shown(text)}",
            )
            continue
        if any(low <= last and first <= high for low, high in seen):
            yield Found(("sourcePortRanges", index), f"the ports {shown(text)} overlap with others")
        seen.append((first, last))


@rule(
    "no-public-addresses",
    _NETWORK,
    ("endpointConfiguration.inboundNATPools", "publicIPAddressConfiguration.provision"),
    "either-or",
    "A pool with `provision: nopublicipaddresses` has no `inboundNATPools`.",
    fix="Remove `endpointConfiguration`, or use `batchmanaged` addresses.",
)
def no_public_addresses(given: Properties) -> Iterator[Found]:
    """NAT pools of nodes without public addresses."""
    without = given.word("publicIPAddressConfiguration", "provision") == "nopublicipaddresses"
    if without and given.has("endpointConfiguration", _POOLS):
        yield Found(
            ("endpointConfiguration", _POOLS),
            "nodes without public IP addresses cannot have `inboundNATPools`",
        )


@rule(
    "ip-families",
    ("BatchPublicIpAddressConfiguration",),
    ("ipFamilies",),
    "bad-value",
    "`ipFamilies` are IPv4 alone, or IPv4 and IPv6.",
    fix="Write `[IPv4]` or `[IPv4, IPv6]`.",
)
def ip_families(given: Properties) -> Iterator[Found]:
    """IP families other than single stack IPv4 and dual stack."""
    found = [item for item in given.list("ipFamilies") if isinstance(item, str)]
    if len(found) < len(given.list("ipFamilies")) or not given.has("ipFamilies"):
        return
    families = sorted(item.lower() for item in found)
    if families not in ([], ["ipv4"], ["ipv4", "ipv6"]):
        yield Found(("ipFamilies",), "`ipFamilies` must be IPv4 alone, or IPv4 and IPv6")


@rule(
    "host-endpoint-mode",
    ("HostEndpointSettings",),
    ("mode", "inVMAccessControlProfileReferenceId"),
    "either-or",
    "`mode: Enforce` cannot be combined with `inVMAccessControlProfileReferenceId`.",
    fix="Remove one of them.",
)
def host_endpoint_mode(given: Properties) -> Iterator[Found]:
    """A mode beside a profile, which contains a mode."""
    profile = "inVMAccessControlProfileReferenceId"
    if given.word("mode") == "enforce" and given.has(profile):
        yield Found((profile,), f"`{profile}` and the `mode` Enforce cannot be combined")


NETWORK: tuple[PropertyRule, ...] = (
    matches(
        "nat-pool-name",
        _NAT,
        "name",
        r"[a-z0-9](?:[a-z0-9_.-]{0,75}[a-z0-9_])?",
        "1 to 77 letters, digits, `_`, `.` and `-`, begin with a letter or digit, and end with a"
        " letter, digit or `_`",
    ),
    unique("nat-pool-names", _ENDPOINTS, _POOLS, "name"),
    in_range("nat-pool-backend-port", _NAT, "backendPort", 1, 65_535, reserved=(29_876, 29_877)),
    unique("nat-pool-backend-ports", _ENDPOINTS, _POOLS, "backendPort"),
    in_range("nat-pool-first-port", _NAT, _START, 1, 65_534),
    in_range("nat-pool-last-port", _NAT, _END, 1, 65_534),
    nat_pool_range,
    nat_pool_overlap,
    max_items("nat-pool-count", _ENDPOINTS, _POOLS, 5, "too-many"),
    security_rule_count,
    in_range("security-rule-priority", _SECURITY_RULE, "priority", 150, 4096),
    security_rule_priorities,
    security_rule_source,
    security_rule_ports,
    no_public_addresses,
    ip_families,
    matches(
        "subnet-id",
        ("NetworkConfiguration", "BatchJobNetworkConfiguration"),
        "subnetId",
        rf"{_SUBSCRIPTION}/[^/]+/virtualNetworks/[^/]+/subnets/[^/]+",
        "the resource id of a subnet: /subscriptions/SUBSCRIPTION/resourceGroups/GROUP/providers/"
        "Microsoft.Network/virtualNetworks/NETWORK/subnets/SUBNET",
    ),
    matches(
        "public-address-id",
        ("BatchPublicIpAddressConfiguration",),
        "ipAddressIds",
        rf"{_SUBSCRIPTION}/Microsoft\.Network/publicIPAddresses/[^/]+",
        "the resource id of a public IP address: /subscriptions/SUBSCRIPTION/resourceGroups/GROUP/"
        "providers/Microsoft.Network/publicIPAddresses/NAME",
        items=True,
    ),
    matches(
        "access-control-profile-id",
        ("HostEndpointSettings",),
        "inVMAccessControlProfileReferenceId",
        rf"{_SUBSCRIPTION}/Microsoft\.Compute/galleries/[^/]+/inVMAccessControlProfiles/[^/]+"
        r"/versions/[^/]+",
        "the resource id of a version of an access control profile in a gallery",
    ),
    host_endpoint_mode,
)
