"""Tells of file systems that pass a limit, and once more of those that pass the one from which on files are removed."""

import os
import socket

from attune import PollingSensor, log


class Filesystems(PollingSensor):
    def setup(self):
        self.interval = self.settings["every"]
        self.levels = sorted({self.settings["limit"], self.settings["clean_at"]})
        self.again_below = self.settings["again_below"]
        if self.again_below > self.levels[0]:
            raise ValueError(f"again_below is {self.again_below}, expected {self.levels[0]} at most, from which on it is told")
        self.host = socket.gethostname()
        # How many of the levels were told, by device.
        self.told = {}
        self.unreadable = set()

    def poll(self):
        seen = set()
        for mount in self.settings["mounts"]:
            try:
                device, stat = os.stat(mount).st_dev, os.statvfs(mount)
                self.unreadable.discard(mount)
            except OSError as error:
                if mount not in self.unreadable:
                    self.unreadable.add(mount)
                    log.warning("%s cannot be looked at: %s", mount, error.strerror)
                continue
            # Several of the directories may be on one file system, and some have no size.
            if device in seen or stat.f_blocks == 0:
                continue
            seen.add(device)
            # As df counts: what only root may use is neither free nor in use.
            in_use = stat.f_blocks - stat.f_bfree
            used = in_use / max(in_use + stat.f_bavail, 1)
            passed = sum(used >= level for level in self.levels)
            if used < self.again_below:
                self.told.pop(device, None)
            elif passed > self.told.get(device, 0):
                payload = {
                    "host": self.host,
                    "mount": mount,
                    "used": round(used, 4),
                    "free_bytes": stat.f_bavail * stat.f_frsize,
                    "size_bytes": stat.f_blocks * stat.f_frsize,
                }
                self.emit("disk_full.filling", payload)
                self.told[device] = passed


if __name__ == "__main__":
    Filesystems.main()
