"""How many no-op workflows DBOS finishes a second from one of its queues, and how soon a lone one starts.

Workflows are enqueued before the queue is listened to; that time is told apart. The queue looks every 10 ms where its default
is a second; how many it runs at once is not limited, which is its default.
"""

import json
import math
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version

import psycopg
from dbos import DBOS

JOBS = int(os.environ.get("ATTUNE_PEER_JOBS", "2000"))
URL = sys.argv[1]

DBOS(config={"name": "bench", "system_database_url": URL, "sys_db_pool_size": 20, "log_level": "ERROR"})
on_start = threading.Event()
started_at = 0.0


@DBOS.workflow()
def noop():
    global started_at
    started_at = time.perf_counter()
    on_start.set()


def ended(connection, count):
    statement = "select count(*) from dbos.workflow_status where status = 'SUCCESS'"
    while connection.execute(statement).fetchone()[0] < count:
        time.sleep(0.02)


def main():
    DBOS.launch()
    with psycopg.connect(URL, autocommit=True) as connection:
        began = time.perf_counter()
        with ThreadPoolExecutor(max_workers=16) as pool:
            list(pool.map(lambda _: DBOS.enqueue_workflow("noop", noop), range(JOBS)))
        adding = time.perf_counter() - began

        began = time.perf_counter()
        DBOS.register_queue("noop", polling_interval_sec=0.01)
        ended(connection, JOBS)
        seconds = time.perf_counter() - began

        latencies = []
        for _ in range(100):
            on_start.clear()
            sent = time.perf_counter()
            DBOS.enqueue_workflow("noop", noop)
            on_start.wait()
            latencies.append((started_at - sent) * 1000)
            time.sleep(0.01)
        ended(connection, JOBS + len(latencies))
    DBOS.destroy()
    latencies.sort()

    def at(share):
        return latencies[math.ceil(len(latencies) * share) - 1]

    print(
        json.dumps(
            {
                "name": "DBOS, Python",
                "version": version("dbos"),
                "jobs": JOBS,
                "seconds": seconds,
                "jobs_per_second": JOBS / seconds,
                "adding_seconds": adding,
                "p50_ms": at(0.5),
                "p99_ms": at(0.99),
            }
        ),
        flush=True,
    )


main()
