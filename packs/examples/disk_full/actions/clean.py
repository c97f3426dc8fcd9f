"""Removes old files of directories, and says which."""

import fnmatch
import json
import os
import stat
import sys
import time

# Each file is named in the result up to this many; all are counted.
NAMED = 1000
# No directory that a slip of the pen must not empty.
REFUSED = {"/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/proc", "/root", "/run", "/sbin", "/sys", "/usr", "/var"}

parameters = json.load(sys.stdin)
newest = time.time() - parameters["older_than_hours"] * 3600
directories = []
for given in parameters["directories"]:
    directory = os.path.normpath(given)
    if directory in REFUSED or os.path.realpath(directory) in REFUSED:
        sys.exit(f"{given} is a directory of the system: name those below it that may be cleaned")
    if not os.path.isdir(directory):
        sys.exit(f"{given} is not a directory")
    directories.append(directory)


def free_bytes(directory):
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize


def old_files(directory):
    """Regular files below it that match, with time and size."""
    device = os.stat(directory).st_dev
    for path, names, files in os.walk(directory, followlinks=False):
        names[:] = [name for name in names if os.lstat(os.path.join(path, name)).st_dev == device]
        for name in files:
            if not any(fnmatch.fnmatchcase(name, pattern) for pattern in parameters["patterns"]):
                continue
            file = os.path.join(path, name)
            try:
                found = os.lstat(file)
            except FileNotFoundError:
                continue
            if stat.S_ISREG(found.st_mode) and found.st_dev == device and found.st_mtime <= newest:
                # What it takes on disk, which is what is freed; a file with another name frees nothing.
                taken = found.st_blocks * 512 if found.st_nlink == 1 else 0
                yield found.st_mtime, file, taken, found.st_ino


before = {directory: free_bytes(directory) for directory in directories}
candidates = sorted({entry for directory in directories for entry in old_files(directory)})
removed, failed, freed = [], [], 0
for mtime, file, taken, inode in candidates:
    if len(removed) >= parameters["most_files"] or 0 < parameters["free_bytes"] <= freed:
        break
    if not parameters["dry_run"]:
        try:
            now = os.lstat(file)
            # Changed or replaced since it was found: no longer what was meant.
            if now.st_ino != inode or now.st_mtime != mtime:
                continue
            os.unlink(file)
        except OSError as error:
            failed.append({"path": file, "error": error.strerror})
            continue
    freed += taken
    removed.append({"path": file, "bytes": taken, "age_hours": round((time.time() - mtime) / 3600, 1)})

print(
    json.dumps(
        {
            "dry_run": parameters["dry_run"],
            "found": len(candidates),
            "removed": 0 if parameters["dry_run"] else len(removed),
            "freed_bytes": 0 if parameters["dry_run"] else freed,
            "would_free_bytes": freed,
            "files": removed[:NAMED],
            "failed": failed[:NAMED],
            "free_bytes_before": before,
            "free_bytes_after": {directory: free_bytes(directory) for directory in directories},
        }
    )
)
if failed:
    sys.exit(f"{len(failed)} of {len(candidates)} files could not be removed")
