"""Logging to standard error, which is the log of a run."""

from __future__ import annotations

import logging
import os

__all__ = ["log", "set_up"]

log = logging.getLogger("attune")
"""A logger to use as it is. Its level is INFO, or what ``ATTUNE_LOG_LEVEL`` says."""


def set_up(level: "int | str | None" = None) -> None:
    """Sends what is logged to standard error, once; a program that has set up logging itself is left alone.

    ``level`` is that of the root logger; without one it is ``ATTUNE_LOG_LEVEL``, and without that INFO.
    """
    root = logging.getLogger()
    if root.handlers:
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S"))
    root.addHandler(handler)
    wanted = level if level is not None else os.environ.get("ATTUNE_LOG_LEVEL", "INFO")
    try:
        root.setLevel(wanted.upper() if isinstance(wanted, str) else wanted)
    except ValueError:
        root.setLevel(logging.INFO)
        log.warning("%r is no level of logging, expected DEBUG, INFO, WARNING or ERROR; INFO is used", wanted)
