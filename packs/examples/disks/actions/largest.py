"""Finds the largest directories below a path, each with the files that lie in it directly."""

import heapq
import os

from attune import Failure, action


@action
def largest(path: str, count: int = 10) -> dict:
    if not os.path.isdir(path):
        raise Failure(f"{path} is no directory on this machine")
    sizes = []
    device = os.stat(path).st_dev
    for directory, below, files in os.walk(path):
        # Other disks are not what fills this one.
        below[:] = [name for name in below if on(device, os.path.join(directory, name))]
        size = sum(size_of(os.path.join(directory, name)) for name in files)
        heapq.heappush(sizes, (size, directory))
        if len(sizes) > count:
            heapq.heappop(sizes)
    return {"largest": [{"directory": name, "bytes": size} for size, name in sorted(sizes, reverse=True)]}


def on(device: int, path: str) -> bool:
    try:
        return os.lstat(path).st_dev == device
    except OSError:
        return False


def size_of(path: str) -> int:
    try:
        return os.lstat(path).st_blocks * 512
    except OSError:
        return 0


if __name__ == "__main__":
    largest.run()
