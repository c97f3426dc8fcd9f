"""Events from an action."""

from __future__ import annotations

import os
import uuid
from typing import Any, Mapping, Optional

from . import _api


def emit(
    trigger: str,
    payload: "Mapping[str, Any]",
    *,
    dedup_key: Optional[str] = None,
    config: "Optional[Mapping[str, Any]]" = None,
) -> int:
    """Records an event of the trigger, and gives back its id. It is durable by then.

    A second event of the trigger with the same ``dedup_key`` is the same event, and has its id. Without one, each call makes an
    event of its own, however often its request has to be sent. ``config`` is what the ``trigger_params`` of rules are compared
    with. The action has to declare that it may create events; raises :class:`attune.ApiError`.
    """
    if not isinstance(payload, Mapping):
        raise TypeError(f"the payload is of the type {type(payload).__name__}, expected a dict")
    if dedup_key is None:
        dedup_key = f"run-{os.environ.get('ATTUNE_EXECUTION_ID', '0')}-{uuid.uuid4()}"
    body = {"trigger": trigger, "payload": dict(payload), "dedup_key": dedup_key}
    if config is not None:
        body["config"] = dict(config)
    accepted = _api.request("POST", "/api/v1/events", body=body, idempotent=True)
    return int(accepted["event"])
