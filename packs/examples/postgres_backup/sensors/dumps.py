"""Tells of new dumps, and when there is no fresh one: one line of JSON on standard output for each."""

import glob
import json
import os
import select
import sys
import time

config = json.loads(sys.stdin.readline())
directory, limit = config["directory"], config["limit_hours"]
told, told_overdue = None, False


def tell(trigger, payload, dedup_key=None):
    print(json.dumps({"trigger": trigger, "payload": payload, "dedup_key": dedup_key}), flush=True)


while True:
    now = time.time()
    dumps = []
    for path in glob.glob(os.path.join(glob.escape(directory), config["pattern"])):
        try:
            found = os.stat(path)
        except FileNotFoundError:
            continue
        if now - found.st_mtime >= config["settled"]:
            dumps.append((found.st_mtime, path, found.st_size))
    dumps.sort()
    if dumps:
        mtime, path, size = dumps[-1]
        # A sensor that starts again tells of the same file; the key makes it the same event.
        if told != (key := f"{path} {mtime} {size}"):
            told = key
            tell("postgres_backup.written", {"path": path, "bytes": size}, key)
    age = (now - dumps[-1][0]) / 3600 if dumps else None
    if age is not None and age <= limit:
        told_overdue = False
    elif not told_overdue:
        told_overdue = True
        newest = dumps[-1][1] if dumps else None
        rounded = None if age is None else round(age, 1)
        payload = {"directory": directory, "newest": newest, "age_hours": rounded, "limit_hours": limit}
        tell("postgres_backup.overdue", payload)
    # The end of standard input says that it is over.
    if select.select([sys.stdin], [], [], config["every"])[0]:
        break
