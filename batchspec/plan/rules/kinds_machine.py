"""Findings about what the nodes are: their image, their agent, their size."""

from __future__ import annotations

from batchspec.plan.rules.rule import ERROR, WARNING, Rule, RuleGroup

MACHINE = RuleGroup(
    "Image and size",
    "What the nodes are, held against the account's list of supported images. Which sizes an"
    " account has in its region, the Batch service does not tell; of sizes it is only said what"
    " their names tell.",
    (
        Rule(
            "unknown-image",
            ERROR,
            "The account has no image of that name",
            "An alias is looked up in the account's list, and nothing is guessed.",
            "Name one that it offers, or write `image_reference` and `node_agent_sku_id`.",
        ),
        Rule(
            "unlisted-image",
            WARNING,
            "The account does not list the image",
            "The service may refuse it, or its nodes may never become ready.",
            "Take a listed image: `az batch pool supported-images list` shows them.",
        ),
        Rule(
            "image-agent",
            ERROR,
            "The image and the node agent do not go together",
            "The service refuses such a pool, or its nodes never become ready.",
            "Take the node agent that the account lists for the image, or write `image: ALIAS`.",
        ),
        Rule(
            "unknown-agent",
            WARNING,
            "The account lists no such node agent",
            "The service refuses a pool whose nodes cannot have it.",
            "Take one that it lists, such as `batch.node.ubuntu 24.04`.",
        ),
        Rule(
            "image-ended",
            ERROR,
            "Batch has ended its support of the image",
            "Pools of such images are refused, or get no nodes any more.",
            "Take a newer image.",
        ),
        Rule(
            "image-ends-soon",
            WARNING,
            "Batch ends its support of the image within 90 days",
            "After that day the pool can no longer be made, nor get new nodes.",
            "Plan for a newer image.",
        ),
        Rule(
            "pool-image-ended",
            WARNING,
            "A pool that is used as it is has an image that has ended",
            "The nodes that it has may go on working; new ones may never come.",
            "Ask whoever looks after the pool for a newer image.",
        ),
        Rule(
            "image-without-containers",
            ERROR,
            "The image cannot run containers",
            "`container_images` needs an image that brings a container engine (capability"
            " `DockerCompatible`); the nodes of others become unusable.",
            "Take an image with that capability, such as `ubuntu-hpc-2204`.",
        ),
        Rule(
            "vm-size-retired",
            WARNING,
            "Azure retires the VM size",
            "Machines of a retired size are stopped, and new ones refused. The dates are those that"
            " Azure has announced.",
            "Take a size of a newer generation.",
        ),
        Rule(
            "vm-size-odd",
            WARNING,
            "The VM size does not look like one",
            "The service refuses a size that it does not know when the pool is made.",
            "Write it as Azure does, such as `standard_d2s_v5`.",
        ),
    ),
)
