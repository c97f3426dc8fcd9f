"""Keeps standard output for results: what is printed meanwhile goes to standard error, which is the log of a run."""

from __future__ import annotations

import os
import sys
import threading
from typing import Optional


class Output:
    """What standard output was, for results alone."""

    def __init__(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        self._fd = os.dup(1)
        # Also for what other programs print that are started from here.
        os.dup2(2, 1)
        reconfigure = getattr(sys.stdout, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(line_buffering=True)
        self._lock = threading.Lock()

    def write(self, text: str) -> None:
        """Writes all of it, or raises OSError."""
        rest = memoryview(text.encode("utf-8", "surrogatepass"))
        with self._lock:
            while rest:
                rest = rest[os.write(self._fd, rest) :]


_output: Optional[Output] = None


def claim() -> Output:
    """Takes standard output for results; the same object each time."""
    global _output
    if _output is None:
        _output = Output()
    return _output
