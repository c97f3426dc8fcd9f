// How many no-op jobs graphile-worker finishes a second, and how soon a lone job starts.
//
// `single`: each worker takes and ends one job at a time. `batched`: the settings that its documentation gives for throughput,
// a local queue and ends in batches. Jobs are added in batches before the clock starts; that time is told apart.
import { readFileSync } from "node:fs";
import { EventEmitter } from "node:events";
import { Logger, makeWorkerUtils, run } from "graphile-worker";
import pg from "pg";

const [connectionString, mode] = process.argv.slice(2);
const batched = mode === "batched";
const jobs = Number(process.env.ATTUNE_PEER_JOBS ?? (batched ? 100_000 : 15_000));
const BATCH = 500;
const { version } = JSON.parse(readFileSync("node_modules/graphile-worker/package.json"));
const logger = new Logger(() => () => {});
const pool = new pg.Pool({ connectionString, max: 30 });
const utils = await makeWorkerUtils({ pgPool: pool, logger });
await utils.migrate();

let started = 0;
let onStart = () => {};
let left = jobs;
let finish;
const finished = new Promise((resolve) => (finish = resolve));
const events = new EventEmitter();
const preset = {
  worker: {
    concurrentJobs: 24,
    maxPoolSize: 26,
    ...(batched ? { localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 } : {}),
  },
};
const taskList = {
  noop: () => {
    started += 1;
    if (started >= left) finish();
    onStart();
  },
};

let began = performance.now();
for (let at = 0; at < jobs; at += BATCH) {
  const some = Array.from({ length: Math.min(BATCH, jobs - at) }, (_, i) => ({
    identifier: "noop",
    payload: { number: at + i },
  }));
  await utils.addJobs(some);
}
const adding = (performance.now() - began) / 1000;

began = performance.now();
const runner = await run({ preset, pgPool: pool, taskList, logger, events, noHandleSignals: true });
await finished;
await gone();
const seconds = (performance.now() - began) / 1000;

const latencies = [];
for (let i = 0; i < 200; i++) {
  const start = new Promise((resolve) => (onStart = () => resolve(performance.now())));
  const sent = performance.now();
  await utils.addJob("noop", { number: i });
  latencies.push((await start) - sent);
  await new Promise((resolve) => setTimeout(resolve, 10));
}
await gone();
await runner.stop();
await utils.release();
await pool.end();
latencies.sort((a, b) => a - b);
console.log(
  JSON.stringify({
    name: batched ? "graphile-worker, batched" : "graphile-worker",
    version,
    jobs,
    seconds,
    jobs_per_second: jobs / seconds,
    adding_seconds: adding,
    p50_ms: latencies[Math.ceil(latencies.length * 0.5) - 1],
    p99_ms: latencies[Math.ceil(latencies.length * 0.99) - 1],
  }),
);

// Ended jobs are removed.
async function gone() {
  for (;;) {
    const { rows } = await pool.query("select exists (select from graphile_worker._private_jobs) as some");
    if (!rows[0].some) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
