"""Keys: an action reads those that its definition names, may set and remove keys, find out which there are, and read those that are
no secrets.

The values of secrets were given to the process when it began (``keys: [ops.token]`` in the action), so that Attune knows them all,
and hides them in what the action prints. No call fetches the value of another secret.
"""

from __future__ import annotations

import json
import os
import urllib.parse
from typing import Dict, List, Optional, TypeVar, Union, overload

from . import _api

__all__ = ["get", "names", "read", "remove", "set"]

VARIABLE = "ATTUNE_KEYS"

_D = TypeVar("_D")


class _Unset:
    """No default was given: None is one."""


_UNSET = _Unset()


@overload
def get(ref: str) -> str: ...


@overload
def get(ref: str, default: _D) -> Union[str, _D]: ...


def get(ref: str, default: object = _UNSET) -> object:
    """The value of a key that the action names in its definition::

        keys:
          - ops.token
          - {ref: ops.proxy, required: false}

    A key with ``required: false`` may have no value: then ``default`` is given back, and :class:`attune.NotFound` raised without
    one. A key that the action does not name raises LookupError, whatever the default: it would never have a value.
    """
    values = _values()
    if ref not in values:
        raise LookupError(_undeclared(ref, values))
    value = values[ref]
    if value is not None:
        return value
    if isinstance(default, _Unset):
        raise _api.NotFound(f"the key {ref} has no value: set it with `attune key set {ref}`")
    return default


@overload
def read(ref: str) -> str: ...


@overload
def read(ref: str, default: _D) -> Union[str, _D]: ...


def read(ref: str, default: object = _UNSET) -> object:
    """The value that a key has now, over the API, if it is no secret; no action has to name it, and a sensor may read it too. It takes
    the permission ``read`` on ``key``.

    Where there is no such key, ``default`` is given back, and :class:`attune.NotFound` raised without one. A secret raises LookupError,
    whatever the default.
    """
    try:
        key = _api.request("GET", _path(ref))
    except _api.NotFound:
        if isinstance(default, _Unset):
            raise
        return default
    if key["secret"]:
        raise LookupError(f"the key {ref} is a secret, which no call fetches: name it in the action, `keys: [{ref}]`, and get() gives it")
    return key["value"]


def set(ref: str, value: str, *, secret: Optional[bool] = None) -> None:
    """Sets the key ``pack.name``; an older value is replaced. :func:`get` goes on giving the one that the process began with.

    With ``secret=False`` whoever may read the key sees the value, and it is masked nowhere. Unless said, a key stays what it is, and a
    new one is a secret.
    """
    if not isinstance(value, str):
        raise TypeError(f"the value is of the type {type(value).__name__}, expected a str")
    body: Dict[str, object] = {"value": value}
    if secret is not None:
        body["secret"] = secret
    _api.request("PUT", _path(ref), body=body)


def remove(ref: str) -> None:
    """Removes the key. Raises :class:`attune.NotFound` if there is none."""
    _api.request("DELETE", _path(ref))


def names() -> List[str]:
    """The refs of all keys."""
    return [key["ref"] for key in _api.request("GET", "/api/v1/keys")["items"]]


def _values() -> Dict[str, Optional[str]]:
    """By the refs of the keys that the action names; None for one that has no value."""
    text = os.environ.get(VARIABLE)
    if not text:
        return {}
    values = None
    try:
        values = json.loads(text)
    except ValueError:
        pass  # What could not be parsed may be a secret: it is not repeated, nor kept as the cause.
    if not isinstance(values, dict) or not all(value is None or isinstance(value, str) for value in values.values()):
        raise ValueError(f"{VARIABLE} is no JSON object of texts")
    return values


def _undeclared(ref: str, values: Dict[str, Optional[str]]) -> str:
    if values or "ATTUNE_EXECUTION_ID" in os.environ:
        action = os.environ.get("ATTUNE_ACTION_REF", "the action")
        named = f"; it names {', '.join(sorted(values))}" if values else ""
        return f"{action} does not name the key {ref}: declare it in the definition of the action, `keys: [{ref}]`{named}"
    if "ATTUNE_SENSOR_REF" in os.environ:
        return f"a sensor is not given the key {ref}: it has the settings of its pack, secret ones too, in `settings`"
    return f"there is no value of the key {ref}: outside of Attune give one in {VARIABLE}, such as " + json.dumps({ref: "..."})


def _path(ref: str) -> str:
    return "/api/v1/keys/" + urllib.parse.quote(ref, safe="")
