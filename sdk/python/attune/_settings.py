"""The settings of a pack, as its actions and sensors get them."""

from __future__ import annotations

import json
import os
from typing import Any

VARIABLE = "ATTUNE_PACK_CONFIG"


def settings(kind: Any = dict) -> Any:
    """The settings of the pack, with defaults filled in and secrets in plain; empty for a pack without settings.

    With a data class or a ``TypedDict`` as ``kind`` they are checked against it, and become one::

        @dataclass
        class Settings:
            url: str
            token: str

        client = Client(**vars(settings(Settings)))

    Raises ValueError where they do not fit. Values of texts are not repeated, since they may be secret.
    """
    text = os.environ.get(VARIABLE)
    values = json.loads(text) if text else {}
    if not isinstance(values, dict):
        raise ValueError("the settings of the pack are no JSON object")
    return typed(values, kind, "settings")


def typed(values: "dict[str, Any]", kind: Any, name: str) -> Any:
    """The values as the annotation wants them. Raises ValueError where they do not fit it."""
    if kind is dict:
        return values
    from ._arguments import _check_annotation, _Mismatch, convert

    _check_annotation(kind, f"`{name}`")
    try:
        return convert(values, kind, name)
    except _Mismatch as mismatch:
        raise ValueError(f"`{mismatch.path}` is {mismatch.found}, expected {mismatch.expected}") from None
