"""Secrets: an action may set and remove keys, and find out which there are.

It cannot read them here. The value of a key reaches an action as a parameter (``"{{ key('ops.token') }}"`` in a rule), so that
Attune knows it, and hides it in what the action prints.
"""

from __future__ import annotations

import urllib.parse
from typing import List

from . import _api

__all__ = ["names", "remove", "set"]


def set(ref: str, value: str) -> None:
    """Sets the key ``pack.name``; an older value is replaced."""
    if not isinstance(value, str):
        raise TypeError(f"the value is of the type {type(value).__name__}, expected a str")
    _api.request("PUT", _path(ref), body={"value": value})


def remove(ref: str) -> None:
    """Removes the key. Raises :class:`attune.NotFound` if there is none."""
    _api.request("DELETE", _path(ref))


def names() -> List[str]:
    """The refs of all keys."""
    return [key["ref"] for key in _api.request("GET", "/api/v1/keys")["items"]]


def _path(ref: str) -> str:
    return "/api/v1/keys/" + urllib.parse.quote(ref, safe="")
