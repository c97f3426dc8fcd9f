"""Reports disks that fill up, once until they are emptier again."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from attune import PollingSensor, log


@dataclass
class Settings:
    """Those of pack.yaml."""

    paths: list[str]
    share: float
    interval: float
    count: int


class Usage(PollingSensor):
    settings: Settings

    def setup(self):
        self.interval = self.settings.interval
        self.filling = set()

    def poll(self):
        for path in self.settings.paths:
            usage = shutil.disk_usage(path)
            used = round(usage.used / usage.total, 3)
            if used < self.settings.share:
                self.filling.discard(path)
            elif path not in self.filling:
                log.info("%s is filled to %s", path, used)
                self.emit("disks.filling", {"path": path, "used": used})
                self.filling.add(path)


if __name__ == "__main__":
    Usage.main()
