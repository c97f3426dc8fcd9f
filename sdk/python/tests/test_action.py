import json
import subprocess
import sys
import tempfile
import unittest

from attune import Failure, action

from .helpers import environment, run

GREET = """
    from typing import List, Optional
    from attune import action

    @action
    def greet(name: str, times: int = 1, tags: Optional[List[str]] = None) -> dict:
        print("greeting", name)
        return {"greeting": f"Hello {name}! " * times, "tags": tags}

    if __name__ == "__main__":
        greet.run()
"""

RETURN = """
    import datetime, decimal, dataclasses, enum
    from attune import action

    @dataclasses.dataclass
    class Host:
        name: str

    @action
    def give():
        return %s

    give.run()
"""


class Running(unittest.TestCase):
    def test_what_is_returned_is_the_result_and_what_is_printed_the_log(self):
        code, out, err = run(GREET, '{"name": "Ada", "times": 2}')
        self.assertEqual((code, err), (0, "greeting Ada\n"))
        self.assertEqual(json.loads(out), {"greeting": "Hello Ada! Hello Ada! ", "tags": None})

    def test_what_other_programs_print_is_the_log_too(self):
        code, out, err = run(
            """
            import os, subprocess
            from attune import action

            @action
            def f():
                subprocess.run(["echo", "by a program"], check=True)
                os.write(1, b"by hand\\n")
                return 1

            f.run()
            """
        )
        self.assertEqual((code, out, err), (0, "1\n", "by a program\nby hand\n"))

    def test_parameters_that_do_not_fit_are_all_named(self):
        code, out, err = run(GREET, '{"times": "two", "tags": ["a", 1], "colour": "red"}')
        self.assertEqual((code, out), (2, ""))
        self.assertEqual(
            err.splitlines(),
            [
                "error: parameter `name` is missing, expected a text",
                "error: parameter `times` is a text, expected an integer",
                "error: parameter `tags[1]` is an integer (1), expected a text",
                "error: parameter `colour` is not known, expected `name`, `times`, `tags`",
            ],
        )

    def test_parameters_that_cannot_be_read_are_an_error_without_their_text(self):
        for stdin, said in [("{s3cret", "the parameters are no json"), ("[1]", "the parameters are an array, expected an object")]:
            code, out, err = run(GREET, stdin)
            self.assertEqual((code, out), (2, ""))
            self.assertIn(said, err)
            self.assertNotIn("s3cret", err)

    def test_an_exception_fails_with_a_traceback_of_the_author_s_own_code(self):
        code, out, err = run(
            """
            from attune import action

            @action
            def f():
                raise ValueError("no such host")

            f.run()
            """
        )
        self.assertEqual((code, out), (1, ""))
        self.assertEqual(err.splitlines()[0], "Traceback (most recent call last):")
        self.assertEqual(err.splitlines()[-1], "ValueError: no such host")
        self.assertEqual(err.count("File "), 1, err)

    def test_a_failure_is_told_in_one_line_with_its_exit_code(self):
        code, out, err = run(
            """
            from attune import Failure, action

            @action
            def f():
                raise Failure("the host does not answer", exit_code=9)

            f.run()
            """
        )
        self.assertEqual((code, out, err), (9, "", "error: the host does not answer\n"))

    def test_an_exit_is_an_exit(self):
        code, out, _ = run("import sys\nfrom attune import action\n@action\ndef f(): sys.exit(5)\nf.run()")
        self.assertEqual((code, out), (5, ""))

    def test_a_coroutine_is_run(self):
        code, out, _ = run("from attune import action\n@action\nasync def f(x: int): return x + 1\nf.run()", '{"x": 1}')
        self.assertEqual((code, out), (0, "2\n"))

    def test_an_action_that_is_not_run_says_so(self):
        text = "from attune import action\n@action\ndef f(): return 1\n"
        self.assertIn("end the file with `f.run()`", run(text, ATTUNE_EXECUTION_ID="1")[2])
        self.assertEqual(run(text)[2], "")

    def test_any_name_is_taken_by_keywords(self):
        code, out, _ = run("from attune import action\n@action\ndef f(**rest: int): return rest\nf.run()", '{"b": 1, "a": 2}')
        self.assertEqual((code, json.loads(out)), (0, {"b": 1, "a": 2}))

    def test_logging_goes_to_the_log(self):
        text = "from attune import action, log\n@action\ndef f():\n    log.info('looking')\n    log.debug('closer')\nf.run()"
        self.assertRegex(run(text)[2], r"^\d\d:\d\d:\d\d INFO attune: looking\n$")
        self.assertIn("DEBUG attune: closer", run(text, ATTUNE_LOG_LEVEL="debug")[2])
        self.assertIn("'loud' is no level of logging", run(text, ATTUNE_LOG_LEVEL="loud")[2].lower())


class Delivery(unittest.TestCase):
    TEXT = """
        from typing import Union
        from attune import action

        @action
        def f(name: str, times: int, on: bool = False, tags: list = [], some_text: str = "", either: Union[str, int] = 0):
            return [name, times, on, tags, some_text, either]

        f.run()
    """

    def test_by_environment(self):
        code, out, err = run(
            self.TEXT,
            ATTUNE_PARAMETER_DELIVERY="env",
            ATTUNE_ACTION_REF="ops.f",
            ATTUNE_ACTION_NAME="7",
            ATTUNE_ACTION_TIMES="3",
            ATTUNE_ACTION_ON="true",
            ATTUNE_ACTION_TAGS='["a"]',
            ATTUNE_ACTION_SOME_TEXT="{no json",
            ATTUNE_ACTION_EITHER="5",
        )
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(json.loads(out), ["7", 3, True, ["a"], "{no json", 5])

    def test_by_environment_with_faults(self):
        code, _, err = run(
            self.TEXT, ATTUNE_PARAMETER_DELIVERY="env", ATTUNE_ACTION_TIMES="many", ATTUNE_ACTION_COLOUR="red"
        )
        self.assertEqual(code, 2)
        self.assertIn("parameter `name` is missing", err)
        self.assertIn("parameter `times` is a text, expected an integer", err)
        self.assertIn("parameter `colour` is not known", err)

    def test_by_file(self):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            file.write('{"name": "x", "times": 1}')
            file.flush()
            code, out, _ = run(self.TEXT, ATTUNE_PARAMETER_DELIVERY="file", ATTUNE_PARAMETERS_FILE=file.name)
        self.assertEqual((code, json.loads(out)[:2]), (0, ["x", 1]))

    def test_as_dotenv(self):
        stdin = "name='it'\\''s\ntwo lines'\ntimes='2'\non='true'\n"
        code, out, err = run(self.TEXT, stdin, ATTUNE_PARAMETER_FORMAT="dotenv")
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(json.loads(out)[:3], ["it's\ntwo lines", 2, True])

    def test_without_any(self):
        self.assertEqual(run("from attune import action\n@action\ndef f(): return 1\nf.run()")[:2], (0, "1\n"))


class Results(unittest.TestCase):
    def returned(self, value, form):
        return run(RETURN % value, ATTUNE_OUTPUT_FORMAT=form)

    def test_forms(self):
        for value, form, expected in [
            ("{'a': 1}", "json", '{"a": 1}\n'),
            ("{'a': 1}", "yaml", '{"a": 1}\n'),
            ("None", "json", "null\n"),
            ("'text \\u00e4'", "text", "text \u00e4"),
            ("None", "text", ""),
            ("{'a': 1}", "text", '{"a": 1}'),
            ("[1, 'b']", "jsonl", '1\n"b"\n'),
            ("(i for i in range(2))", "jsonl", "0\n1\n"),
            ("Host('db1')", "json", '{"name": "db1"}\n'),
            ("[datetime.date(2026, 1, 31), decimal.Decimal('1.10'), {3}]", "json", '["2026-01-31", "1.10", [3]]\n'),
        ]:
            with self.subTest(value=value, form=form):
                self.assertEqual(self.returned(value, form), (0, expected, ""))

    def test_what_has_no_form_fails(self):
        for value, form, said in [
            ("object()", "json", "a value of the type object, which JSON has no form for"),
            ("float('nan')", "json", "Out of range float values"),
            ("'text'", "jsonl", "with `output_format: jsonl` it is to return a list"),
        ]:
            with self.subTest(value=value, form=form):
                code, out, err = self.returned(value, form)
                self.assertEqual((code, out), (1, ""))
                self.assertIn(said, err)


class AsAFunction(unittest.TestCase):
    def test_an_action_can_be_called(self):
        @action
        def add(a: int, b: int = 1) -> int:
            "Adds."
            return a + b

        self.assertEqual((add(1), add(1, b=2), add.__name__, add.__doc__), (2, 3, "add", "Adds."))

        @action()
        def other() -> None:
            raise Failure("no")

        with self.assertRaisesRegex(Failure, "no"):
            other()

    def test_what_could_never_run_is_refused_at_once(self):
        with self.assertRaisesRegex(TypeError, r"f\(\): `x` is annotated with .*complex.*no parameter can be checked"):
            action(lambda_with(complex))
        with self.assertRaisesRegex(TypeError, "takes `rest` by position only"):

            @action
            def g(*rest):
                pass

        with self.assertRaisesRegex(ValueError, "expected 1 to 255"):
            Failure("x", exit_code=0)


def lambda_with(annotation):
    def f(x):
        return x

    f.__annotations__["x"] = annotation
    return f


class Package(unittest.TestCase):
    def test_importing_it_is_cheap(self):
        heavy = "import sys, attune; print(sorted({'asyncio', 'urllib.request', 'http.client', 'ssl', 'unittest'} & set(sys.modules)))"
        done = subprocess.run([sys.executable, "-c", heavy], env=environment(), capture_output=True, text=True, check=True)
        self.assertEqual(done.stdout, "[]\n")


if __name__ == "__main__":
    unittest.main()
