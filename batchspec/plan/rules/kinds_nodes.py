"""Findings about how many nodes there are, and whether the tasks fit on them."""

from __future__ import annotations

from batchspec.plan.rules.rule import ERROR, WARNING, Rule, RuleGroup

NODES = RuleGroup(
    "Nodes",
    "Whether there are nodes, and whether the tasks can run on them.",
    (
        Rule(
            "no-nodes",
            ERROR,
            "The pool is to have no node, and does not scale itself",
            "No task would ever run, and the run would last until its time limit.",
            "Write `nodes: 1` or more, or `nodes: {scale: {max: 10}}`.",
        ),
        Rule(
            "missing-package",
            ERROR,
            "The account has no such application package",
            "The service refuses a pool whose packages do not exist, and a task whose packages do"
            " not exist fails.",
            "Upload the package, for example with `az batch application package create`, or correct"
            " `application_package_references`.",
        ),
        Rule(
            "pool-without-nodes",
            WARNING,
            "A pool that is used as it is has no node",
            "Nothing runs until somebody gives it nodes; the time limit of the job goes on.",
            "Resize the pool, or name another.",
        ),
        Rule(
            "pool-resize-failed",
            WARNING,
            "The pool did not get the nodes that it asked for",
            "The service has said why, and goes on trying only after another resize.",
            "Ask for fewer nodes or another size, or have the account's quota raised.",
        ),
        Rule(
            "too-few-nodes",
            ERROR,
            "A task needs more nodes than the pool has",
            "A task on several nodes starts when all of them are free, which they never are.",
            "Give the pool that many `nodes`, or the task fewer `instances`.",
        ),
        Rule(
            "too-many-nodes",
            ERROR,
            "The pool is larger than the service makes such pools",
            "A pool whose nodes reach each other has up to 100 nodes; one of a managed image has up"
            " to 2,000 dedicated and 1,000 Spot nodes.",
            "Take fewer nodes, or spread the work over several pools.",
        ),
        Rule(
            "too-many-slots",
            ERROR,
            "A task takes more slots than a node has",
            "It would wait for ever: no node can take it.",
            "Give the task fewer `slots`, or the pool more `task_slots_per_node`.",
        ),
        Rule(
            "no-communication",
            ERROR,
            "A task runs on several nodes that do not reach each other",
            "The service refuses it.",
            "Write `enable_inter_node_communication: true` in the pool.",
        ),
        Rule(
            "instances-share-nodes",
            WARNING,
            "A task on several nodes is to run where nodes take several tasks",
            "The service wants one slot a node for such tasks, so that each has a whole node.",
            "Take `task_slots_per_node` out of the pool.",
        ),
        Rule(
            "no-containers",
            ERROR,
            "A task is to run in a container on a pool without containers",
            "The service refuses it.",
            "Write `container_images: [IMAGE]` in the pool.",
        ),
        Rule(
            "task-outside-container",
            WARNING,
            "A task of a pool with containers runs outside of them",
            "The service documents that tasks of such a pool name a container image; programs that"
            " are in the image alone are not found.",
            "Write `container_image: IMAGE` in the stage.",
        ),
        Rule(
            "start-task-not-waited-for",
            WARNING,
            "Tasks do not wait for the start task",
            "They run on nodes on which it has not ended yet, or has failed.",
            "Take `wait_for_success: false` out of the start task.",
        ),
        Rule(
            "too-many-packages",
            ERROR,
            "The pool names more than 10 application packages",
            "The service takes 10 for a pool.",
            "Name some of them in the tasks, or join them into one.",
        ),
        Rule(
            "too-many-mounts",
            ERROR,
            "The pool mounts more than 10 file systems",
            "The service mounts 10 on a node.",
            "Leave some of them out.",
        ),
    ),
)
