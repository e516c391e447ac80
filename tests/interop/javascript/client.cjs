// A program without batchspec that uses the JavaScript SDK, @azure/batch 8 or 10.
//
//     node client.cjs show POOL JOB     // resources and outputs of a run, as JSON
//     node client.cjs run               // run a job with tasks and print the results
//
// The account is in AZURE_BATCH_URL, AZURE_BATCH_ACCOUNT and AZURE_BATCH_KEY.
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

async function show(client, poolId, jobId) {
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

async function exists(client, poolId) {
  return (await client.pool.exists(poolId)).body;
}

async function run(client) {
  const result = { version: client.apiVersion };
  await client.pool.add({
    id: "interop",
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
    metadata: [{ name: "made-by", value: "interop test" }],
  });
  result.slots = (await client.pool.get("interop")).taskSlotsPerNode;
  result.pool_exists = await exists(client, "interop");
  result.missing_pool_exists = await exists(client, "missing");
  const job = { id: "interop", poolInfo: { poolId: "interop" } };
  await client.job.add(job);
  result.again = (await refusal(client.job.add(job)))[1];
  const added = await client.task.addCollection("interop", [
    { id: "good", commandLine: "/bin/sh -c 'echo naïve; echo x > out.txt'" },
    { id: "bad", commandLine: "/bin/sh -c 'echo why >&2; exit 3'" },
  ]);
  // This SDK returns enum values as the service writes them; azure-batch 14.2 converts them to lower case.
  result.added = added.value.map((item) => [item.taskId, lower(item.status)]).sort();
  const refused = await client.task.addCollection("interop", [{ id: "a b", commandLine: "true" }]);
  result.refused = refused.value.map((item) => item.error.code);
  const end = Date.now() + PATIENCE;
  while ((await client.job.getTaskCounts("interop")).taskCounts.completed < 2) {
    if (Date.now() > end) throw new Error("the tasks did not end");
    await wait();
  }
  const ended = await client.task.list("interop", {
    taskListOptions: { filter: "state eq 'completed'", select: "id,executionInfo" },
  });
  result.ended = Object.fromEntries(
    ended.map((task) => [task.id, [task.executionInfo.result, task.executionInfo.exitCode]]),
  );
  const { failureInfo } = (await client.task.get("interop", "bad")).executionInfo;
  result.failure = [lower(failureInfo.category), failureInfo.code];
  result.stdout = await read(await client.file.getFromTask("interop", "good", "stdout.txt"));
  result.part = await read(
    await client.file.getFromTask("interop", "bad", "stderr.txt", {
      fileGetFromTaskOptions: { ocpRange: "bytes=0-1" },
    }),
  );
  const files = await client.file.listFromTask("interop", "good", { recursive: true });
  result.files = files.filter((file) => !file.isDirectory).map((file) => file.name).sort();
  const properties = await client.file.getPropertiesFromTask("interop", "good", "wd/out.txt");
  result.size = properties.contentLength;
  await client.file.deleteFromTask("interop", "good", "wd/out.txt");
  const gone = client.file.getPropertiesFromTask("interop", "good", "wd/out.txt");
  result.deleted = (await refusal(gone))[0];
  const { eTag } = await client.job.get("interop");
  const matching = { jobPatchOptions: { ifMatch: eTag } };
  await client.job.patch("interop", { priority: 7 }, matching);
  result.overtaken = await refusal(client.job.patch("interop", { priority: 8 }, matching));
  result.priority = (await client.job.get("interop")).priority;
  await client.job.terminate("interop");
  await client.job.deleteMethod("interop");
  await client.pool.deleteMethod("interop");
  while (await exists(client, "interop")) {
    if (Date.now() > end) throw new Error("the pool was not deleted");
    await wait();
  }
  result.pools = (await client.pool.list()).map((pool) => pool.id);
  return result;
}

const [action, ...parameters] = process.argv.slice(2);
({ show, run })[action](connect(), ...parameters).then(
  (result) => console.log(JSON.stringify(result)),
  (error) => {
    console.error(error);
    process.exitCode = 1;
  },
);
