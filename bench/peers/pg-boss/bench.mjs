// How many no-op jobs pg-boss finishes a second, and how soon a lone job starts.
//
// `single`: each of ten workers takes and ends one job at a time. `batched`: two of them take five hundred at a time. While
// there is a backlog, a worker looks again at once, and NOTIFY wakes those that wait: the settings of its documentation for
// throughput. Jobs are added in batches before the clock starts; that time is told apart.
import { readFileSync } from "node:fs";
import { PgBoss } from "pg-boss";

const [connectionString, mode] = process.argv.slice(2);
const batched = mode === "batched";
const jobs = Number(process.env.ATTUNE_PEER_JOBS ?? (batched ? 40_000 : 6_000));
const BATCH = 500;
const { version } = JSON.parse(readFileSync("node_modules/pg-boss/package.json"));
const boss = new PgBoss({
  connectionString,
  max: 20,
  useListenNotify: true,
  // How soon a backlog is known of.
  superviseIntervalSeconds: 1,
  monitorIntervalSeconds: 1,
  queueCacheIntervalSeconds: 1,
});
boss.on("error", (error) => {
  console.error(error);
  process.exit(1);
});
await boss.start();
await boss.createQueue("noop", { notify: true });

let started = 0;
let onStart = () => {};
let finish;
const finished = new Promise((resolve) => (finish = resolve));
const handler = async (some) => {
  started += some.length;
  if (started >= jobs) finish();
  onStart();
};

let began = performance.now();
for (let at = 0; at < jobs; at += BATCH) {
  const some = Array.from({ length: Math.min(BATCH, jobs - at) }, (_, i) => ({ data: { number: at + i } }));
  await boss.insert("noop", some);
}
const adding = (performance.now() - began) / 1000;

const options = batched
  ? { batchSize: BATCH, localConcurrency: 2, burstWhenBatchFull: true, pollingIntervalSeconds: 0.5 }
  : { batchSize: 1, localConcurrency: 10, burstWhenReadyExceeds: 1, pollingIntervalSeconds: 0.5 };
// The backlog is found by the statistics of its maintenance, which a worker must not have to wait for.
while (!batched && !((await boss.getQueue("noop"))?.readyCount > 1)) {
  await new Promise((resolve) => setTimeout(resolve, 100));
}
await new Promise((resolve) => setTimeout(resolve, 1500));

began = performance.now();
await boss.work("noop", options, handler);
await finished;
await ended(jobs);
const seconds = (performance.now() - began) / 1000;

const latencies = [];
for (let i = 0; i < 200; i++) {
  const start = new Promise((resolve) => (onStart = () => resolve(performance.now())));
  const sent = performance.now();
  await boss.send("noop", { number: i });
  latencies.push((await start) - sent);
  await new Promise((resolve) => setTimeout(resolve, 10));
}
await boss.stop();
latencies.sort((a, b) => a - b);
console.log(
  JSON.stringify({
    name: batched ? "pg-boss, batched" : "pg-boss",
    version,
    jobs,
    seconds,
    jobs_per_second: jobs / seconds,
    adding_seconds: adding,
    p50_ms: latencies[Math.ceil(latencies.length * 0.5) - 1],
    p99_ms: latencies[Math.ceil(latencies.length * 0.99) - 1],
  }),
);

async function ended(count) {
  for (;;) {
    const sql = "select count(*)::int as count from pgboss.job where state = 'completed'";
    const { rows } = await boss.getDb().executeSql(sql);
    if (rows[0].count >= count) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
