"""Functions that are actions."""

from __future__ import annotations

import functools
import inspect
import json
import os
import sys
import traceback
from typing import Any, Callable, Generic, Iterator, NoReturn, Optional, TypeVar, overload

from . import _logging, _parameters, _streams

R = TypeVar("R")

OUTPUT_FORMAT = "ATTUNE_OUTPUT_FORMAT"
_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep


class Failure(Exception):
    """Ends an action as failed for a reason that its caller should read: no traceback is shown.

    ``exit_code`` is that of the process, 1 to 255.
    """

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        super().__init__(message)
        if not 1 <= exit_code <= 255:
            raise ValueError(f"exit_code is {exit_code}, expected 1 to 255")
        self.exit_code = exit_code


class Action(Generic[R]):
    """A function that is an action. Calling it calls the function; :meth:`run` makes it the program."""

    def __init__(self, function: "Callable[..., R]") -> None:
        from ._arguments import Signature

        functools.update_wrapper(self, function)
        self.function = function
        self._signature = Signature(function)
        self._has_run = False
        if getattr(function, "__module__", None) == "__main__" and "ATTUNE_EXECUTION_ID" in os.environ:
            import atexit

            atexit.register(self._miss_run)

    def __call__(self, *args: Any, **kwargs: Any) -> R:
        return self.function(*args, **kwargs)

    def run(self) -> NoReturn:
        """Runs the function with the parameters of this run, writes what it returns as the result, and ends the process.

        What is printed meanwhile goes to the log. An exception ends the process with code 1 and its traceback in the log,
        parameters that do not fit with code 2.
        """
        self._has_run = True
        _logging.set_up()
        output = _streams.claim()
        status = self._perform(output)
        sys.exit(status)

    def _perform(self, output: "_streams.Output") -> int:
        from ._arguments import ArgumentsError

        try:
            arguments = self._signature.bind(_parameters.load())
        except ArgumentsError as error:
            for problem in error.problems:
                _say(problem)
            return 2
        except _parameters.ParametersError as error:
            _say(str(error))
            return 2
        try:
            result = self.function(**arguments)
            if inspect.iscoroutine(result):
                import asyncio

                result = asyncio.run(result)
            for piece in render(result, os.environ.get(OUTPUT_FORMAT, "json")):
                output.write(piece)
        except Failure as failure:
            _say(str(failure))
            return failure.exit_code
        except Exception as error:
            _show(error)
            return 1
        return 0

    def _miss_run(self) -> None:
        if not self._has_run:
            name = getattr(self.function, "__name__", "the action")
            print(f"warning: the action {name} was defined, but not run; end the file with `{name}.run()`", file=sys.stderr)


@overload
def action(function: "Callable[..., R]") -> "Action[R]": ...
@overload
def action() -> "Callable[[Callable[..., R]], Action[R]]": ...
def action(function: "Optional[Callable[..., Any]]" = None) -> Any:
    """Makes a function an action. Its parameters are those of the action, checked against their annotations; what it
    returns is the result::

        @action
        def greet(name: str, times: int = 1) -> dict:
            return {"greeting": f"Hello {name}! " * times}

        if __name__ == "__main__":
            greet.run()
    """
    return Action if function is None else Action(function)


def render(result: Any, form: str) -> "Iterator[str]":
    """The result as the action declares its output: one piece, or one for each line."""
    if form == "text":
        if result is not None:
            yield result if isinstance(result, str) else to_json(result)
    elif form == "jsonl":
        if isinstance(result, (str, bytes, dict)) or not hasattr(result, "__iter__"):
            found = type(result).__name__
            raise TypeError(f"the action returned {found}; with `output_format: jsonl` it is to return a list, or yield")
        for item in result:
            yield to_json(item) + "\n"
    else:
        # JSON is YAML too.
        yield to_json(result) + "\n"


def to_json(value: Any) -> str:
    """JSON, with what is customary for dates, sets and the like."""
    return json.dumps(value, default=_plain, ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    """What JSON has no form for, where one is customary."""
    import dataclasses
    import datetime
    import decimal
    import enum
    import pathlib
    import uuid

    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=repr)
    if isinstance(value, (decimal.Decimal, uuid.UUID, pathlib.PurePath)):
        return str(value)
    if hasattr(value, "__iter__") and not isinstance(value, (bytes, bytearray)):
        return list(value)
    raise TypeError(f"the result holds a value of the type {type(value).__name__}, which JSON has no form for")


def _say(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)


def _show(error: BaseException) -> None:
    """The traceback, without our own frames."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_HERE):
        trace = trace.tb_next
    traceback.print_exception(type(error), error, trace)
