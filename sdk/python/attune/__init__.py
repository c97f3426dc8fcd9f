"""Attune for Python: actions as functions, sensors as classes, and the API for both.

::

    from attune import action

    @action
    def greet(name: str, times: int = 1) -> dict:
        return {"greeting": f"Hello {name}! " * times}

    if __name__ == "__main__":
        greet.run()

Inside of Attune the package is there without being installed. It needs nothing but Python 3.9 or newer.
"""

from typing import TYPE_CHECKING, Any

from ._action import Action, Failure, action
from ._logging import log
from ._sensor import PollingSensor, Sensor

if TYPE_CHECKING:
    from . import artifacts, keys
    from ._api import ApiError, Conflict, Forbidden, NotFound
    from ._events import emit
    from ._inquiries import Answer, Cancelled, NotAnswered, ask
    from ._progress import progress
    from ._settings import settings

__all__ = [
    "Action",
    "Answer",
    "ApiError",
    "Cancelled",
    "Conflict",
    "Failure",
    "Forbidden",
    "NotAnswered",
    "NotFound",
    "PollingSensor",
    "Sensor",
    "action",
    "artifacts",
    "ask",
    "emit",
    "keys",
    "log",
    "progress",
    "settings",
]

__version__ = "0.1.0"

# What needs the API is imported when it is needed: most actions do not, and starting fast matters to all of them.
_LATER = {
    "Answer": "_inquiries",
    "ApiError": "_api",
    "Cancelled": "_inquiries",
    "Conflict": "_api",
    "Forbidden": "_api",
    "NotAnswered": "_inquiries",
    "NotFound": "_api",
    "artifacts": "artifacts",
    "ask": "_inquiries",
    "emit": "_events",
    "keys": "keys",
    "progress": "_progress",
    "settings": "_settings",
}


def __getattr__(name: str) -> Any:
    import importlib

    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module("." + _LATER[name], __name__)
    value = module if _LATER[name] == name else getattr(module, name)
    globals()[name] = value
    return value
