"""The parameters of a run, from wherever its action has them delivered."""

from __future__ import annotations

import json
import os
import sys
from typing import Any, Mapping, Optional

DELIVERY = "ATTUNE_PARAMETER_DELIVERY"
FORMAT = "ATTUNE_PARAMETER_FORMAT"
FILE = "ATTUNE_PARAMETERS_FILE"
PREFIX = "ATTUNE_ACTION_"
_OWN = ("ATTUNE_ACTION_REF",)


class ParametersError(Exception):
    """The parameters cannot be read as the action declares them."""


class Parameters:
    """Named values. Where they were delivered as texts (``env``, ``dotenv``), `texts` is true: a value that is not a text by
    its annotation is JSON then, and names are known by their variables only."""

    def __init__(self, values: Mapping[str, Any], *, texts: bool = False, prefix: str = "") -> None:
        self._values = dict(values)
        self.texts = texts
        self._prefix = prefix

    def find(self, name: str) -> Optional[str]:
        """The name under which the parameter was delivered; None if it was not."""
        for candidate in (name, self._variable(name)):
            if candidate in self._values:
                return candidate
        return None

    def _variable(self, name: str) -> str:
        if not self.texts:
            return name
        variable = "".join(c if c.isascii() and c.isalnum() else "_" for c in name)
        return self._prefix + variable.upper() if self._prefix else variable

    def __getitem__(self, delivered: str) -> Any:
        return self._values[delivered]

    def names(self) -> "list[str]":
        """The names as they were delivered."""
        return list(self._values)

    def shown(self, delivered: str) -> str:
        """The parameter's name as its author knows it, as far as that is known."""
        return delivered[len(self._prefix) :].lower() if self._prefix else delivered


def load(environ: Optional[Mapping[str, str]] = None) -> Parameters:
    """The parameters of this run."""
    env = os.environ if environ is None else environ
    delivery = env.get(DELIVERY, "stdin")
    form = env.get(FORMAT, "json")
    if delivery == "env":
        values = {name: value for name, value in env.items() if name.startswith(PREFIX) and name not in _OWN}
        return Parameters(values, texts=True, prefix=PREFIX)
    if delivery == "file":
        path = env.get(FILE)
        if not path:
            raise ParametersError(f"{FILE} is not set, though the parameters are to be in a file")
        with open(path, encoding="utf-8") as file:
            content = file.read()
    else:
        content = "" if sys.stdin is None or sys.stdin.isatty() else sys.stdin.read()
    return parse(content, form)


def parse(content: str, form: str) -> Parameters:
    """The parameters in a text of this form."""
    if form == "dotenv":
        return Parameters(_dotenv(content), texts=True)
    if not content.strip():
        return Parameters({})
    try:
        values = _yaml(content) if form == "yaml" else json.loads(content)
    except ValueError as error:
        # The text itself may hold secrets.
        raise ParametersError(f"the parameters are no {form}: {error}") from None
    if not isinstance(values, dict):
        raise ParametersError(f"the parameters are {kind(values)}, expected an object")
    return Parameters(values)


def _yaml(content: str) -> Any:
    try:
        import yaml  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        raise ParametersError(
            "parameters in YAML need the package PyYAML: add it to the requirements of the pack, "
            "or have them delivered with `parameter_format: json`"
        ) from None
    try:
        return yaml.safe_load(content)
    except yaml.YAMLError as error:
        raise ValueError(type(error).__name__) from None


def _dotenv(content: str) -> "dict[str, str]":
    """Lines of ``name='value'``, as a shell would read them; a value may go over several lines."""
    import shlex

    try:
        words = shlex.split(content, posix=True)
    except ValueError as error:
        raise ParametersError(f"the parameters are no dotenv: {error}") from None
    return dict((name, value) for name, _, value in (word.partition("=") for word in words))


def kind(value: Any) -> str:
    """What a JSON value is, for people."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int):
        return "an integer"
    if isinstance(value, float):
        return "a number"
    if isinstance(value, str):
        return "a text"
    if isinstance(value, (list, tuple)):
        return "an array"
    return "an object"
