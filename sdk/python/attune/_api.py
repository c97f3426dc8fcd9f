"""The API, as the token of a run may use it."""

from __future__ import annotations

import json
import os
import random
import time
from typing import Any, Mapping, Optional

URL = "ATTUNE_API_URL"
TOKEN = "ATTUNE_API_TOKEN"
TIMEOUT = 30.0
"""Seconds that an answer may take."""
ATTEMPTS = 5
_IDEMPOTENT = ("GET", "HEAD", "PUT", "DELETE")
_PASSING = (429, 502, 503, 504)


class ApiError(Exception):
    """The API refused a request, or could not be reached.

    ``status`` is the HTTP status, None where there was no answer; ``problem`` the body of the answer (RFC 9457).
    """

    def __init__(self, message: str, *, status: Optional[int] = None, problem: "Optional[dict[str, Any]]" = None) -> None:
        super().__init__(message)
        self.status = status
        self.problem = problem or {}


class NotFound(ApiError):
    """What was asked for does not exist, or is not for this run to see."""


class Forbidden(ApiError):
    """The run's token does not allow it."""


class Conflict(ApiError):
    """Something else has changed what the request was about, or exists already."""


_KINDS = {401: Forbidden, 403: Forbidden, 404: NotFound, 409: Conflict, 412: Conflict}


def request(
    method: str,
    path: str,
    *,
    query: "Optional[Mapping[str, Any]]" = None,
    body: Any = None,
    content: Optional[bytes] = None,
    headers: "Optional[Mapping[str, str]]" = None,
    timeout: float = TIMEOUT,
    idempotent: Optional[bool] = None,
    raw: bool = False,
) -> Any:
    """One request, with ``body`` as JSON or ``content`` as it is; gives back the answer: parsed, if it is JSON
    and not to be ``raw``.

    Idempotent requests are tried again where no answer came, or one that says "later". Raises ApiError.
    """
    import urllib.error
    import urllib.parse
    import urllib.request

    base, token = os.environ.get(URL), os.environ.get(TOKEN)
    if not base or not token:
        raise ApiError(
            f"{URL} and {TOKEN} are not set: only the process of a run, or of a sensor with `permissions`, has them, and only where its worker or sensor role knows the API's address"
        )
    url = base.rstrip("/") + path
    if query:
        url += "?" + urllib.parse.urlencode({name: value for name, value in query.items() if value is not None})
    sent = {"Accept": "application/json", "User-Agent": "attune-python", "Authorization": f"Bearer {token}"}
    if body is not None:
        content = json.dumps(body, allow_nan=False).encode()
        sent["Content-Type"] = "application/json"
    sent.update(headers or {})
    again = method in _IDEMPOTENT if idempotent is None else idempotent
    attempt = 1
    while True:
        call = urllib.request.Request(url, data=content, method=method, headers=sent)
        try:
            with _opener().open(call, timeout=timeout) as answer:
                return answer.read() if raw else _read(answer)
        except urllib.error.HTTPError as error:
            failure = _refusal(method, path, error)
            later = error.code in _PASSING
            wait = _retry_after(error.headers.get("Retry-After"))
            error.close()
        except OSError as error:
            reason = getattr(error, "reason", error)
            failure = ApiError(f"{method} {path}: no answer from {base}: {reason}")
            later, wait = True, None
        if not (again and later) or attempt >= ATTEMPTS:
            raise failure from None
        # 0.2, 0.4, 0.8, 1.6 s, each half by chance.
        time.sleep(wait if wait is not None else 0.1 * 2**attempt * (0.5 + random.random() / 2))
        attempt += 1


def _opener() -> Any:
    """Follows no redirect: the token is for the API alone."""
    import urllib.request

    class NoRedirect(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: Any) -> None:
            return None

    return urllib.request.build_opener(NoRedirect)


def _read(answer: Any) -> Any:
    content = answer.read()
    kind = answer.headers.get_content_type()
    if kind == "application/json" or kind.endswith("+json"):
        return json.loads(content) if content else None
    return content


def _refusal(method: str, path: str, error: Any) -> ApiError:
    try:
        problem = json.loads(error.read())
    except (OSError, ValueError):
        problem = None
    if not isinstance(problem, dict):
        problem = {}
    detail = problem.get("detail") or problem.get("title") or error.reason
    items = [item.get("detail", "") for item in problem.get("errors", []) if isinstance(item, dict)]
    message = f"{method} {path}: {error.code}: {detail}"
    if items:
        message += ": " + "; ".join(items)
    return _KINDS.get(error.code, ApiError)(message, status=error.code, problem=problem)


def _retry_after(value: Optional[str]) -> Optional[float]:
    try:
        return min(float(value), 30.0) if value else None
    except ValueError:
        return None
