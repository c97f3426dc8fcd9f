"""Checks parameters against the annotations of a function."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import inspect
import json
import typing
from typing import Any, Callable, Mapping, Union

from ._parameters import Parameters, kind

_MISSING = object()
_UNIONS: "tuple[Any, ...]" = (Union,)
try:
    from types import UnionType  # Python 3.10

    _UNIONS += (UnionType,)
except ImportError:  # pragma: no cover
    pass


class ArgumentsError(Exception):
    """Parameters are not what the function takes. Each problem says which one, what it is, and what is expected."""

    def __init__(self, problems: "list[str]") -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class _Mismatch(Exception):
    def __init__(self, path: str, expected: str, found: str) -> None:
        self.path, self.expected, self.found = path, expected, found


class Signature:
    """What a function takes. Making one raises TypeError for an annotation that could not be checked."""

    def __init__(self, function: "Callable[..., Any]") -> None:
        self.parameters = inspect.signature(function).parameters
        self.hints = typing.get_type_hints(function)
        name = getattr(function, "__name__", "the function")
        for parameter in self.parameters.values():
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
                raise TypeError(
                    f"{name}() takes `{parameter.name}` by position only, but parameters have names: "
                    "remove the `/` or the `*`"
                )
            if parameter.name in self.hints:
                _check_annotation(self.hints[parameter.name], f"{name}(): `{parameter.name}`")

    def bind(self, given: Parameters) -> "dict[str, Any]":
        """The arguments for these parameters. Raises ArgumentsError with all that is wrong."""
        problems, arguments, used = [], {}, set()
        rest = None
        for parameter in self.parameters.values():
            if parameter.kind is parameter.VAR_KEYWORD:
                rest = parameter
                continue
            delivered = given.find(parameter.name)
            if delivered is None:
                if parameter.default is parameter.empty:
                    expected = describe(self.hints.get(parameter.name, Any))
                    problems.append(f"parameter `{parameter.name}` is missing, expected {expected}")
                continue
            used.add(delivered)
            value = self._value(given[delivered], parameter.name, given.texts, problems)
            if value is not _MISSING:
                arguments[parameter.name] = value
        for delivered in given.names():
            if delivered in used:
                continue
            name = given.shown(delivered)
            if rest is None:
                known = ", ".join(f"`{one}`" for one in self.parameters) or "no parameters"
                problems.append(f"parameter `{name}` is not known, expected {known}")
            else:
                value = self._value(given[delivered], rest.name, given.texts, problems, shown=name)
                if value is not _MISSING:
                    arguments[name] = value
        if problems:
            raise ArgumentsError(problems)
        return arguments

    def _value(
        self, value: Any, name: str, texts: bool, problems: "list[str]", shown: "str | None" = None
    ) -> Any:
        annotation = self.hints.get(name, Any)
        try:
            return convert(from_text(value, annotation) if texts else value, annotation, shown or name)
        except _Mismatch as mismatch:
            problems.append(f"parameter `{mismatch.path}` is {mismatch.found}, expected {mismatch.expected}")
            return _MISSING


def from_text(text: str, annotation: Any) -> Any:
    """The value that was delivered as this text: a text is as it was, anything else is JSON."""
    if annotation is str:
        return text
    try:
        value = json.loads(text)
    except ValueError:
        return text
    # A text that happens to be JSON, where both would do: what is no text was written as JSON.
    if isinstance(value, str) or (annotation is not Any and _takes(str, annotation) and not _takes_value(value, annotation)):
        return text
    return value


def _takes(kind_: Any, annotation: Any) -> bool:
    if typing.get_origin(annotation) in _UNIONS:
        return any(_takes(kind_, one) for one in typing.get_args(annotation))
    return annotation is kind_


def _takes_value(value: Any, annotation: Any) -> bool:
    try:
        convert(value, annotation, "")
    except _Mismatch:
        return False
    return True


def convert(value: Any, annotation: Any, path: str) -> Any:
    """The value as the annotation wants it: JSON becomes enums, dates and data classes, and stays itself otherwise."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)

    def wrong() -> _Mismatch:
        found = kind(value)
        # A short scalar helps to find the mistake; a longer one may be anything.
        if isinstance(value, (bool, int, float)):
            found = f"{found} ({json.dumps(value)})"
        return _Mismatch(path, describe(annotation), found)

    if annotation in (Any, inspect.Parameter.empty, object):
        return value
    if annotation in (None, type(None)):
        if value is not None:
            raise wrong()
        return None
    if origin in _UNIONS:
        for one in args:
            try:
                return convert(value, one, path)
            except _Mismatch as mismatch:
                # A fault within is more telling than that none of several fits.
                if mismatch.path != path:
                    raise
        raise wrong()
    if origin is typing.Literal:
        for one in args:
            if type(one) is type(value) and one == value:
                return value
        raise wrong()
    if origin is typing.Annotated:
        return convert(value, args[0], path)
    if annotation is bool:
        if not isinstance(value, bool):
            raise wrong()
        return value
    if annotation is int:
        if isinstance(value, float) and value.is_integer():
            return int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise wrong()
        return value
    if annotation is float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise wrong()
        return float(value)
    if annotation is str:
        if not isinstance(value, str):
            raise wrong()
        return value
    if annotation in (list, tuple, set) or origin in (list, tuple, set):
        if not isinstance(value, (list, tuple)):
            raise wrong()
        made = origin or annotation
        if made is tuple and args and args[-1] is not Ellipsis:
            if len(args) != len(value):
                raise _Mismatch(path, describe(annotation), f"an array of {len(value)}")
            return tuple(convert(one, args[i], f"{path}[{i}]") for i, one in enumerate(value))
        inner = args[0] if args else Any
        return made(convert(one, inner, f"{path}[{i}]") for i, one in enumerate(value))
    if annotation is dict or origin is dict:
        if not isinstance(value, dict):
            raise wrong()
        inner = args[1] if args else Any
        return {name: convert(one, inner, f"{path}.{name}") for name, one in value.items()}
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        for member in annotation:
            if type(member.value) is type(value) and member.value == value:
                return member
        raise wrong()
    if annotation in _TIMES:
        if isinstance(value, str):
            try:
                text = value[:-1] + "+00:00" if value.endswith(("Z", "z")) else value
                return annotation.fromisoformat(text)
            except ValueError:
                raise _Mismatch(path, describe(annotation), "another text") from None
        raise wrong()
    if dataclasses.is_dataclass(annotation):
        if not isinstance(value, dict):
            raise wrong()
        made_of: Any = annotation
        return made_of(**_fields(value, annotation, path))
    if _is_typed_dict(annotation):
        if not isinstance(value, dict):
            raise wrong()
        hints = typing.get_type_hints(annotation)
        for name in annotation.__required_keys__:
            if name not in value:
                raise _Mismatch(f"{path}.{name}", describe(hints[name]), "missing")
        return {name: convert(one, hints.get(name, Any), f"{path}.{name}") for name, one in value.items()}
    raise TypeError(f"`{annotation!r}` cannot be checked")


_TIMES = (datetime.datetime, datetime.date, datetime.time)


def _fields(value: "Mapping[str, Any]", annotation: Any, path: str) -> "dict[str, Any]":
    hints = typing.get_type_hints(annotation)
    fields = {field.name: field for field in dataclasses.fields(annotation) if field.init}
    for name in value:
        if name not in fields:
            known = "one of " + ", ".join(f"`{one}`" for one in fields)
            raise _Mismatch(f"{path}.{name}", known, "not known")
    arguments = {}
    for name, field in fields.items():
        if name in value:
            arguments[name] = convert(value[name], hints[name], f"{path}.{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise _Mismatch(f"{path}.{name}", describe(hints[name]), "missing")
    return arguments


def _is_typed_dict(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, dict) and hasattr(annotation, "__required_keys__")


def describe(annotation: Any) -> str:
    """What the annotation wants, for people."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    names = {str: "a text", int: "an integer", float: "a number", bool: "true or false"}
    if annotation in names:
        return names[annotation]
    if annotation in (None, type(None)):
        return "null"
    if origin in _UNIONS:
        return " or ".join(describe(one) for one in args)
    if origin is typing.Literal:
        return "one of " + ", ".join(json.dumps(one) for one in args)
    if annotation in (list, tuple, set) or origin in (list, tuple, set):
        if origin is tuple and args and args[-1] is not Ellipsis:
            return f"an array of {len(args)}"
        return f"an array ({describe(args[0])} each)" if args and args[0] is not Any else "an array"
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return "one of " + ", ".join(json.dumps(member.value) for member in annotation)
    if annotation is datetime.datetime:
        return "a date and time such as 2026-01-31T12:00:00Z"
    if annotation is datetime.date:
        return "a date such as 2026-01-31"
    if annotation is datetime.time:
        return "a time such as 12:00:00"
    if annotation is dict or origin is dict or dataclasses.is_dataclass(annotation) or _is_typed_dict(annotation):
        return "an object"
    return "any value"


def _check_annotation(annotation: Any, where: str) -> None:
    """Raises TypeError for what `convert` does not know, so that it is found before it matters."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return
    if origin in _UNIONS or origin in (list, tuple, set, dict):
        if origin is dict and args and args[0] not in (str, Any):
            raise TypeError(f"{where} has keys of {args[0]!r}, but the keys of JSON are texts")
        for one in args:
            if one is not Ellipsis:
                _check_annotation(one, where)
        return
    if origin is typing.Annotated:
        return _check_annotation(args[0], where)
    if annotation in (Any, object, None, type(None), str, int, float, bool, list, tuple, set, dict) + _TIMES:
        return
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return
    if dataclasses.is_dataclass(annotation) or _is_typed_dict(annotation):
        for name, one in typing.get_type_hints(annotation).items():
            _check_annotation(one, f"{where}, in `{name}`")
        return
    raise TypeError(
        f"{where} is annotated with {annotation!r}, which no parameter can be checked against: "
        "use JSON types, enums, dates, data classes, or Any"
    )
