"""Reports disks that fill up, once until they are emptier again."""

import shutil

from attune import PollingSensor, log


class Usage(PollingSensor):
    def setup(self):
        self.filling = set()

    def poll(self):
        for path in self.config["paths"]:
            usage = shutil.disk_usage(path)
            used = round(usage.used / usage.total, 3)
            if used < self.config["share"]:
                self.filling.discard(path)
            elif path not in self.filling:
                log.info("%s is filled to %s", path, used)
                self.emit("disks.filling", {"path": path, "used": used})
                self.filling.add(path)


if __name__ == "__main__":
    Usage.main()
