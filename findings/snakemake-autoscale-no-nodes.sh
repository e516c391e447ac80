#!/usr/bin/env bash
# With autoscale, the Azure Batch executor of Snakemake creates a pool that stays at zero nodes.
#
# Versions: snakemake-executor-plugin-azure-batch 0.3.0, azure-mgmt-batch 17.3.0,
# snakemake-interface-executor-plugins 9.4.0, Python 3.11. Nothing is sent: the script shows the
# body of the request that creates the pool, as the plugin builds it.
#
# Behaviour: with --azure-batch-autoscale the plugin builds the settings for automatic scaling and
# sets the number of nodes to 0, because the pool is to grow from there. It then replaces these
# settings by a fixed scale with that number. So the pool has no formula and no nodes, all jobs of
# the workflow stay active, no error is reported, and Snakemake waits without an end. The number
# given as --azure-batch-pool-node-count is lost too. The plugin also ignores
# --azure-batch-node-communication-mode, and sends Classic. Use a fixed number of nodes.
#
# Output seen:
#   autoscale off, 4 nodes: fixedScale, targetDedicatedNodes 4
#   autoscale on, 4 nodes: fixedScale, targetDedicatedNodes 0
#   node communication mode simplified: Classic
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
timeout 120 python3 -m venv venv
timeout 300 venv/bin/pip install -qq --no-compile snakemake-executor-plugin-azure-batch==0.3.0 \
    snakemake-interface-executor-plugins==9.4.0 azure-mgmt-batch==17.3.0 azure-batch==14.2.0
timeout 60 venv/bin/python - <<'END'
import sys

from snakemake_executor_plugin_azure_batch import ExecutorSettings, build


def pool(**settings):
    """Return the body that the plugin sends to create a pool."""
    settings = ExecutorSettings(
        account_url="https://account.westeurope.batch.azure.com",
        resource_group_name="group",
        subscription_id="00000000-0000-0000-0000-000000000000",
        **settings,
    )
    return build.batch_pool_params("pool", settings, "snakemake/snakemake").serialize()["properties"]


seen = []
for autoscale in (False, True):
    scale = pool(autoscale=autoscale, pool_node_count=4)["scaleSettings"]
    [kind] = scale
    nodes = scale[kind].get("targetDedicatedNodes")
    print(f"autoscale {'on' if autoscale else 'off'}, 4 nodes: {kind}, targetDedicatedNodes {nodes}")
    seen.append((kind, nodes))
mode = pool(node_communication_mode="simplified")["targetNodeCommunicationMode"]
print(f"node communication mode simplified: {mode}")
if seen != [("fixedScale", 4), ("fixedScale", 0)] or mode != "Classic":
    sys.exit("the behaviour changed")
END
