// A program that knows nothing of batchspec: the JavaScript SDK, @azure/batch 10.2.
//
//     node client.cjs look POOL JOB     // what a run left behind, as JSON
//     node client.cjs trip              // pool, job, tasks and files, there and back
//
// The account comes as AZURE_BATCH_URL, AZURE_BATCH_ACCOUNT and AZURE_BATCH_KEY.
"use strict";

const { BatchServiceClient, BatchSharedKeyCredentials } = require("@azure/batch");

const PATIENCE = 30_000;
const lower = (text) => text.toLowerCase();
const wait = () => new Promise((resolve) => setTimeout(resolve, 50));

function connect() {
  const { AZURE_BATCH_URL, AZURE_BATCH_ACCOUNT, AZURE_BATCH_KEY } = process.env;
  const credentials = new BatchSharedKeyCredentials(AZURE_BATCH_ACCOUNT, AZURE_BATCH_KEY);
  return new BatchServiceClient(credentials, AZURE_BATCH_URL);
}

async function read(reply) {
  const parts = [];
  for await (const part of reply.readableStreamBody) parts.push(part);
  return Buffer.concat(parts).toString("utf8");
}

async function all(list, listNext) {
  const found = [];
  let page = await list();
  for (;;) {
    found.push(...page);
    if (!page.odatanextLink) return found;
    page = await listNext(page.odatanextLink);
  }
}

async function look(client, poolId, jobId) {
  const tasks = await all(
    () => client.task.list(jobId, { taskListOptions: { maxResults: 2 } }),
    (link) => client.task.listNext(link),
  );
  const stdout = [];
  for (const task of tasks) {
    stdout.push(await read(await client.file.getFromTask(jobId, task.id, "stdout.txt")));
  }
  return {
    pools: (await client.pool.list()).map((pool) => pool.id),
    nodes: (await client.computeNode.list(poolId)).map((node) => node.state),
    jobs: (await client.job.list()).map((job) => [job.id, job.state]),
    tasks: tasks.map((task) => [task.id, task.state, task.executionInfo.exitCode]),
    stdout,
  };
}

async function refusal(promise) {
  try {
    await promise;
  } catch (error) {
    return [error.statusCode, error.body ? error.body.code : null];
  }
  return null;
}

async function there(client, poolId) {
  return (await client.pool.exists(poolId)).body;
}

async function trip(client) {
  const said = {};
  await client.pool.add({
    id: "peer",
    vmSize: "standard_d2s_v3",
    targetDedicatedNodes: 1,
    taskSlotsPerNode: 2,
    virtualMachineConfiguration: {
      imageReference: {
        publisher: "canonical",
        offer: "0001-com-ubuntu-server-jammy",
        sku: "22_04-lts",
        version: "latest",
      },
      nodeAgentSKUId: "batch.node.ubuntu 22.04",
    },
    startTask: { commandLine: "/bin/sh -c 'echo ready'", waitForSuccess: true },
    metadata: [{ name: "made-by", value: "a peer" }],
  });
  said.pool_there = await there(client, "peer");
  said.pool_absent = await there(client, "nobody");
  const job = { id: "peer", poolInfo: { poolId: "peer" } };
  await client.job.add(job);
  said.again = (await refusal(client.job.add(job)))[1];
  const added = await client.task.addCollection("peer", [
    { id: "good", commandLine: "/bin/sh -c 'echo naïve; echo x > out.txt'" },
    { id: "bad", commandLine: "/bin/sh -c 'echo why >&2; exit 3'" },
  ]);
  // This SDK hands out words as the service writes them; azure-batch 14.2 lowers them.
  said.added = added.value.map((result) => [result.taskId, lower(result.status)]).sort();
  const refused = await client.task.addCollection("peer", [{ id: "a b", commandLine: "true" }]);
  said.refused = refused.value.map((result) => result.error.code);
  const end = Date.now() + PATIENCE;
  while ((await client.job.getTaskCounts("peer")).taskCounts.completed < 2) {
    if (Date.now() > end) throw new Error("the tasks did not end");
    await wait();
  }
  const ended = await client.task.list("peer", {
    taskListOptions: { filter: "state eq 'completed'", select: "id,executionInfo" },
  });
  said.ended = Object.fromEntries(
    ended.map((task) => [task.id, [task.executionInfo.result, task.executionInfo.exitCode]]),
  );
  const { failureInfo } = (await client.task.get("peer", "bad")).executionInfo;
  said.failure = [lower(failureInfo.category), failureInfo.code];
  said.stdout = await read(await client.file.getFromTask("peer", "good", "stdout.txt"));
  said.part = await read(
    await client.file.getFromTask("peer", "bad", "stderr.txt", {
      fileGetFromTaskOptions: { ocpRange: "bytes=0-1" },
    }),
  );
  const files = await client.file.listFromTask("peer", "good", { recursive: true });
  said.files = files.filter((file) => !file.isDirectory).map((file) => file.name).sort();
  const properties = await client.file.getPropertiesFromTask("peer", "good", "wd/out.txt");
  said.size = properties.contentLength;
  await client.file.deleteFromTask("peer", "good", "wd/out.txt");
  const gone = client.file.getPropertiesFromTask("peer", "good", "wd/out.txt");
  said.deleted = (await refusal(gone))[0];
  const { eTag } = await client.job.get("peer");
  const matching = { jobPatchOptions: { ifMatch: eTag } };
  await client.job.patch("peer", { priority: 7 }, matching);
  said.overtaken = await refusal(client.job.patch("peer", { priority: 8 }, matching));
  said.priority = (await client.job.get("peer")).priority;
  await client.job.terminate("peer");
  await client.job.deleteMethod("peer");
  await client.pool.deleteMethod("peer");
  while (await there(client, "peer")) {
    if (Date.now() > end) throw new Error("the pool did not go");
    await wait();
  }
  said.pools = (await client.pool.list()).map((pool) => pool.id);
  return said;
}

const [action, ...parameters] = process.argv.slice(2);
({ look, trip })[action](connect(), ...parameters).then(
  (said) => console.log(JSON.stringify(said)),
  (error) => {
    console.error(error);
    process.exitCode = 1;
  },
);
