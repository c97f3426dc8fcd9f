"""Restores a dump into a database of its own and looks what is in it."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.parse

from attune import settings

parameters = json.load(sys.stdin)
path = parameters["path"]
server = parameters.get("server") or settings().get("server") or "postgresql:///postgres"
# One name for an execution: an attempt that is repeated removes what the one before has left.
name = "attune_verify_" + os.environ.get("ATTUNE_EXECUTION_ID", str(os.getpid()))


def target(database):
    parts = urllib.parse.urlsplit(server)
    return urllib.parse.urlunsplit(parts._replace(path="/" + database))


def run(*command, **options):
    ended = subprocess.run(command, capture_output=True, text=True, **options)
    if ended.returncode != 0:
        raise RuntimeError(f"{command[0]} fails: {ended.stderr.strip()[-2000:]}")
    return ended.stdout


def ask(query):
    arguments = ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", query]
    return run("psql", "-d", target(name), *arguments).strip()


def stop(*_):
    raise KeyboardInterrupt


# When the execution is cancelled or its time is over, the database goes all the same.
signal.signal(signal.SIGTERM, stop)

try:
    found = os.stat(path)
except OSError as error:
    sys.exit(f"{path} cannot be read: {error.strerror}")
age = (time.time() - found.st_mtime) / 3600
if age > parameters["max_age_hours"]:
    sys.exit(f"{path} is {age:.1f} hours old, expected at most {parameters['max_age_hours']}")

began = time.monotonic()
problems, result = [], {"path": path, "bytes": found.st_size, "age_hours": round(age, 2)}
try:
    run("dropdb", "--if-exists", "--force", "--maintenance-db", server, name)
    run("createdb", "--template", "template0", "--maintenance-db", server, name)
    with open(path, "rb") as file:
        is_archive = file.read(5) == b"PGDMP" or path.endswith(".tar")
    if is_archive:
        # Roles of the original server need not exist here.
        run("pg_restore", "--exit-on-error", "--no-owner", "--no-privileges", "-d", target(name), path)
    else:
        run("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", target(name), "-f", path)
    result["restore_seconds"] = round(time.monotonic() - began, 2)
    tables = int(
        ask(
            "select count(*) from pg_class join pg_namespace on pg_namespace.oid = relnamespace"
            " where relkind in ('r', 'p') and nspname not in ('pg_catalog', 'information_schema')"
        )
    )
    result["tables"] = tables
    if tables < parameters["least_tables"]:
        problems.append(f"it brings {tables} tables, expected {parameters['least_tables']} at least")
    result["checks"] = []
    for check in parameters["checks"]:
        given = float(ask(check["query"]))
        passed = given >= check["at_least"]
        result["checks"].append({"name": check["name"], "value": given, "at_least": check["at_least"], "passed": passed})
        if not passed:
            problems.append(f"{check['name']} is {given:g}, expected {check['at_least']:g} at least")
except (RuntimeError, ValueError) as error:
    problems.append(str(error))
except FileNotFoundError as error:
    problems.append(f"{error.filename} is not installed on this host")
except KeyboardInterrupt:
    problems.append("it was ended before it was done")
finally:
    subprocess.run(["dropdb", "--if-exists", "--force", "--maintenance-db", server, name], capture_output=True)
result["restorable"] = not problems
result["problems"] = problems
print(json.dumps(result))
if problems:
    sys.exit("; ".join(problems))
