// How many no-op workflows DBOS finishes a second from one of its queues, and how soon a lone one starts.
//
// Workflows are enqueued before a queue with this name exists; that time is told apart. The queue looks every 10 ms where its
// default is a second; how many it runs at once is not limited, which is its default.
import { readFileSync } from "node:fs";
import { DBOS } from "@dbos-inc/dbos-sdk";
import pg from "pg";

const [systemDatabaseUrl] = process.argv.slice(2);
const jobs = Number(process.env.ATTUNE_PEER_JOBS ?? 3_000);
const { version } = JSON.parse(readFileSync("node_modules/@dbos-inc/dbos-sdk/package.json"));

let onStart = () => {};
const noop = DBOS.registerWorkflow(async () => onStart(), { name: "noop" });
DBOS.setConfig({ name: "bench", systemDatabaseUrl, systemDatabasePoolSize: 20, logLevel: "error" });
await DBOS.launch();
const pool = new pg.Pool({ connectionString: systemDatabaseUrl, max: 1 });

let began = performance.now();
for (let at = 0; at < jobs; at += 20) {
  const some = Array.from({ length: Math.min(20, jobs - at) }, () => DBOS.startWorkflow(noop, { queueName: "noop" })());
  await Promise.all(some);
}
const adding = (performance.now() - began) / 1000;

began = performance.now();
await DBOS.registerQueue("noop", { minPollingIntervalMs: 10 });
await ended(jobs);
const seconds = (performance.now() - began) / 1000;

const latencies = [];
for (let i = 0; i < 100; i++) {
  const start = new Promise((resolve) => (onStart = () => resolve(performance.now())));
  const sent = performance.now();
  await DBOS.startWorkflow(noop, { queueName: "noop" })();
  latencies.push((await start) - sent);
  await new Promise((resolve) => setTimeout(resolve, 10));
}
await ended(jobs + latencies.length);
await pool.end();
await DBOS.shutdown();
latencies.sort((a, b) => a - b);
console.log(
  JSON.stringify({
    name: "DBOS, TypeScript",
    version,
    jobs,
    seconds,
    jobs_per_second: jobs / seconds,
    adding_seconds: adding,
    p50_ms: latencies[Math.ceil(latencies.length * 0.5) - 1],
    p99_ms: latencies[Math.ceil(latencies.length * 0.99) - 1],
  }),
);
process.exit(0);

async function ended(count) {
  for (;;) {
    const sql = "select count(*)::int as count from dbos.workflow_status where status = 'SUCCESS'";
    const { rows } = await pool.query(sql);
    if (rows[0].count >= count) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
