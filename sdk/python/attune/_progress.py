"""How far a run has come."""

from __future__ import annotations

import os
from typing import Any, Mapping, Optional

from . import _api
from ._logging import log


def progress(
    percent: Optional[float] = None,
    message: Optional[str] = None,
    *,
    steps: "Optional[Mapping[str, str]]" = None,
) -> None:
    """Says how far this run has come, to whoever looks at it; what was said before is replaced.

    ``percent`` is 0 to 100, ``message`` what it does now, ``steps`` the status of each: ``pending``, ``running``, ``done``,
    ``failed`` or ``skipped``. Values of keys and secret parameters are masked in it. Where the API cannot be reached, that is
    logged, and the run goes on; :class:`attune.ApiError` is raised for what the API refuses.
    """
    execution = os.environ.get("ATTUNE_EXECUTION_ID")
    if not execution:
        raise _api.ApiError("ATTUNE_EXECUTION_ID is not set: only the process of a run makes progress")
    body: "dict[str, Any]" = {}
    if percent is not None:
        body["percent"] = percent
    if message is not None:
        body["message"] = message
    if steps is not None:
        body["steps"] = [{"name": name, "status": status} for name, status in steps.items()]
    try:
        # Once, and soon: the next one says more than this one again.
        _api.request("PUT", f"/api/v1/executions/{execution}/progress", body=body, idempotent=False, timeout=5.0)
    except _api.ApiError as error:
        if error.status is not None and error.status < 500 and error.status != 429:
            raise
        log.warning("progress was not told: %s", error)
