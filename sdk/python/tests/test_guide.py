"""The examples of docs/python.md do what the guide says."""

import os
import re
import subprocess
import sys
import tempfile
import unittest

from .helpers import PATIENCE, ROOT, environment

GUIDE = os.path.join(ROOT, "..", "..", "docs", "python.md")


def blocks():
    with open(GUIDE, encoding="utf-8") as file:
        return re.findall(r"^```(\w+)\n(.*?)^```$", file.read(), re.MULTILINE | re.DOTALL)


class Guide(unittest.TestCase):
    maxDiff = None

    def test_what_is_typed_gives_what_is_shown(self):
        with tempfile.TemporaryDirectory() as directory:
            os.symlink(sys.executable, os.path.join(directory, "python3"))
            env = environment(HOME=directory)
            env["PATH"] = directory + os.pathsep + env["PATH"]
            commands = 0
            for kind, text in blocks():
                if kind == "python":
                    name = re.match(r"# (\w+\.py)\n", text)
                    self.assertIsNotNone(name, text)
                    with open(os.path.join(directory, name.group(1)), "w") as file:
                        file.write(text)
                elif kind == "console":
                    # One shell for all of them, as at a terminal.
                    typed = [line[2:] for line in text.splitlines() if line.startswith("$ ")]
                    script = "\n".join(shown_and_run(line) for line in typed)
                    done = subprocess.run(
                        ["sh", "-c", script], cwd=directory, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                        stderr=subprocess.STDOUT, text=True, timeout=PATIENCE,
                    )
                    self.assertEqual(done.stdout.rstrip("\n"), text.rstrip("\n"))
                    commands += len(typed)
            self.assertGreaterEqual(commands, 6)


def shown_and_run(line):
    quoted = line.replace("'", "'\\''")
    # The status of the command before is still there for `$?`.
    return f"status=$?; printf '$ %s\\n' '{quoted}'; (exit $status); {line}"


if __name__ == "__main__":
    unittest.main()
