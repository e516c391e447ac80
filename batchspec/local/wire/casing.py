"""Where the service's spelling of a word differs from the description's, or an older client's.

Recorded exchanges show these words in replies in the spelling here; a request may use any.
"""

from __future__ import annotations

from collections.abc import Mapping

SPELLING: Mapping[str, tuple[str, ...]] = {
    "BatchErrorSourceCategory": ("UserError", "ServerError"),
    "BatchNodeFillType": ("Spread", "Pack"),
    "BatchNodePlacementPolicyType": ("Regional", "Zonal"),
    "BatchTaskAddStatus": ("Success", "ClientError", "ServerError"),
    "CachingType": ("None", "ReadOnly", "ReadWrite"),
    "DiffDiskPlacement": ("CacheDisk",),
    "OutputFileUploadCondition": ("TaskSuccess", "TaskFailure", "TaskCompletion"),
    "SecurityTypes": ("trustedlaunch", "confidentialvm"),
}
"""Enum of the wire models: its words as the service writes them."""

OLDER: Mapping[str, Mapping[str, str]] = {
    "BatchPoolCreateOptions": {
        "cloudServiceConfiguration": "any",
        "certificateReferences": "[any]",
        "applicationLicenses": "[string]",
        "targetNodeCommunicationMode": "string",
        "resourceTags": "{string}",
    },
    "BatchPoolSpecification": {
        "cloudServiceConfiguration": "any",
        "certificateReferences": "[any]",
        "applicationLicenses": "[string]",
        "targetNodeCommunicationMode": "string",
        "resourceTags": "{string}",
    },
    "BatchPoolUpdateOptions": {
        "certificateReferences": "[any]",
        "targetNodeCommunicationMode": "string",
    },
    "BatchPoolReplaceOptions": {
        "certificateReferences": "[any]",
        "targetNodeCommunicationMode": "string",
    },
    "BatchTaskCreateOptions": {"authenticationTokenSettings": "any"},
    "BatchJobManagerTask": {"authenticationTokenSettings": "any"},
    "DataDisk": {"storageAccountType": "string"},
}
"""Model: what earlier api-versions have in it and the newest has not, by type."""
