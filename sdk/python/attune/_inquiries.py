"""Questions to people."""

from __future__ import annotations

import datetime
import os
import time
import uuid
from typing import Any, Mapping, NamedTuple, Optional, Union

from . import _api
from ._logging import log

WAIT = 45
"""Seconds that one request waits at the server: less than proxies are patient."""
GRACE = 15.0
"""Seconds by which its answer may be late."""
PATIENCE = 600.0
"""Seconds that the server may be out of reach while a question waits."""


class Answer(NamedTuple):
    """What somebody answered."""

    value: Any
    """As the schema asked for it: a dict of the fields, or what its ``type`` says."""
    by: Optional[str]
    """The login of who answered; None when there is no such identity any more."""
    at: datetime.datetime
    inquiry: int
    """The id of the question."""


class NotAnswered(Exception):
    """Nobody answered in time. ``inquiry`` is the id of the question."""

    def __init__(self, message: str, *, inquiry: int) -> None:
        super().__init__(message)
        self.inquiry = inquiry


class Cancelled(Exception):
    """The question was cancelled: by somebody, or with the run that asked. ``inquiry`` is its id."""

    def __init__(self, message: str, *, inquiry: int) -> None:
        super().__init__(message)
        self.inquiry = inquiry


def ask(
    prompt: str,
    *,
    schema: "Optional[Mapping[str, Any]]" = None,
    assigned_to: Optional[str] = None,
    assigned_role: Optional[str] = None,
    allow_self_approval: bool = True,
    timeout: "Union[None, float, datetime.timedelta]" = None,
) -> Answer:
    """Puts a question to people, and blocks until somebody has answered it.

    ``schema`` says what an answer holds: a map from name to specification, as the ``parameters`` of an action, or a JSON schema
    with a ``type``. ``assigned_to`` is a login and ``assigned_role`` the ref of a permission set: they may answer without a
    permission. With ``allow_self_approval=False`` whoever started the run may not. ``timeout`` is in seconds.

    Raises :class:`NotAnswered` when the time is over, :class:`Cancelled` when the question was cancelled, and
    :class:`attune.ApiError`. The action has to declare that it may create inquiries; its own timeout goes on meanwhile.
    """
    if isinstance(timeout, datetime.timedelta):
        timeout = timeout.total_seconds()
    # Sent again it is the same question.
    key = f"{os.getpid()}-{uuid.uuid4()}"
    body: "dict[str, Any]" = {"prompt": prompt, "allow_self_approval": allow_self_approval, "dedup_key": key}
    given = {"assigned_to": assigned_to, "assigned_role": assigned_role, "timeout_seconds": timeout}
    body.update({name: value for name, value in given.items() if value is not None})
    if schema is not None:
        body["response_schema"] = dict(schema)
    inquiry = _api.request("POST", "/api/v1/inquiries", body=body, idempotent=True)
    log.info("inquiry %s waits for an answer: %s", inquiry["id"], prompt)
    while inquiry["status"] == "pending":
        inquiry = _next(inquiry["id"])
    return _outcome(inquiry)


def _next(inquiry: int) -> Any:
    """The inquiry as it is when it has ended, or after a while. A server that starts again meanwhile is waited for."""
    until = time.monotonic() + PATIENCE
    pause = 1.0
    while True:
        began = time.monotonic()
        try:
            found = _api.request("GET", f"/api/v1/inquiries/{inquiry}", query={"wait": WAIT}, timeout=WAIT + GRACE)
        except _api.ApiError as error:
            passing = error.status is None or error.status >= 500 or error.status == 429
            if not passing or time.monotonic() > until:
                raise
            log.warning("inquiry %s is asked for again in %.0f s: %s", inquiry, pause, error)
            time.sleep(pause)
            pause = min(pause * 2, 15.0)
            continue
        if found["status"] == "pending" and time.monotonic() - began < 1.0:
            # It did not wait, as a server that stops does not.
            time.sleep(1.0)
        return found


def _outcome(inquiry: "dict[str, Any]") -> Answer:
    status, id = inquiry["status"], inquiry["id"]
    if status == "responded":
        return Answer(inquiry["response"], inquiry["responded_by"], _moment(inquiry["responded_at"]), id)
    if status == "timeout":
        raise NotAnswered(f"inquiry {id} was not answered in time", inquiry=id)
    raise Cancelled(f"inquiry {id} was {status}", inquiry=id)


def _moment(text: str) -> datetime.datetime:
    """A time of the API. Python before 3.11 reads neither a ``Z`` nor any number of digits."""
    text = text.replace("Z", "+00:00")
    whole, point, rest = text.partition(".")
    if point:
        digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
        text = f"{whole}.{digits[:6]:0<6}{rest[len(digits):]}"
    return datetime.datetime.fromisoformat(text)
