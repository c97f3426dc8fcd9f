"""How many no-op jobs procrastinate finishes a second, and how soon a lone job starts.

Jobs are asynchronous functions, run by one worker with the concurrency given. They are added in batches before the clock
starts; that time is told apart.
"""

import asyncio
import json
import math
import os
import sys
import time
from importlib.metadata import version

import procrastinate

JOBS = int(os.environ.get("ATTUNE_PEER_JOBS", "3000"))
BATCH = 500
CONCURRENCY = 20

app = procrastinate.App(
    connector=procrastinate.PsycopgConnector(conninfo=sys.argv[1], min_size=4, max_size=CONCURRENCY + 4)
)
started = 0
all_started = asyncio.Event()
on_start = None


@app.task(name="noop")
async def noop(number):
    global started
    started += 1
    if started >= JOBS:
        all_started.set()
    if on_start is not None and not on_start.done():
        on_start.set_result(time.perf_counter())


async def ended(count):
    statement = "select count(*) as count from procrastinate_jobs where status = 'succeeded'"
    while (await app.connector.execute_query_one_async(statement))["count"] < count:
        await asyncio.sleep(0.005)


async def main():
    global on_start
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        began = time.perf_counter()
        for at in range(0, JOBS, BATCH):
            await noop.batch_defer_async(*({"number": n} for n in range(at, min(at + BATCH, JOBS))))
        adding = time.perf_counter() - began

        began = time.perf_counter()
        worker = asyncio.create_task(
            app.run_worker_async(concurrency=CONCURRENCY, install_signal_handlers=False, wait=True)
        )
        await all_started.wait()
        await ended(JOBS)
        seconds = time.perf_counter() - began

        latencies = []
        for number in range(200):
            on_start = asyncio.get_running_loop().create_future()
            sent = time.perf_counter()
            await noop.defer_async(number=number)
            latencies.append((await on_start - sent) * 1000)
            await asyncio.sleep(0.01)
        worker.cancel()
        try:
            await worker
        except asyncio.CancelledError:
            pass
    latencies.sort()

    def at(share):
        return latencies[math.ceil(len(latencies) * share) - 1]

    print(
        json.dumps(
            {
                "name": "procrastinate",
                "version": version("procrastinate"),
                "jobs": JOBS,
                "seconds": seconds,
                "jobs_per_second": JOBS / seconds,
                "adding_seconds": adding,
                "p50_ms": at(0.5),
                "p99_ms": at(0.99),
            }
        )
    )


asyncio.run(main())
