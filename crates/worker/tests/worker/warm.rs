//! A script that a warm interpreter forked runs as `python3 script` would, and leaves nothing to the next one.
#![cfg(target_os = "linux")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
    time::Duration,
};

use attune_common::{
    models::execution::OutputStream,
    process::{Confinement, Limit, Program, Resource},
};
use attune_expr::masking::Masker;
use attune_worker::{
    process::{Ending, Exit, Finished, Launch, OutputSink, run},
    warm::{WarmRunners, WarmSettings, write_runner},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::helpers::{Lifeline, PATIENCE, directory, is_running, path, wait_until_gone};

/// Notes its own pid and that of a process in the background in the lifeline; both wait to be killed.
const WITH_GRANDCHILD: &str = "\
import os, subprocess, time
print('begun', flush=True)
os.dup2(os.open('life', os.O_WRONLY), 3)
os.write(3, b'%d\\n' % os.getpid())
subprocess.Popen(['sh', '-c', 'echo $$ >&3; : >ready; exec sleep 300'], pass_fds=[3])
time.sleep(300)
";

/// A warm interpreter, and a directory for scripts and for what they leave.
struct Warm {
    directory: TempDir,
    runners: WarmRunners,
}

impl Warm {
    async fn up() -> Self {
        Self::with(|settings| settings).await
    }

    async fn with(change: impl FnOnce(WarmSettings) -> WarmSettings) -> Self {
        let directory = directory();
        attune_common::python_sdk::install(directory.path()).unwrap();
        let runner = write_runner(directory.path()).unwrap();
        let warm = Self { runners: WarmRunners::new(change(WarmSettings::new(runner))), directory };
        warm.runner().await;
        warm
    }

    /// The process of the interpreter; one is started if there is none.
    async fn runner(&self) -> i32 {
        let launch = self.launch("never.py", "");
        let program = Program {
            program: &launch.program,
            args: &launch.args,
            env: &launch.env,
            cwd: &launch.cwd,
            with_stdin: false,
            confinement: &launch.confinement,
        };
        let ready = timeout(PATIENCE, self.runners.ready(&program)).await.expect("it becomes ready");
        ready.expect("Python 3.9 or newer is in the PATH")
    }

    fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// The script, as the worker would start it.
    fn launch(&self, name: &str, text: &str) -> Launch {
        let script = self.script(name, text);
        Launch {
            args: vec![script.into()],
            env: BTreeMap::from([("PATH".into(), path())]),
            timeout: PATIENCE,
            warm: Some(self.runners.clone()),
            confinement: Confinement {
                limits: vec![
                    Limit { resource: Resource::OpenFiles, value: 500 },
                    Limit { resource: Resource::CpuTime, value: 100 },
                    Limit { resource: Resource::FileSize, value: 1 << 30 },
                ],
                ..Confinement::default()
            },
            ..Launch::of(python(), self.directory.path())
        }
    }

    async fn python(&self, text: &str) -> Finished {
        finish(self.launch("script.py", text)).await
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

async fn finish(launch: Launch) -> Finished {
    finish_cancelled_by(launch, CancellationToken::new()).await
}

async fn finish_cancelled_by(launch: Launch, cancel: CancellationToken) -> Finished {
    timeout(PATIENCE, run(launch, cancel, OutputSink::discard()))
        .await
        .expect("run returns")
        .expect("the process starts")
}

/// The interpreter itself: what `python3` in the PATH may be is a script that chooses one.
fn python() -> &'static Path {
    static PYTHON: LazyLock<PathBuf> = LazyLock::new(|| {
        let found =
            Command::new("python3").args(["-c", "import sys; print(sys.executable, end='')"]).output();
        String::from_utf8(found.expect("python3 is in the PATH").stdout).unwrap().into()
    });
    &PYTHON
}

/// Whose child the process that wrote this text was.
const PARENT: &str = "import os; print(os.getppid())\n";

async fn wait_for_file(path: &Path) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !path.exists() {
        assert!(std::time::Instant::now() < deadline, "{} was not written", path.display());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_script_is_forked_by_the_interpreter_that_waits() {
    let warm = Warm::up().await;
    let runner = warm.runner().await;
    for _ in 0..3 {
        assert_eq!(warm.python(PARENT).await.stdout.to_text(), format!("{runner}\n"));
    }
    // Without runners it is a child of this process.
    let cold = Launch { warm: None, ..warm.launch("cold.py", PARENT) };
    assert_eq!(finish(cold).await.stdout.to_text(), format!("{}\n", std::process::id()));
}

/// Scripts, and what is not the same for both ways: nothing of it may differ.
const SCRIPTS: &[(&str, &str)] = &[
    ("exit_0", "pass"),
    ("exit_7", "import sys; sys.exit(7)"),
    ("exit_none", "import sys; sys.exit(None)"),
    ("exit_true", "import sys; sys.exit(True)"),
    ("exit_300", "import sys; sys.exit(300)"),
    ("exit_negative", "import sys; sys.exit(-1)"),
    ("exit_text", "import sys; sys.exit('no such host')"),
    ("exit_object", "import sys; sys.exit([1, 2])"),
    ("exit_at_once", "import os; os._exit(9)"),
    (
        "exit_in_thread",
        "import threading, sys\nt = threading.Thread(target=lambda: sys.exit(3)); t.start(); t.join()",
    ),
    ("system_exit_in_finally", "import sys\ntry:\n    sys.exit(4)\nfinally:\n    print('finally')"),
    ("raises", "def f():\n    raise ValueError('no')\n\nf()"),
    ("raises_from", "try:\n    1 / 0\nexcept Exception as e:\n    raise ValueError('no') from e"),
    ("raises_unprintable", "class E(Exception):\n    def __str__(self): raise ValueError\nraise E"),
    ("interrupted", "raise KeyboardInterrupt"),
    ("killed", "import os; os.kill(os.getpid(), 9)"),
    ("terminated", "import os; os.kill(os.getpid(), 15)"),
    ("odd_signal", "import os; os.kill(os.getpid(), 40)"),
    (
        "handles_sigterm",
        "import os, signal, sys\nsignal.signal(15, lambda *_: sys.exit(6))\nos.kill(os.getpid(), 15)",
    ),
    ("broken_syntax", "def f(:\n    pass"),
    ("warns", "import warnings\nx = 1 is 1\nwarnings.warn('careful')"),
    ("latin_1", "# -*- coding: latin-1 -*-\nprint('ok')"),
    ("hook", "import sys\nsys.excepthook = lambda *a: print('hooked', a[0].__name__)\n1 / 0"),
    ("broken_hook", "import sys\nsys.excepthook = lambda *a: 1 / 0\nraise ValueError('first')"),
    (
        "atexit",
        "import atexit\natexit.register(print, 'first')\natexit.register(print, 'second')\nprint('body')",
    ),
    (
        "atexit_raises",
        "import atexit\nclass F:\n    def __repr__(self): return 'F'\n    def __call__(self): 1 / 0\natexit.register(F())\natexit.register(print, 'still')",
    ),
    (
        "thread",
        "import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.1), print('thread'))).start()\nprint('main')",
    ),
    (
        "daemon_thread",
        "import threading, time\nthreading.Thread(target=time.sleep, args=(300,), daemon=True).start()\nprint('main')",
    ),
    (
        "executor",
        "from concurrent.futures import ThreadPoolExecutor\np = ThreadPoolExecutor(2)\np.submit(print, 'submitted')",
    ),
    (
        "dunder_del",
        "class A:\n    def __del__(self): print('deleted', print is not None)\na = A()\nb = [a]; b.append(b)",
    ),
    ("forks", "import os\nif os.fork() == 0:\n    print('child')\nelse:\n    os.wait()\n    print('parent')"),
    ("not_flushed", "import sys\nsys.stdout.write('tail')"),
    ("closed_stdout", "import sys\nprint('x')\nsys.stdout.close()"),
    ("no_stdout", "import os\nprint('x')\nos.close(1)"),
    (
        "name",
        "print(__name__, __spec__, __package__, __doc__, __cached__ if '__cached__' in dir() else None)",
    ),
    (
        "file",
        "import sys, os\nprint(os.path.basename(__file__), sys.argv[1:], os.path.basename(sys.argv[0]), sys.path[0] == os.path.dirname(__file__))",
    ),
    ("path", "import sys\nprint(sys.path[1:], sys.flags, sys.executable, sys.prefix, sys.warnoptions)"),
    ("orig_argv", "import sys\nprint(getattr(sys, 'orig_argv', None))"),
    (
        "streams",
        "import sys\nfor s in (sys.stdin, sys.stdout, sys.stderr):\n    print(s.name, s.encoding, s.errors, s.isatty(), s.line_buffering, s.fileno())",
    ),
    ("stdin", "import sys\nprint(repr(sys.stdin.read()))"),
    ("input", "print(input())"),
    (
        "signals",
        "import signal\nprint([(s, str(signal.getsignal(s))[:20]) for s in (1, 2, 13, 15, 17)], signal.pthread_sigmask(0, []))",
    ),
    ("umask", "import os\nprint(os.umask(0))"),
    (
        "limits",
        "import resource\nprint([resource.getrlimit(getattr(resource, 'RLIMIT_' + n)) for n in ('NOFILE', 'CORE', 'CPU', 'FSIZE', 'AS', 'NPROC')])",
    ),
    // Signals 32 and 33 are the C library's own: what was inherited of them, Python cannot change.
    (
        "privileges",
        "print([hex(int(l.split()[1], 16) & ~(3 << 31)) for l in open('/proc/self/status') if l.startswith(('NoNewPrivs', 'SigBlk', 'SigIgn', 'SigCgt'))])",
    ),
    ("descriptors", "import os\nprint(sorted(map(int, os.listdir('/proc/self/fd'))))"),
    ("group", "import os\nprint(os.getpid() == os.getpgrp())"),
    (
        "threads",
        "import os, threading\nprint(threading.active_count(), threading.current_thread() is threading.main_thread(), len(os.listdir('/proc/self/task')))",
    ),
    ("environment", "import os\nprint(sorted(os.environ.items()), os.getenv('HOME'))"),
    ("spawned", "import subprocess\nprint(subprocess.run(['env'], capture_output=True, text=True).stdout)"),
    ("cwd", "import os\nprint(os.path.basename(os.getcwd()) == os.path.basename(os.path.dirname(__file__)))"),
    ("beside", "import beside_module\nprint(beside_module.NAME)"),
    ("shadowed", "import statistics\nprint(getattr(statistics, 'OURS', None))"),
    (
        "main_module",
        "import sys\nX = 1\nprint(sys.modules['__main__'].X, sys.modules['__main__'].__dict__ is globals())",
    ),
    ("pickle", "import pickle\nclass A: pass\nprint(type(pickle.loads(pickle.dumps(A()))) is A)"),
    (
        "multiprocessing",
        "import multiprocessing\ndef double(x): return 2 * x\nif __name__ == '__main__':\n    with multiprocessing.get_context('spawn').Pool(1) as pool:\n        print(pool.map(double, [1, 2]))",
    ),
    (
        "data_class",
        "from __future__ import annotations\nimport dataclasses, typing\n@dataclasses.dataclass\nclass A:\n    x: int\nprint(typing.get_type_hints(A), A(1))",
    ),
    (
        "asyncio",
        "import asyncio\nasync def f():\n    await asyncio.sleep(0.01)\n    print('done')\nasyncio.run(f())",
    ),
    ("annotations", "x: int = 1\nprint(__annotations__)"),
    ("unclosed_file", "f = open('left.txt', 'w'); f.write('kept'); import os; os.register_at_fork"),
    ("locals", "print(sorted(n for n in dir() if not n.startswith('__')))"),
];

#[tokio::test]
async fn a_script_behaves_as_if_it_had_an_interpreter_of_its_own() {
    let warm = Warm::up().await;
    warm.script("beside_module.py", "NAME = __name__ + ' beside'\n");
    warm.script("statistics.py", "OURS = True\n");
    let mut differing = Vec::new();
    for (name, text) in SCRIPTS {
        let launch = |warmth| {
            let mut launch = warm.launch(&format!("case_{name}.py"), text);
            launch.args.extend(["--flag".into(), "value with spaces".into()]);
            launch.env.insert("ONLY".into(), "this \u{e4}".into());
            launch.stdin = b"line\nrest".to_vec();
            launch.warm = launch.warm.filter(|_| warmth);
            launch
        };
        let cold = finish(launch(false)).await;
        // Compiled by the forked process, then by the runner, then taken from there.
        for _ in 0..3 {
            let finished = finish(launch(true)).await;
            let seen = |finished: &Finished| {
                let (stdout, stderr) = (finished.stdout.to_text(), finished.stderr.to_text());
                (finished.exit, finished.ending, finished.left_processes, stdout, stderr)
            };
            if seen(&finished) != seen(&cold) {
                differing.push(format!("{name}:\n  {:?}\n  {:?}", seen(&finished), seen(&cold)));
                break;
            }
        }
    }
    assert!(differing.is_empty(), "warm and cold differ:\n{}", differing.join("\n"));
    assert_eq!(fs::read_to_string(warm.file("left.txt")).unwrap(), "kept");
}

#[tokio::test]
async fn nothing_of_a_run_is_left_to_the_next() {
    let warm = Warm::up().await;
    let soil = "import builtins, json, os, random, resource, signal, socket, sys, threading\n\
                builtins.leaked = json.leaked = sys.leaked = True\n\
                os.environ['LEAKED'] = 'yes'\n\
                os.chdir('/'); os.umask(0o77)\n\
                sys.path.insert(0, '/leaked'); sys.argv.append('leaked'); sys.modules['leaked'] = sys\n\
                signal.signal(15, signal.SIG_IGN); signal.alarm(1000)\n\
                resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n\
                sys.setrecursionlimit(5000); socket.setdefaulttimeout(3)\n\
                left = [open('/dev/null') for _ in range(10)]; os.set_inheritable(left[0].fileno(), True)\n";
    let look = "import builtins, json, os, resource, signal, socket, sys\n\
                print([hasattr(m, 'leaked') for m in (builtins, json, sys)], 'leaked' in sys.modules, '/leaked' in sys.path,\n\
                      os.environ.get('LEAKED'), os.getcwd() != '/', os.umask(0), sys.argv[1:], signal.getsignal(15), signal.alarm(0),\n\
                      resource.getrlimit(resource.RLIMIT_NOFILE), sys.getrecursionlimit(), socket.getdefaulttimeout(),\n\
                      len(os.listdir('/proc/self/fd')))\n";
    let before = warm.python(look).await.stdout.to_text();
    assert_eq!(finish(warm.launch("soil.py", soil)).await.exit, Exit::Code(0));
    assert_eq!(warm.python(look).await.stdout.to_text(), before);
    assert!(before.starts_with("[False, False, False] False False None True"), "{before}");
}

#[tokio::test]
async fn runs_draw_different_random_numbers() {
    let warm = Warm::up().await;
    let draw = "import random, uuid, tempfile, os\nprint(random.random(), uuid.uuid4(), uuid.uuid1(), tempfile.mktemp())\n";
    let first = warm.python(draw).await.stdout.to_text();
    let second = warm.python(draw).await.stdout.to_text();
    for (one, other) in first.split_whitespace().zip(second.split_whitespace()) {
        assert_ne!(one, other);
    }
}

#[tokio::test]
async fn a_script_that_changed_is_run_as_it_is_now() {
    let warm = Warm::up().await;
    for text in ["first", "second", "third"] {
        for _ in 0..3 {
            assert_eq!(warm.python(&format!("print('{text}')")).await.stdout.to_text(), format!("{text}\n"));
        }
    }
}

#[tokio::test]
async fn output_is_masked_ordered_and_bounded_as_for_any_process() {
    let warm = Warm::up().await;
    let script = "import sys\n\
                  for i in range(3):\n    print('out', i, 's3cret-value', flush=True)\n    print('err s3cret-value', i, file=sys.stderr)\n\
                  sys.stdout.write('x' * 5_000_000)\nprint('end')";
    let mut launch = warm.launch("script.py", script);
    launch.masker = Masker::of(["s3cret-value"]);
    let (sink, mut live) = OutputSink::channel(8);
    let running = tokio::spawn(run(launch, CancellationToken::new(), sink));
    let (mut stdout, mut next) = (Vec::new(), 0);
    while let Some(chunk) = live.recv().await {
        assert_eq!(chunk.sequence, next);
        next += 1;
        if chunk.stream == OutputStream::Stdout {
            stdout.extend_from_slice(&chunk.content);
        }
    }
    let finished = running.await.unwrap().unwrap();
    assert_eq!(finished.exit, Exit::Code(0));
    let text = finished.stdout.to_text();
    assert!(!text.contains("s3cret") && !finished.stderr.to_text().contains("s3cret"));
    assert!(text.starts_with("out 0 ") && text.ends_with("xend\n"), "{}", &text[..100]);
    assert_eq!(finished.stdout.total_bytes, stdout.len() as u64);
    assert!(finished.stdout.total_bytes > 5_000_000 && finished.stdout.omitted_bytes() > 3_000_000);
}

#[tokio::test]
async fn cancelling_ends_grandchildren_too() {
    let warm = Warm::up().await;
    let life = Lifeline::tie(warm.directory.path());
    let cancel = CancellationToken::new();
    let running =
        tokio::spawn(finish_cancelled_by(warm.launch("script.py", WITH_GRANDCHILD), cancel.clone()));
    wait_for_file(&warm.file("ready")).await;
    cancel.cancel();
    let finished = running.await.unwrap();
    assert_eq!((finished.exit, finished.ending), (Exit::Signal(15), Ending::Cancelled));
    assert_eq!(life.cut().await.len(), 2);
}

#[tokio::test]
async fn a_timeout_gives_time_to_clean_up_and_then_kills() {
    let warm = Warm::up().await;
    let polite = "import signal, sys, time\nsignal.signal(15, lambda *_: sys.exit('bye'))\nprint('hi', flush=True)\ntime.sleep(300)";
    let mut launch = warm.launch("polite.py", polite);
    launch.timeout = Duration::from_secs(1);
    let finished = finish(launch).await;
    assert_eq!((finished.exit, finished.ending), (Exit::Code(1), Ending::TimedOut));
    assert_eq!((finished.stdout.to_text(), finished.stderr.to_text()), ("hi\n".into(), "bye\n".into()));

    let mut launch = warm.launch(
        "rude.py",
        "import signal, time\nsignal.signal(15, signal.SIG_IGN)\nwhile True: time.sleep(1)",
    );
    launch.timeout = Duration::from_secs(1);
    launch.grace = Duration::from_millis(100);
    let finished = finish(launch).await;
    assert_eq!((finished.exit, finished.ending), (Exit::Signal(9), Ending::TimedOut));
}

#[tokio::test]
async fn dropping_the_run_kills_the_whole_group() {
    let warm = Warm::up().await;
    let life = Lifeline::tie(warm.directory.path());
    let script = "import os, signal, time\nsignal.signal(15, signal.SIG_IGN)\nf = open('life', 'w')\nf.write('%d\\n' % os.getpid())\nf.flush()\n\
                  open('ready', 'w').close()\ntime.sleep(300)\n";
    let running = tokio::spawn(finish(warm.launch("script.py", script)));
    wait_for_file(&warm.file("ready")).await;
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    life.cut().await;
    // The runner is none the worse for it.
    assert_eq!(warm.python("print(1)").await.stdout.to_text(), "1\n");
}

#[tokio::test]
async fn fifty_at_once_are_told_apart() {
    let warm = Warm::up().await;
    let runner = warm.runner().await;
    let held = || {
        let descriptors = fs::read_dir(format!("/proc/{runner}/fd")).unwrap().count();
        let children = fs::read_to_string(format!("/proc/{runner}/task/{runner}/children")).unwrap();
        (descriptors, children.split_whitespace().count())
    };
    let before = held();
    assert_eq!(before.1, 0);
    let script = warm.script("many.py", "import sys\nn = int(sys.stdin.read())\nprint(n)\nsys.exit(n)\n");
    let runs: Vec<_> = (0..50)
        .map(|code: i32| {
            let mut launch = warm.launch("other.py", "");
            launch.args = vec![script.clone().into()];
            launch.stdin = code.to_string().into_bytes();
            tokio::spawn(finish(launch))
        })
        .collect();
    for (code, running) in (0..).zip(runs) {
        let finished = running.await.unwrap();
        assert_eq!((finished.exit, finished.stdout.to_text()), (Exit::Code(code), format!("{code}\n")));
    }
    let deadline = std::time::Instant::now() + PATIENCE;
    while held() != before {
        assert!(std::time::Instant::now() < deadline, "descriptors and unreaped children: {:?}", held());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn when_its_runner_is_killed_a_run_fails_and_nothing_stays() {
    let warm = Warm::up().await;
    let life = Lifeline::tie(warm.directory.path());
    let running = tokio::spawn(finish(warm.launch("script.py", WITH_GRANDCHILD)));
    wait_for_file(&warm.file("ready")).await;
    let runner = warm.runner().await;
    kill(Pid::from_raw(runner), Signal::SIGKILL).unwrap();
    let finished = running.await.unwrap();
    assert_eq!((finished.exit, finished.ending), (Exit::Signal(9), Ending::RunnerLost));
    assert_eq!(finished.stdout.to_text(), "begun\n");
    assert_eq!(life.cut().await.len(), 2);
    // Another takes its place; until then scripts are started the ordinary way.
    assert_eq!(warm.python("print(1)").await.stdout.to_text(), "1\n");
    assert_ne!(warm.runner().await, runner);
}

#[tokio::test]
async fn what_has_not_begun_when_the_runner_dies_is_started_the_ordinary_way() {
    let warm = Warm::up().await;
    let runner = warm.runner().await;
    // It takes nothing any more, and so nothing begins.
    kill(Pid::from_raw(runner), Signal::SIGSTOP).unwrap();
    let runs: Vec<_> =
        (0..5).map(|i| tokio::spawn(finish(warm.launch(&format!("s{i}.py"), PARENT)))).collect();
    // All of them are asked for, as far as that goes without the runner.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    kill(Pid::from_raw(runner), Signal::SIGKILL).unwrap();
    for running in runs {
        let finished = running.await.unwrap();
        assert_eq!(finished.exit, Exit::Code(0));
        assert_ne!(finished.stdout.to_text(), format!("{runner}\n"));
    }
}

#[tokio::test]
async fn a_runner_ends_with_its_worker_and_takes_everything_with_it() {
    let warm = Warm::up().await;
    let runner = warm.runner().await;
    drop(warm);
    wait_until_gone(runner).await;
}

/// Names the directory of a run whose process is to be killed.
const KILLED: &str = "ATTUNE_TEST_WORKER_TO_BE_KILLED";

/// A process with a runner. In a process of its own, it is killed in the middle.
#[tokio::test]
async fn a_worker_that_is_killed() {
    let warm = Warm::up().await;
    let Some(directory) = std::env::var_os(KILLED) else {
        assert_eq!(warm.python("print('whole')").await.stdout.to_text(), "whole\n");
        return;
    };
    let launch = Launch { cwd: directory.into(), ..warm.launch("script.py", WITH_GRANDCHILD) };
    let finished = finish(launch).await;
    panic!("it was not killed: {finished:?}");
}

#[tokio::test]
async fn when_the_worker_is_killed_nothing_stays() {
    let directory = directory();
    let life = Lifeline::tie(directory.path());
    let mut worker = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "warm::a_worker_that_is_killed"])
        .env(KILLED, directory.path())
        .spawn()
        .unwrap();
    wait_for_file(&directory.path().join("ready")).await;
    worker.kill().unwrap();
    worker.wait().unwrap();
    assert_eq!(life.cut().await.len(), 2);
}

#[tokio::test]
async fn a_runner_is_replaced_after_so_many_runs() {
    let warm = Warm::with(|settings| WarmSettings { runs: 3, ..settings }).await;
    let first = warm.runner().await;
    let mut parents: Vec<i32> = Vec::new();
    let deadline = std::time::Instant::now() + PATIENCE;
    while parents.last().is_none_or(|parent| *parent == first) {
        assert!(std::time::Instant::now() < deadline, "it is not replaced");
        let finished = warm.python(PARENT).await;
        parents.push(finished.stdout.to_text().trim().parse().unwrap());
    }
    assert!(parents.len() >= 3, "{parents:?}");
    wait_until_gone(first).await;
}

#[tokio::test]
async fn an_idle_runner_ends() {
    let warm = Warm::with(|settings| WarmSettings { idle: Duration::from_millis(50), ..settings }).await;
    let runner = warm.runner().await;
    wait_until_gone(runner).await;
    assert_eq!(warm.python("print(1)").await.stdout.to_text(), "1\n");
}

#[tokio::test]
async fn runners_are_few_and_told_apart_by_what_shapes_an_interpreter() {
    let warm = Warm::with(|settings| WarmSettings { most: 2, ..settings }).await;
    let first = warm.runner().await;
    let shaped = |value: &str| {
        let mut launch = warm
            .launch("script.py", "import os; print(os.getppid(), os.environ['PYTHONHASHSEED'], hash('x'))");
        launch.env.insert("PYTHONHASHSEED".into(), value.into());
        launch
    };
    let ready = async |value: &str| {
        let launch = shaped(value);
        let program = Program {
            program: &launch.program,
            args: &launch.args,
            env: &launch.env,
            cwd: &launch.cwd,
            with_stdin: false,
            confinement: &launch.confinement,
        };
        timeout(PATIENCE, warm.runners.ready(&program)).await.unwrap().unwrap()
    };
    let second = ready("7").await;
    let text = finish(shaped("7")).await.stdout.to_text();
    assert!(text.starts_with(&format!("{second} 7 ")), "{text}");
    // A third is no better than these when it is asked for the first time, and takes the place of the one that was idle for
    // longest when it is asked for again before that.
    let asked = async |value: &str| {
        let launch = shaped(value);
        let program = Program {
            program: &launch.program,
            args: &launch.args,
            env: &launch.env,
            cwd: &launch.cwd,
            with_stdin: false,
            confinement: &launch.confinement,
        };
        timeout(PATIENCE, warm.runners.ready(&program)).await.unwrap()
    };
    assert_eq!(asked("8").await, None);
    assert!(is_running(first) && is_running(second));
    let third = ready("8").await;
    assert_ne!(third, second);
    wait_until_gone(first).await;
    assert!(is_running(second));
}

/// More interpreters than there is room for, one after the other: those that have a place keep it.
#[tokio::test]
async fn interpreters_that_come_in_turns_do_not_drive_each_other_out() {
    // One is there already.
    let warm = Warm::with(|settings| WarmSettings { most: 3, ..settings }).await;
    let launch = |shape: Option<&str>| {
        let mut launch = warm.launch("script.py", "import os; print(os.getppid())");
        launch.env.extend(shape.map(|value| ("PYTHONHASHSEED".into(), value.into())));
        launch
    };
    for shape in ["1", "2"] {
        let launch = launch(Some(shape));
        let program = Program {
            program: &launch.program,
            args: &launch.args,
            env: &launch.env,
            cwd: &launch.cwd,
            with_stdin: false,
            confinement: &launch.confinement,
        };
        assert!(timeout(PATIENCE, warm.runners.ready(&program)).await.unwrap().is_some());
    }
    let mut rounds = Vec::new();
    for _ in 0..4 {
        let mut round = Vec::new();
        for shape in [None, Some("1"), Some("2"), Some("3")] {
            round.push(finish(launch(shape)).await.stdout.to_text());
        }
        rounds.push(round);
    }
    assert!(rounds.iter().all(|round| *round == rounds[0]), "the same interpreters: {rounds:?}");
    // The last was started by this process, as one that does not wait is.
    assert_eq!(rounds[0][3].trim(), std::process::id().to_string());
    assert!(rounds[0][..3].iter().all(|parent| *parent != rounds[0][3]));
}

#[tokio::test]
async fn a_missing_script_or_directory_is_told_as_ever() {
    let warm = Warm::up().await;
    let mut launch = warm.launch("here.py", "");
    launch.args = vec![warm.file("gone.py").into()];
    let finished = finish(launch).await;
    assert_eq!(finished.exit, Exit::Code(2));
    assert!(finished.stderr.to_text().contains("can't open file"), "{}", finished.stderr.to_text());
    let launch = Launch { cwd: warm.file("gone"), ..warm.launch("here.py", "") };
    let error =
        run(launch, CancellationToken::new(), OutputSink::discard()).await.expect_err("it cannot start");
    assert!(error.to_string().contains("is not an existing directory"), "{error}");
}

#[tokio::test]
async fn an_interpreter_that_does_not_work_is_left_to_say_so_itself() {
    let directory = directory();
    let broken =
        crate::helpers::program(directory.path(), "python3", "#!/bin/sh\necho broken >&2\nexit 3\n", 0o755);
    let runners = WarmRunners::new(WarmSettings::new(write_runner(directory.path()).unwrap()));
    let script = directory.path().join("a.py");
    fs::write(&script, "").unwrap();
    for _ in 0..2 {
        let launch = Launch {
            args: vec![script.clone().into()],
            env: BTreeMap::from([("PATH".into(), path())]),
            warm: Some(runners.clone()),
            timeout: PATIENCE,
            ..Launch::of(&broken, directory.path())
        };
        let program = Program {
            program: &launch.program,
            args: &launch.args,
            env: &launch.env,
            cwd: &launch.cwd,
            with_stdin: false,
            confinement: &launch.confinement,
        };
        assert_eq!(timeout(PATIENCE, runners.ready(&program)).await.unwrap(), None);
        let finished = finish(launch).await;
        assert_eq!((finished.exit, finished.stderr.to_text()), (Exit::Code(3), "broken\n".into()));
    }
}
