"""Tells of new dumps, and when there is no fresh one."""

import glob
import os
import time

from attune import PollingSensor


class Dumps(PollingSensor):
    def setup(self):
        self.interval = self.settings["every"]
        self.told = None
        self.told_overdue = False

    def poll(self):
        now = time.time()
        dumps = sorted(self.finished(now))
        if dumps:
            mtime, path, size = dumps[-1]
            # A sensor that starts again tells of the same file; the key makes it the same event.
            key = f"{path} {mtime} {size}"
            if self.told != key:
                self.emit("postgres_backup.written", {"path": path, "bytes": size}, dedup_key=key)
                self.told = key
        age = (now - dumps[-1][0]) / 3600 if dumps else None
        limit = self.settings["limit_hours"]
        if age is not None and age <= limit:
            self.told_overdue = False
        elif not self.told_overdue:
            payload = {
                "directory": self.settings["directory"],
                "newest": dumps[-1][1] if dumps else None,
                "age_hours": None if age is None else round(age, 1),
                "limit_hours": limit,
            }
            self.emit("postgres_backup.overdue", payload)
            self.told_overdue = True

    def finished(self, now):
        """Dumps that nobody writes to any more, with time and size."""
        for path in glob.glob(os.path.join(glob.escape(self.settings["directory"]), self.settings["pattern"])):
            try:
                found = os.stat(path)
            except FileNotFoundError:
                continue
            if now - found.st_mtime >= self.settings["settled"]:
                yield found.st_mtime, path, found.st_size


if __name__ == "__main__":
    Dumps.main()
