"""Rules of the nodes of a pool: image, disks, security, containers, upgrades."""

from __future__ import annotations

from collections.abc import Iterator

from batchspec.property_rules.rule import (
    INVALID,
    MISSING,
    POOLS,
    UNKNOWN,
    Found,
    Properties,
    PropertyRule,
    in_range,
    matches,
    requires,
    rule,
    shown,
    unique,
)

_MACHINE = ("VirtualMachineConfiguration",)
_IMAGE = ("BatchVmImageReference",)
_IMAGE_IDS = ("virtualMachineImageId", "sharedGalleryImageId", "communityGalleryImageId")
_MARKETPLACE = ("publisher", "offer", "sku", "version")
_GALLERY = r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.Compute/galleries/[^/]+"
_IMAGE_FORM = (
    "/subscriptions/{subscriptionId}/resourceGroups/{resourceGroupName}/providers/"
    "Microsoft.Compute/galleries/{galleryName}/images/{galleryImageName}"
)
"""The words are those of the recorded reason."""
_UPGRADE = ("RollingUpgradePolicy",)
_ENCRYPTION_TYPE = ("managedDisk", "securityProfile", "securityEncryptionType")


def is_windows(machine: Properties) -> bool | None:
    """Whether the nodes run Windows; ``None`` if agent and image do not determine it."""
    texts = [
        machine.word("nodeAgentSKUId"),
        machine.word("imageReference", "publisher"),
        machine.word("imageReference", "offer"),
    ]
    known = [text for text in texts if text is not None]
    return any("windows" in text for text in known) if known else None


@rule(
    "image-source",
    _IMAGE,
    (*_IMAGE_IDS, *_MARKETPLACE),
    "either-or",
    "`virtualMachineImageId`, `sharedGalleryImageId` and `communityGalleryImageId` cannot be "
    "combined with each other or with the properties of a marketplace image.",
    fix="Keep the id of the image, or `publisher`, `offer`, `sku` and `version`.",
)
def image_source(given: Properties) -> Iterator[Found]:
    """More than one image."""
    first = next((name for name in _IMAGE_IDS if given.has(name)), None)
    for name in (*_IMAGE_IDS, *_MARKETPLACE):
        if first is not None and name != first and given.has(name):
            yield Found((name,), f"`{name}` and `{first}` cannot be combined")


@rule(
    "confidential-encryption",
    _MACHINE,
    ("securityProfile.securityType", "osDisk.managedDisk.securityProfile.securityEncryptionType"),
    "missing-key",
    "A confidential VM requires `osDisk.managedDisk.securityProfile.securityEncryptionType`.",
    fix="Write `os_disk: {managed_disk: {security_profile: {security_encryption_type:"
    " VMGuestStateOnly}}}` in `virtual_machine_configuration`.",
    faults=(MISSING,),
)
def confidential_encryption(given: Properties) -> Iterator[Found]:
    """A confidential VM without the encryption of its disk."""
    confidential = given.word("securityProfile", "securityType") == "confidentialvm"
    if confidential and not given.has("osDisk", *_ENCRYPTION_TYPE):
        yield Found(
            ("securityProfile", "securityType"),
            "a confidential VM requires `securityEncryptionType` of its OS disk",
            missing="securityEncryptionType",
        )


@rule(
    "confidential-only",
    _MACHINE,
    ("osDisk.managedDisk.securityProfile", "dataDisks.managedDisk.securityProfile"),
    "either-or",
    "The `securityProfile` of a managed disk requires `securityType: confidentialvm`.",
    fix="Remove it, or write `security_profile: {security_type: confidentialvm}`.",
)
def confidential_only(given: Properties) -> Iterator[Found]:
    """The encryption of a confidential VM on a VM that is not confidential."""
    kind = given.get("securityProfile", "securityType")
    if kind is UNKNOWN or given.word("securityProfile", "securityType") == "confidentialvm":
        return
    message = "`securityEncryptionType` is only for confidential VMs"
    if given.has("osDisk", *_ENCRYPTION_TYPE):
        yield Found(("osDisk", *_ENCRYPTION_TYPE), message)
    for index, disk in given.objects("dataDisks"):
        if disk.has(*_ENCRYPTION_TYPE):
            yield Found(("dataDisks", index, *_ENCRYPTION_TYPE), message)


@rule(
    "data-disk-encryption",
    ("DataDisk",),
    ("managedDisk.securityProfile.securityEncryptionType",),
    "bad-value",
    "`securityEncryptionType` of a data disk is not DiskWithVMGuestState.",
    fix="Write `NonPersistedTPM` or `VMGuestStateOnly`.",
)
def data_disk_encryption(given: Properties) -> Iterator[Found]:
    """Encryption together with the guest state, which only an OS disk has."""
    if given.word(*_ENCRYPTION_TYPE) == "diskwithvmgueststate":
        yield Found(_ENCRYPTION_TYPE, "a data disk cannot have the encryption DiskWithVMGuestState")


@rule(
    "windows-settings",
    _MACHINE,
    ("windowsConfiguration",),
    "wrong-system",
    "`windowsConfiguration` requires a Windows image.",
    fix="Remove it, or use a Windows image.",
)
def windows_settings(given: Properties) -> Iterator[Found]:
    """Settings of Windows for nodes with Linux."""
    if is_windows(given) is False and given.has("windowsConfiguration"):
        yield Found(("windowsConfiguration",), "`windowsConfiguration` is not for a Linux image")


@rule(
    "disk-encryption-image",
    _MACHINE,
    ("diskEncryptionConfiguration", "imageReference.virtualMachineImageId"),
    "either-or",
    "Linux nodes with a gallery image have no `diskEncryptionConfiguration`.",
    fix="Remove it, or use a marketplace image.",
)
def disk_encryption_image(given: Properties) -> Iterator[Found]:
    """Disk encryption of a Linux node with an image of a gallery."""
    own = any(given.has("imageReference", name) for name in _IMAGE_IDS)
    if own and is_windows(given) is False and given.has("diskEncryptionConfiguration"):
        yield Found(
            ("diskEncryptionConfiguration",),
            "Linux nodes with a gallery image do not support `diskEncryptionConfiguration`",
        )


@rule(
    "disk-encryption-targets",
    _MACHINE,
    ("diskEncryptionConfiguration.targets",),
    "bad-value",
    "Without a customer-managed key, `targets` is `[temporarydisk]` on Linux and `[osdisk,"
    " temporarydisk]` on Windows.",
    fix="Write `[temporarydisk]` for Linux, `[osdisk, temporarydisk]` for Windows.",
)
def disk_encryption_targets(given: Properties) -> Iterator[Found]:
    """Disks that nodes of this system cannot encrypt."""
    at = ("diskEncryptionConfiguration", "targets")
    items = [item.lower() for item in given.list(*at) if isinstance(item, str)]
    windows = is_windows(given)
    key = given.has("diskEncryptionConfiguration", "customerManagedKey")
    if key or windows is None or not items or len(items) < len(given.list(*at)):
        return
    if windows and set(items) != {"osdisk", "temporarydisk"}:
        yield Found(at, "`targets` must be osdisk and temporarydisk on Windows")
    if not windows and set(items) != {"temporarydisk"}:
        yield Found(at, "`targets` must be temporarydisk alone on Linux")


@rule(
    "customer-managed-key",
    ("DiskEncryptionConfiguration",),
    ("customerManagedKey", "targets"),
    "missing-key",
    "`customerManagedKey` requires `osdisk` among the `targets`.",
    fix="Add `osdisk` to `targets`.",
)
def customer_managed_key(given: Properties) -> Iterator[Found]:
    """A key without the OS disk."""
    targets = given.get("targets")
    known = targets is not UNKNOWN and UNKNOWN not in given.list("targets")
    words = {item.lower() for item in given.list("targets") if isinstance(item, str)}
    if given.has("customerManagedKey") and known and "osdisk" not in words:
        yield Found(
            ("customerManagedKey",), "`customerManagedKey` requires osdisk among the `targets`"
        )


@rule(
    "upgrade-percentages",
    _UPGRADE,
    ("maxBatchInstancePercent", "maxUnhealthyInstancePercent"),
    "out-of-range",
    "`maxBatchInstancePercent` must not be more than `maxUnhealthyInstancePercent`.",
    fix="Decrease `maxBatchInstancePercent`, or increase `maxUnhealthyInstancePercent`.",
)
def upgrade_percentages(given: Properties) -> Iterator[Found]:
    """Batches that exceed the number of nodes that may be unhealthy."""
    batch, most = (
        given.number("maxBatchInstancePercent"),
        given.number("maxUnhealthyInstancePercent"),
    )
    if batch is not None and most is not None and batch > most:
        yield Found(
            ("maxBatchInstancePercent",),
            f"`maxBatchInstancePercent` ({batch}) must not be more than"
            f" `maxUnhealthyInstancePercent` ({most})",
        )


@rule(
    "cross-zone-upgrade",
    POOLS,
    ("upgradePolicy.rollingUpgradePolicy.enableCrossZoneUpgrade",),
    "missing-key",
    "`enableCrossZoneUpgrade` requires zonal `nodePlacementConfiguration`.",
    fix="Write `node_placement_configuration: {policy: zonal}` in"
    " `virtual_machine_configuration`, or remove `enable_cross_zone_upgrade`.",
)
def cross_zone_upgrade(given: Properties) -> Iterator[Found]:
    """Upgrades across zones for nodes in one zone."""
    at = ("upgradePolicy", "rollingUpgradePolicy", "enableCrossZoneUpgrade")
    policy = ("virtualMachineConfiguration", "nodePlacementConfiguration", "policy")
    placed = given.get(*policy) is UNKNOWN or given.word(*policy) == "zonal"
    if given.has(*at) and not placed:
        yield Found(at, "`enableCrossZoneUpgrade` requires zonal placement of the nodes")


@rule(
    "automatic-upgrades",
    POOLS,
    (
        "upgradePolicy.automaticOSUpgradePolicy.enableAutomaticOSUpgrade",
        "virtualMachineConfiguration.windowsConfiguration.enableAutomaticUpdates",
    ),
    "either-or",
    "On Windows, `enableAutomaticOSUpgrade: true` cannot be combined with "
    "`enableAutomaticUpdates: true`.",
    fix="Write `windows_configuration: {enable_automatic_updates: false}`.",
)
def automatic_upgrades(given: Properties) -> Iterator[Found]:
    """Windows Update beside upgrades of the image."""
    at = ("virtualMachineConfiguration", "windowsConfiguration", "enableAutomaticUpdates")
    image = ("upgradePolicy", "automaticOSUpgradePolicy", "enableAutomaticOSUpgrade")
    if given.get(*image) is True and given.get(*at) is True:
        yield Found(
            at, "`enableAutomaticUpdates` and `enableAutomaticOSUpgrade` cannot be combined"
        )


@rule(
    "registry-sign-in",
    ("ContainerRegistryReference",),
    ("username", "password", "identityReference"),
    "either-or",
    "A registry has `username` and `password`, or `identityReference`, or none of them.",
    fix="Keep `username` and `password`, or `identity_reference`.",
    faults=(INVALID, MISSING),
)
def registry_sign_in(given: Properties) -> Iterator[Found]:
    """An incomplete sign-in, or two sign-ins."""
    for name, other in (("username", "password"), ("password", "username")):
        if given.has(name) and given.has("identityReference"):
            yield Found((name,), f"`{name}` and `identityReference` cannot be combined")
        elif given.has(name) and not given.has(other):
            message = f"`{name}` requires `{other}`"
            yield Found((name,), message, f"Add `{other}`.", other)


@rule(
    "registry-address",
    ("ContainerRegistryReference",),
    ("registryServer",),
    "registry-address",
    "`registryServer` is a host name without a scheme.",
    fix="Write the host name alone, for example `registry.example.com`.",
    accepted=True,
    severity="warning",
)
def registry_address(given: Properties) -> Iterator[Found]:
    """An address with a scheme, which is not a part of the names of images."""
    text = given.text("registryServer") or ""
    scheme, found, host = text.partition("://")
    if found:
        yield Found(
            ("registryServer",),
            f"`registryServer` has the scheme {shown(scheme)}; names of images begin with the host",
            f"Write `{host.rstrip('/')}`.",
        )


MACHINE: tuple[PropertyRule, ...] = (
    image_source,
    matches(
        "gallery-image-id",
        _IMAGE,
        "virtualMachineImageId",
        rf"{_GALLERY}/images/[^/]+(?:/versions/[^/]+)?",
        "the resource id of an image in a gallery: /subscriptions/SUBSCRIPTION/resourceGroups/"
        "GROUP/providers/Microsoft.Compute/galleries/GALLERY/images/IMAGE, with or without"
        " /versions/VERSION",
        reason="The specified resource id must be of the format"
        f" {_IMAGE_FORM}/versions/{{galleryImageVersionName}} or {_IMAGE_FORM}",
    ),
    matches(
        "service-artifact-id",
        ("ServiceArtifactReference",),
        "id",
        rf"{_GALLERY}/serviceArtifacts/[^/]+/vmArtifactsProfiles/[^/]+",
        "the resource id of a service artifact profile in a gallery",
    ),
    matches(
        "key-url",
        ("DiskCustomerManagedKey",),
        "keyUrl",
        r"https://[^/]+/keys/[^/]+/[^/]+/?",
        "the URL of a version of a key: https://VAULT.vault.azure.net/keys/KEY/VERSION",
    ),
    matches(
        "license-type",
        _MACHINE,
        "licenseType",
        r"(?:windows_)?(?:server|client)",
        "Windows_Server or Windows_Client",
        fix="Write one of these values.",
    ),
    requires(
        "uefi-settings",
        ("SecurityProfile",),
        "uefiSettings",
        "securityType",
        fix="Write `security_type: trustedLaunch` or `confidentialvm`.",
    ),
    confidential_encryption,
    confidential_only,
    data_disk_encryption,
    windows_settings,
    disk_encryption_image,
    disk_encryption_targets,
    customer_managed_key,
    in_range("data-disk-unit", ("DataDisk",), "lun", 0, 63),
    unique("data-disk-units", _MACHINE, "dataDisks", "lun"),
    in_range("upgrade-batch", _UPGRADE, "maxBatchInstancePercent", 5, 100),
    in_range("upgrade-unhealthy", _UPGRADE, "maxUnhealthyInstancePercent", 5, 100),
    in_range("upgrade-upgraded", _UPGRADE, "maxUnhealthyUpgradedInstancePercent", 0, 100),
    upgrade_percentages,
    cross_zone_upgrade,
    automatic_upgrades,
    registry_sign_in,
    registry_address,
)
