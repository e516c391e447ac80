# rally.sh: how many nodes this task has, by the list that the service gives it.

set -eu
echo "$AZ_BATCH_HOST_LIST" | tr ',' '\n' | sort | wc -l | xargs echo nodes:
echo "first: $AZ_BATCH_IS_CURRENT_NODE_MASTER"
