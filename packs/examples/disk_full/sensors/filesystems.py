"""Tells of file systems that pass a limit: one line of JSON on standard output for each."""

import json
import os
import select
import socket
import sys

config = json.loads(sys.stdin.readline())
limit, again_below, every = config["limit"], config["again_below"], config["every"]
host = socket.gethostname()
told, unreadable = set(), set()

while True:
    seen = set()
    for mount in config["mounts"]:
        try:
            device, stat = os.stat(mount).st_dev, os.statvfs(mount)
            unreadable.discard(mount)
        except OSError as error:
            if mount not in unreadable:
                unreadable.add(mount)
                print(f"{mount} cannot be looked at: {error.strerror}", file=sys.stderr, flush=True)
            continue
        # Several of the directories may be on one file system, and some have no size.
        if device in seen or stat.f_blocks == 0:
            continue
        seen.add(device)
        # As df counts: what only root may use is neither free nor in use.
        in_use = stat.f_blocks - stat.f_bfree
        used = in_use / max(in_use + stat.f_bavail, 1)
        if used < again_below:
            told.discard(device)
        elif used >= limit and device not in told:
            told.add(device)
            payload = {
                "host": host,
                "mount": mount,
                "used": round(used, 4),
                "free_bytes": stat.f_bavail * stat.f_frsize,
                "size_bytes": stat.f_blocks * stat.f_frsize,
            }
            print(json.dumps({"trigger": "disk_full.filling", "payload": payload}), flush=True)
    # The end of standard input says that it is over.
    if select.select([sys.stdin], [], [], every)[0]:
        break
