"""The warm Python runner: an interpreter that has started already and forks a process for every run.

It is started by a worker (`crates/worker/src/warm.rs`), which talks with it over the socket that is its standard input, one
JSON object for each packet:

- `{"ready": PID}` or `{"unfit": REASON}` from the runner, once.
- `{"run": N, "script": PATH}` from the worker, with four descriptors: the request, standard input, standard output and
  standard error of the run. `{"reap": N}` when the process group of a run that has ended needs its number no more.
- `{"begun": N, "pid": PID}` from the forked process itself, in the moment before it becomes the script: what was not
  announced so has not begun. `{"refused": N, "reason": REASON}` where it cannot.
- `{"ended": N, "code": CODE}` or `{"ended": N, "signal": SIGNAL}` from the runner. The process stays unreaped until the
  worker says so, so that the number of its group cannot be given to somebody else.

Invariants: what is secret about a run - its environment, its input - is read by the forked process and never by the
runner; the runner has no thread and runs nothing of a pack; when the socket ends, so does everything that it began.
"""

import sys

# What any interpreter has after its start. Beyond it, a script may find a module of its own under the name of one of ours.
_BASELINE = frozenset(sys.modules)
# The directory of this file.
sys.path.pop(0)

import atexit
import gc
import json
import os
import signal
import threading
import types
import warnings
import weakref


def _preload():
    """Imports what actions commonly use, so that they find it done."""
    import importlib

    for name in (
        "argparse ast asyncio base64 collections configparser contextlib copy csv ctypes dataclasses datetime decimal email.message "
        "enum fnmatch functools glob hashlib hmac html http.client inspect io itertools logging logging.handlers math operator "
        "pathlib platform pprint queue random re secrets select shlex shutil signal socket ssl stat statistics string "
        "subprocess tempfile textwrap time traceback typing urllib.error urllib.parse urllib.request uuid "
        "zlib zoneinfo attune"
    ).split():
        try:
            importlib.import_module(name)
        except ImportError:
            pass  # An interpreter without this module: a script that needs it will say so itself.


_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
# Scripts beyond this size are compiled by every run.
_CACHED_SOURCE = 512 * 1024
_CACHED_SCRIPTS = 256


class _Job:
    """A forked process on its way to become its script."""

    def __init__(self, run, fds, code):
        self.run = run
        self.fds = fds
        self.code = code


class _Codes:
    """Compiled scripts. A script is compiled here only after a process that compiled it has ended without a signal, so that
    no script can bring the runner down by how it is written. Compiling runs nothing of it."""

    def __init__(self):
        self._codes = {}

    @staticmethod
    def signature(path):
        try:
            stat = os.stat(path)
        except OSError:
            return None
        return (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)

    def get(self, path):
        """The code of the script, unless it has changed since."""
        known = self._codes.get(path)
        if known is not None and known[0] == self.signature(path):
            return known[1]
        return None

    def learn(self, path):
        signature = self.signature(path)
        known = self._codes.get(path)
        if signature is None or signature[2] > _CACHED_SOURCE or (known is not None and known[0] == signature):
            return
        code = None
        try:
            with open(path, "rb") as file:
                source = file.read()
            with warnings.catch_warnings():
                # What the compiler has to say, it is to say in each run.
                warnings.simplefilter("error")
                code = compile(source, path, "exec", dont_inherit=True)
        except Exception:
            pass
        # None is remembered too, so as not to try again.
        while len(self._codes) >= _CACHED_SCRIPTS:
            del self._codes[next(iter(self._codes))]
        self._codes[path] = (signature, code)


class _Runner:
    def __init__(self, link, libc):
        self.link = link
        self.libc = libc
        self.pid = os.getpid()
        self.running = {}  # pid -> (run, script)
        self.ended = {}  # run -> pid
        self.codes = _Codes()
        self.wake_reader, self.wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def serve(self):
        """Forks for every run. Returns in the forked process only, with its job."""
        import select

        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(self.wake_writer, warn_on_full_buffer=False)
        poll = select.poll()
        poll.register(self.link.fileno(), select.POLLIN)
        poll.register(self.wake_reader, select.POLLIN)
        self.send({"ready": self.pid})
        while True:
            for fd, _ in poll.poll():
                if fd == self.wake_reader:
                    self.look_for_ends()
                else:
                    job = self.take()
                    if job is not None:
                        return job

    def send(self, message):
        try:
            self.link.send(json.dumps(message).encode())
        except OSError:
            self.end_everything()

    def take(self):
        import socket

        try:
            packet, fds, _, _ = socket.recv_fds(self.link, 65536, 4)
        except OSError:
            packet, fds = b"", []
        if not packet:
            self.end_everything()
        message = json.loads(packet)
        if "reap" in message:
            pid = self.ended.pop(message["reap"], None)
            if pid is not None:
                os.waitpid(pid, 0)
            return None
        run, script = message["run"], message["script"]
        code = self.codes.get(script)
        try:
            pid = os.fork()
        except OSError as error:
            pid = None
            self.send({"refused": run, "reason": "fork: %s" % error})
        if pid == 0:
            return _Job(run, fds, code)
        for fd in fds:
            os.close(fd)
        if pid is not None:
            self.running[pid] = (run, script)
        return None

    def look_for_ends(self):
        try:
            while os.read(self.wake_reader, 4096):
                pass
        except BlockingIOError:
            pass
        learn = []
        for pid, (run, script) in list(self.running.items()):
            end = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if end is None:
                continue
            del self.running[pid]
            self.ended[run] = pid
            if end.si_code == os.CLD_EXITED:
                self.send({"ended": run, "code": end.si_status})
                learn.append(script)
            else:
                self.send({"ended": run, "signal": end.si_status})
        for script in learn:
            self.codes.learn(script)

    def end_everything(self):
        """The worker is gone, or wants this runner to end: nothing that it began stays."""
        for pid in list(self.running) + list(self.ended.values()):
            for kill in (os.killpg, os.kill):
                try:
                    kill(pid, signal.SIGKILL)
                except OSError:
                    pass
        os._exit(0)

    def become(self, job):
        """Makes the forked process the one that was asked for. Gives back the script's path, or ends the process."""
        try:
            os.setsid()
            self.libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != self.pid:
                os._exit(1)  # The runner died before it could be noticed; the worker knows that nothing has begun.
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.close(self.wake_reader)
            os.close(self.wake_writer)
            request, *streams = job.fds
            for target, fd in enumerate(streams):
                os.dup2(fd, target, inheritable=True)
                os.close(fd)
            with open(request, "rb") as file:
                wanted = _Request(file.read())
            # What cold Python would not find either is for cold Python to complain about.
            if not os.path.isfile(wanted.script):
                raise FileNotFoundError(wanted.script)
            os.chdir(wanted.cwd)
            os.environ.clear()
            os.environ.update(wanted.env)
            if _COERCED is not None:
                os.environ.setdefault("LC_CTYPE", _COERCED)
            wanted.restrict(self.libc)
            announcement = {"begun": job.run, "pid": os.getpid()}
        except BaseException as error:
            announcement = {"refused": job.run, "reason": "%s: %s" % (type(error).__name__, error)}
        try:
            self.link.send(json.dumps(announcement).encode())
        except OSError:
            os._exit(1)
        if "refused" in announcement:
            os._exit(1)
        self.link.close()
        sys.argv = [wanted.script] + wanted.args
        if hasattr(sys, "orig_argv"):
            sys.orig_argv = wanted.orig_argv
        return wanted.script


class _Request:
    """What a run is given: a line of JSON with settings, then texts that each end in NUL: the script, the working directory,
    the arguments and the variables."""

    def __init__(self, content):
        header, _, rest = content.partition(b"\n")
        self.settings = json.loads(header)
        texts = [os.fsdecode(text) for text in rest.split(b"\0")[:-1]]
        self.script, self.cwd, self.orig_argv = texts[0], texts[1], []
        count = self.settings["orig_argv"]
        self.orig_argv = texts[2 : 2 + count]
        end = 2 + count + self.settings["args"]
        self.args = texts[2 + count : end]
        self.env = dict(variable.split("=", 1) for variable in texts[end:])

    def restrict(self, libc):
        import resource

        for name, value in self.settings.get("limits", {}).items():
            kind = getattr(resource, "RLIMIT_" + name.upper())
            highest = resource.getrlimit(kind)[1]
            within = (lambda limit: limit) if highest == resource.RLIM_INFINITY else (lambda limit: min(limit, highest))
            # A signal that can be told from others, and a second later one that cannot be refused.
            hard = value + 1 if name == "cpu" else value
            resource.setrlimit(kind, (within(value), within(hard)))
        if self.settings.get("no_new_privs") and libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
            raise OSError("no_new_privs cannot be set")


def _execute(script, code, preloaded):
    """Runs the script as `python3 script` would, and gives back its exit code; a SystemExit goes through."""
    directory = os.path.dirname(os.path.realpath(script))
    sys.path.insert(0, directory)
    # A module that lies beside the script wins over one of the same name that only the runner had loaded.
    beside = {
        entry.split(".", 1)[0]
        for entry in os.listdir(directory)
        if "." not in entry or entry.endswith((".py", ".pyc", ".so"))
    }
    for name in preloaded:
        if name.split(".", 1)[0] in beside:
            sys.modules.pop(name, None)
    import importlib.machinery

    main = types.ModuleType("__main__")
    main.__file__ = script
    main.__cached__ = None
    main.__builtins__ = __builtins__
    main.__loader__ = importlib.machinery.SourceFileLoader("__main__", script)
    main.__annotations__ = {}
    sys.modules["__main__"] = main
    try:
        if code is None:
            with open(script, "rb") as file:
                source = file.read()
            code = compile(source, script, "exec", dont_inherit=True)
            del source
        exec(code, main.__dict__)
    except SystemExit:
        raise
    except BaseException as raised:
        error = raised
    else:
        return 0
    # Without the frame of this function, and outside of the handler: the hook is to find no exception being handled.
    trace = error.__traceback__ and error.__traceback__.tb_next
    error.with_traceback(trace)
    sys.last_type, sys.last_value, sys.last_traceback = type(error), error, trace
    if sys.version_info >= (3, 12):
        sys.last_exc = error
    _report(error, trace)
    if isinstance(error, KeyboardInterrupt):
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        _at_the_end.append(lambda: os.kill(os.getpid(), signal.SIGINT))
        return 128 + signal.SIGINT
    return 1


_at_the_end = []
# Set by the interpreter itself where the locale is that of C (PEP 538). A process with another one has another runner.
_COERCED = os.environ.get("LC_CTYPE")


def _report(error, trace):
    try:
        return sys.excepthook(type(error), error, trace)
    except SystemExit:
        raise
    except BaseException as raised:
        second = raised
    print("Error in sys.excepthook:", file=sys.stderr)
    second.with_traceback(second.__traceback__ and second.__traceback__.tb_next)
    sys.__excepthook__(type(second), second, second.__traceback__)
    print("\nOriginal exception was:", file=sys.stderr)
    sys.__excepthook__(type(error), error, trace)


def _leave(status, preloaded, libc):
    """Ends the process as the interpreter would: threads are waited for, what was registered runs, the script's objects go,
    buffers are written. Taking down what the runner had loaded is left out: it is the larger part of the work, and nobody
    would notice. Where somebody could, this returns, and the interpreter ends itself."""
    threading._shutdown()
    if len(sys._current_frames()) > 1:
        return  # A daemon thread must be stopped before its modules go.
    own = [name for name in sys.modules if name not in preloaded]
    library = os.path.dirname(os.__file__) + os.sep
    for name in own:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if file.endswith((".so", ".abi3.so")) and not file.startswith(library + "lib-dynload"):
            return  # An extension may want to be told by the interpreter.
    try:
        atexit._run_exitfuncs()
    except BaseException:
        pass  # Told already; Python 3.9 raises it besides.
    for name in ("last_type", "last_value", "last_traceback", "last_exc", "ps1", "ps2"):
        if hasattr(sys, name):
            delattr(sys, name)
    failed = _flush()
    alive = []
    for name in reversed(own):
        module = sys.modules.pop(name, None)
        if module is None:
            continue
        if name == "__main__" or (getattr(module, "__file__", None) or "").endswith(".py"):
            alive.append(weakref.ref(module))
        del module
    main = sys.modules.pop("__main__", None)
    if main is not None:
        alive.insert(0, weakref.ref(main))
        del main
    gc.collect()
    for reference in alive:
        module = reference()
        if module is not None:
            _clear(vars(module))
    del alive, own
    gc.collect()
    failed = failed or _flush()
    libc.fflush(None)
    for action in _at_the_end:
        action()
    os._exit(120 if failed else status)


def _clear(names):
    """As the interpreter does: private names first, and builtins never."""
    for private in (True, False):
        for name in list(names):
            is_private = name.startswith("_") and not name.startswith("__")
            if name != "__builtins__" and (is_private if private else not is_private):
                names[name] = None


def _flush():
    """Whether something could not be written."""
    failed = False
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None and not getattr(stream, "closed", False):
                stream.flush()
        except Exception as error:
            if stream is sys.stdout:
                failed = True
                try:
                    what = "on flushing sys.stdout:" if sys.version_info >= (3, 13) else "in: %r" % stream
                    print("Exception ignored %s\n%s: %s" % (what, type(error).__name__, error), file=sys.stderr)
                except Exception:
                    pass
    return failed


def _comes_first(module):
    """Whether it is found before any file, as what is part of the interpreter is."""
    return getattr(getattr(module, "__spec__", None), "origin", None) in ("built-in", "frozen")


def _exit_code(code):
    """What the interpreter makes of the argument of `sys.exit`. None for what is to be left to it."""
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF if -(2**31) <= code < 2**31 else None
    print(code, file=sys.stderr)
    return 1


def _main():
    import ctypes
    import socket

    link = socket.socket(fileno=os.dup(0))
    link.setblocking(True)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    # What whoever started the worker had ignored is not for scripts to ignore.
    for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl
    _preload()
    threads = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else threading.active_count()
    if threads != 1 or not hasattr(socket, "recv_fds"):
        reason = "Python 3.9 is needed" if threads == 1 else "the interpreter has %d threads at its start" % threads
        link.send(json.dumps({"unfit": reason}).encode())
        os._exit(0)
    import resource  # noqa: F401: not first in a process that may be short of memory

    sys.modules.pop("__main__")
    preloaded = frozenset(sys.modules)
    replaceable = [name for name in preloaded if name not in _BASELINE and not _comes_first(sys.modules[name])]
    runner = _Runner(link, libc)
    gc.collect()
    gc.freeze()
    job = runner.serve()
    script = runner.become(job)
    code = job.code
    del runner, job, link
    try:
        asked = status = _execute(script, code, replaceable)
    except SystemExit as request:
        asked, status = request.code, _exit_code(request.code)
    if status is not None:
        asked = status
        _leave(status, preloaded, libc)
    # The interpreter ends itself: it runs what was registered, and exits with this.
    sys.exit(asked)


_main()
