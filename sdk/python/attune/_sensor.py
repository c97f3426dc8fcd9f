"""Programs that watch for something and report events.

A sensor finds the settings of its pack in the environment, and its configuration as one line of JSON on standard input, whose
end means that it is to stop. It writes one JSON object for each event to standard output. SIGTERM means the same, and is followed by SIGKILL five seconds later.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
import typing
from typing import Any, Mapping, NoReturn, Optional

from . import _logging, _settings, _streams

LONGEST_LINE = 1024 * 1024
LONGEST_DEDUP_KEY = 1024


class Sensor:
    """A program that reports events when it hears of something. Subclasses say in :meth:`watch` how."""

    config: Any
    """What the sensor's file has as ``config``: a dict, or what a subclass annotates it with - a data class or a
    ``TypedDict`` - once it was checked against that."""
    settings: Any
    """The settings of the sensor's pack, secrets in plain: a dict, or what a subclass annotates it with."""

    def __init__(self) -> None:
        self.config = {}
        self.settings = {}
        self.ref: str = os.environ.get("ATTUNE_SENSOR_REF", type(self).__name__)
        self.stopping = threading.Event()
        """Set when the sensor is to stop, within five seconds. ``self.stopping.wait(10)`` is a pause that ends then."""
        self._output: Optional[_streams.Output] = None

    def setup(self) -> None:
        """Called once, before :meth:`watch`: to check :attr:`config`, to connect."""

    def watch(self) -> None:
        """Watches until :attr:`stopping` is set. One that returns earlier is started again, after a pause."""
        raise NotImplementedError(f"{type(self).__name__} has no watch()")

    def cleanup(self) -> None:
        """Called once at the end, also when :meth:`watch` failed."""

    def emit(
        self,
        trigger: str,
        payload: "Mapping[str, Any]",
        *,
        dedup_key: Optional[str] = None,
        config: "Optional[Mapping[str, Any]]" = None,
    ) -> None:
        """Reports an event of one of the triggers that the sensor's file declares. Safe in every thread.

        Of events of a trigger with the same ``dedup_key``, only the first becomes one. ``config`` is what the
        ``trigger_params`` of rules are compared with. Raises ValueError or TypeError for what could not be recorded.
        """
        if not isinstance(payload, Mapping):
            raise TypeError(f"the payload is of the type {type(payload).__name__}, expected a dict")
        report: "dict[str, Any]" = {"trigger": trigger, "payload": dict(payload)}
        if dedup_key is not None:
            if not isinstance(dedup_key, str) or not 1 <= len(dedup_key.encode()) <= LONGEST_DEDUP_KEY:
                raise ValueError(f"dedup_key is to be a text of 1 to {LONGEST_DEDUP_KEY} bytes")
            report["dedup_key"] = dedup_key
        if config is not None:
            if not isinstance(config, Mapping):
                raise TypeError(f"the config is of the type {type(config).__name__}, expected a dict")
            report["config"] = dict(config)
        line = json.dumps(report, ensure_ascii=False, allow_nan=False, default=str)
        if "\\u0000" in line and _has_nul(report):
            raise ValueError("a text in the event contains U+0000, which cannot be stored")
        if len(line.encode("utf-8", "surrogatepass")) > LONGEST_LINE:
            raise ValueError(f"the event is longer than {LONGEST_LINE} bytes")
        (self._output or _streams.claim()).write(line + "\n")

    @classmethod
    def main(cls) -> NoReturn:
        """Runs the sensor until it is to stop, and ends the process."""
        _logging.set_up()
        output = _streams.claim()
        sensor = cls()
        sensor._output = output
        given = _read_config()
        try:
            sensor.config = _settings.typed(given, cls._kind("config"), "config")
            sensor.settings = _settings.settings(cls._kind("settings"))
        except ValueError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
        signal.signal(signal.SIGTERM, lambda number, frame: sensor.stopping.set())
        threading.Thread(target=_await_end, args=(sensor,), name="attune-stop", daemon=True).start()
        status = 0
        try:
            sensor.setup()
            sensor.watch()
        except Exception as error:
            traceback.print_exception(type(error), error, error.__traceback__)
            status = 1
        finally:
            sensor.cleanup()
        sys.stderr.flush()
        sys.exit(status)

    @classmethod
    def _kind(cls, name: str) -> Any:
        """What a subclass says that this is."""
        own = cls.__mro__[: cls.__mro__.index(Sensor)]
        if not any(name in getattr(one, "__annotations__", {}) for one in own):
            return dict
        kind = typing.get_type_hints(cls)[name]
        return dict if kind is Any or typing.get_origin(kind) is dict else kind


class PollingSensor(Sensor):
    """A sensor that looks again and again. Subclasses say in :meth:`poll` at what."""

    interval: float = 60.0
    """Seconds from the end of one :meth:`poll` to the next. The sensor's ``config`` may set it."""
    max_failures: int = 5
    """So many failures in a row end the process, which is started again after a pause."""

    def poll(self) -> None:
        """Looks once, and emits what it finds."""
        raise NotImplementedError(f"{type(self).__name__} has no poll()")

    def watch(self) -> None:
        """Calls :meth:`poll` until the sensor is to stop. A failure is logged, and the next pause is twice as long."""
        if isinstance(self.config, Mapping):
            interval = self.config.get("interval", self.interval)
        else:
            interval = getattr(self.config, "interval", self.interval)
        if isinstance(interval, bool) or not isinstance(interval, (int, float)) or interval <= 0:
            raise ValueError(f"interval is {interval!r}, expected a number of seconds above 0")
        failures = 0
        while True:
            try:
                self.poll()
                failures = 0
            except Exception:
                failures += 1
                if failures >= self.max_failures:
                    raise
                _logging.log.exception("%s failed to poll, %d in a row", self.ref, failures)
            if self.stopping.wait(interval * 2 ** min(failures, 6)):
                return


def _read_config() -> "dict[str, Any]":
    # Not by `sys.stdin`, whose buffer the thread that waits for the end would have to share.
    line = bytearray()
    while not line.endswith(b"\n"):
        piece = os.read(0, 1)
        if not piece:
            break
        line += piece
    if not line.strip():
        return {}
    config = json.loads(line)
    if config is None:
        return {}
    if not isinstance(config, dict):
        raise ValueError("the configuration is no JSON object")
    return config


def _await_end(sensor: Sensor) -> None:
    while os.read(0, 4096):
        pass
    sensor.stopping.set()


def _has_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, Mapping):
        return any(_has_nul(name) or _has_nul(one) for name, one in value.items())
    return isinstance(value, (list, tuple)) and any(_has_nul(one) for one in value)
