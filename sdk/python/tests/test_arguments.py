import dataclasses
import datetime
import enum
import typing
import unittest
from typing import Any, Dict, List, Literal, Optional, Tuple, Union

from attune._arguments import ArgumentsError, Signature
from attune._parameters import Parameters


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass
class Host:
    name: str
    port: int = 22


class Options(typing.TypedDict):
    deep: bool


def bind(annotation, value):
    def f(x):
        pass

    f.__annotations__["x"] = annotation
    return Signature(f).bind(Parameters({"x": value}))["x"]


class Arguments(unittest.TestCase):
    def test_values_that_fit(self):
        for annotation, value, expected in [
            (str, "a", "a"),
            (int, 3, 3),
            (int, 3.0, 3),
            (float, 3, 3.0),
            (bool, True, True),
            (Any, {"a": [1]}, {"a": [1]}),
            (Optional[int], None, None),
            (Union[int, str], "a", "a"),
            (Literal["a", 1], 1, 1),
            (List[int], [1, 2], [1, 2]),
            (Tuple[int, str], [1, "a"], (1, "a")),
            (Dict[str, List[int]], {"a": [1]}, {"a": [1]}),
            (Colour, "red", Colour.RED),
            (Host, {"name": "db"}, Host("db", 22)),
            (List[Host], [{"name": "db", "port": 1}], [Host("db", 1)]),
            (Options, {"deep": True}, {"deep": True}),
            (datetime.date, "2026-01-31", datetime.date(2026, 1, 31)),
            (datetime.datetime, "2026-01-31T12:00:00Z", datetime.datetime(2026, 1, 31, 12, tzinfo=datetime.timezone.utc)),
        ]:
            with self.subTest(annotation=annotation):
                found = bind(annotation, value)
                self.assertEqual((found, type(found)), (expected, type(expected)))

    def test_values_that_do_not_fit_say_where_what_and_what_is_expected(self):
        for annotation, value, message in [
            (str, 1, "`x` is an integer (1), expected a text"),
            (int, True, "`x` is a boolean (true), expected an integer"),
            (int, 1.5, "`x` is a number (1.5), expected an integer"),
            (int, "1", "`x` is a text, expected an integer"),
            (bool, 1, "`x` is an integer (1), expected true or false"),
            (str, None, "`x` is null, expected a text"),
            (Optional[int], "a", "`x` is a text, expected an integer or null"),
            (Literal["a", "b"], "c", '`x` is a text, expected one of "a", "b"'),
            (Literal[1], True, "`x` is a boolean (true), expected one of 1"),
            (List[int], [1, "b"], "`x[1]` is a text, expected an integer"),
            (Optional[List[int]], ["b"], "`x[0]` is a text, expected an integer"),
            (Tuple[int, str], [1], "`x` is an array of 1, expected an array of 2"),
            (Dict[str, int], {"a": None}, "`x.a` is null, expected an integer"),
            (Colour, "green", '`x` is a text, expected one of "red", "blue"'),
            (Host, {"port": 1}, "`x.name` is missing, expected a text"),
            (Host, {"name": "a", "prt": 1}, "`x.prt` is not known, expected one of `name`, `port`"),
            (Options, {}, "`x.deep` is missing, expected true or false"),
            (datetime.date, "today", "`x` is another text, expected a date such as 2026-01-31"),
        ]:
            with self.subTest(annotation=annotation, value=value):
                with self.assertRaises(ArgumentsError) as caught:
                    bind(annotation, value)
                self.assertEqual(str(caught.exception), "parameter " + message)

    def test_texts_are_never_shown(self):
        with self.assertRaises(ArgumentsError) as caught:
            bind(int, "s3cret")
        self.assertNotIn("s3cret", str(caught.exception))

    def test_annotations_that_cannot_be_checked_are_refused(self):
        for annotation in (complex, bytes, Dict[int, str], List[complex], typing.Callable):
            with self.subTest(annotation=annotation), self.assertRaises(TypeError):
                bind(annotation, 1)
