"""Programs that use the SDK, run as Attune runs them."""

import os
import subprocess
import sys
import tempfile
import textwrap

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PATIENCE = 60


def environment(**more):
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": ROOT, "PYTHONDONTWRITEBYTECODE": "1"}
    env.update(more)
    return env


def program(text):
    """A file with this text."""
    handle, path = tempfile.mkstemp(suffix=".py")
    with os.fdopen(handle, "w") as file:
        file.write(textwrap.dedent(text))
    return path


def run(text, stdin="", **env):
    """Exit code, standard output and standard error of the program."""
    path = program(text)
    try:
        done = subprocess.run(
            [sys.executable, path],
            input=stdin,
            env=environment(**env),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
    finally:
        os.remove(path)
    return done.returncode, done.stdout, done.stderr.replace(path, "SCRIPT")
