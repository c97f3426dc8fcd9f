//! The environments of packs: with the real interpreters and their tools, but with packages that lie in the packs.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use attune_runtime::environments::{
    Constraint, EnvironmentError, EnvironmentSettings, Environments, Language, Prepared, Wanted,
};
use attune_worker::process::Launch;
use tempfile::TempDir;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::helpers::{PATIENCE, directory, finish, path, program};

/// A wheel with a module and a command, made as the format has it.
const MAKE_WHEEL: &str = r#"
import sys, zipfile
target, version = sys.argv[1], sys.argv[2]
info = f"demo-{version}.dist-info"
with zipfile.ZipFile(f"{target}/demo-{version}-py3-none-any.whl", "w") as wheel:
    wheel.writestr("demo.py", f"VERSION = {version!r}\ndef main():\n    print('command', VERSION)\n")
    wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: demo\nVersion: {version}\n")
    wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr(f"{info}/entry_points.txt", "[console_scripts]\ndemo-command = demo:main\n")
    wheel.writestr(f"{info}/RECORD", "")
"#;

/// A pack, and the place where its environments are made.
struct Site {
    directory: TempDir,
}

impl Site {
    fn new() -> Self {
        let site = Self { directory: directory() };
        fs::create_dir(site.at("bin")).unwrap();
        site
    }

    fn at(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    /// A pack with these files.
    fn pack(&self, pack: &str, files: &[(&str, &str)]) -> PathBuf {
        let root = self.at(pack);
        for (path, content) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        root
    }

    /// A Python pack that needs the wheel of this version.
    async fn python_pack(&self, pack: &str, version: &str) -> PathBuf {
        let root = self.pack(pack, &[("requirements.txt", &format!("./demo-{version}-py3-none-any.whl\n"))]);
        let launch = Launch {
            args: ["-c".into(), MAKE_WHEEL.into(), root.clone().into(), version.into()].to_vec(),
            env: BTreeMap::from([("PATH".into(), path())]),
            ..Launch::of("python3", "/")
        };
        let made = finish(launch).await;
        assert!(made.stderr.to_text().is_empty(), "{}", made.stderr.to_text());
        root
    }

    /// The environments of a worker; what lies in `bin` is found first.
    fn worker(&self, limit: Duration) -> Environments {
        let mut all = OsString::from(self.at("bin"));
        all.push(":");
        all.push(path());
        let variables = [
            ("PATH", all),
            ("HOME", std::env::var_os("HOME").unwrap_or_default()),
            ("PIP_RETRIES", "0".into()),
            ("PIP_NO_INDEX", "1".into()),
            ("UV_OFFLINE", "1".into()),
            ("UV_NO_INDEX", "1".into()),
            ("UV_CACHE_DIR", self.at("uv-cache").into()),
            // Where packages are found that are asked for by name only.
            ("UV_FIND_LINKS", self.at("wheels").into()),
            ("NPM_CONFIG_OFFLINE", "true".into()),
        ];
        Environments::new(EnvironmentSettings {
            directory: self.at("environments"),
            limit,
            variables: variables.map(|(name, value)| (name.into(), value)).into(),
        })
    }

    /// Puts the real uv where the worker finds it first.
    fn real_uv(&self) {
        let prepared =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/test-data/python-tools/bin/uv");
        let uv = fs::canonicalize(&prepared)
            .unwrap_or_else(|_| panic!("there is no {}: ./scripts/test installs it", prepared.display()));
        std::os::unix::fs::symlink(uv, self.at("bin/uv")).unwrap();
        fs::create_dir(self.at("wheels")).unwrap();
    }

    /// A `uv` that makes environments with venv and pip, notes each and does this first.
    fn noting_uv(&self, first: &str) {
        let script = format!(
            r#"#!/bin/sh
case $1 in
    venv)
        echo "$5" >> '{notes}'
        {first}
        exec "$4" -m venv "$5" ;;
    pip) exec "$4" -m pip install -r "$6" ;;
esac
"#,
            notes = self.at("notes").display()
        );
        program(&self.at("bin"), "uv", script, 0o755);
    }

    fn notes(&self) -> Vec<String> {
        let notes = fs::read_to_string(self.at("notes")).unwrap_or_default();
        notes.lines().map(str::to_owned).collect()
    }

    fn built(&self, pack: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.at("environments").join(pack)).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| !path.file_name().unwrap().to_string_lossy().starts_with('.')).collect()
    }
}

fn wanted<'a>(language: Language, pack_ref: &'a str, files: &'a Path, checksum: &'a str) -> Wanted<'a> {
    let program = match language {
        Language::Python => "python3",
        Language::Node => "node",
    };
    Wanted { language, pack_ref, files, checksum, program, constraints: &[] }
}

async fn prepare(worker: &Environments, wanted: &Wanted<'_>) -> Result<Prepared, EnvironmentError> {
    timeout(PATIENCE, worker.prepare(wanted, &CancellationToken::new()))
        .await
        .expect("it is prepared in time")
}

async fn problem(worker: &Environments, wanted: &Wanted<'_>) -> String {
    prepare(worker, wanted).await.unwrap_err().to_string()
}

/// What a command says in the environment.
async fn say(prepared: &Prepared, program: &Path, args: &[&str], cwd: &Path) -> String {
    let mut env = BTreeMap::from([("PATH".into(), path())]);
    env.extend(prepared.variables.clone());
    let launch = Launch { args: args.iter().map(OsString::from).collect(), env, ..Launch::of(program, cwd) };
    let finished = finish(launch).await;
    format!("{}{}", finished.stdout.to_text(), finished.stderr.to_text())
}

const GENEROUS: Duration = Duration::from_secs(300);

#[tokio::test]
async fn a_python_pack_gets_what_it_needs_with_pip() {
    let site = Site::new();
    let pack = site.python_pack("ops", "1.0").await;
    let worker = site.worker(GENEROUS);
    let wanted = wanted(Language::Python, "ops", &pack, "a");
    assert!(worker.ready(&wanted).await.unwrap().is_none(), "nothing is there yet");
    let prepared = prepare(&worker, &wanted).await.unwrap();
    assert_eq!(
        say(&prepared, &prepared.program, &["-c", "import demo; print(demo.VERSION)"], &pack).await,
        "1.0\n"
    );
    // It was built under another name than it has; its commands know.
    let command = prepared.path.clone().unwrap().join("demo-command");
    assert_eq!(say(&prepared, &command, &[], &pack).await, "command 1.0\n");
    assert!(worker.ready(&wanted).await.unwrap().is_some());
    assert_eq!(site.built("ops").len(), 1);
}

/// What the environment has, and that it was uv that made it.
async fn check_made_by_uv(site: &Site, pack: &Path, version: &str) {
    let worker = site.worker(GENEROUS);
    let wanted = wanted(Language::Python, "ops", pack, "a");
    let prepared = prepare(&worker, &wanted).await.unwrap();
    let import = ["-c", "import demo, sys; print(demo.VERSION, sys.prefix != sys.base_prefix)"];
    assert_eq!(say(&prepared, &prepared.program, &import, pack).await, format!("{version} True\n"));
    let command = prepared.path.clone().unwrap().join("demo-command");
    assert_eq!(say(&prepared, &command, &[], pack).await, format!("command {version}\n"));
    let environment = prepared.environment.as_ref().unwrap().path();
    let settings = fs::read_to_string(environment.join("pyvenv.cfg")).unwrap();
    assert!(settings.lines().any(|line| line.starts_with("uv = ")), "{settings}");
    // Nothing names the directory in which it was built.
    for script in ["activate", "demo-command"] {
        let content = fs::read_to_string(environment.join("bin").join(script)).unwrap();
        assert!(content.contains(environment.to_str().unwrap()), "{content}");
    }
    assert!(worker.ready(&wanted).await.unwrap().is_some());
    assert_eq!(site.built("ops").len(), 1);
}

#[tokio::test]
async fn the_real_uv_installs_what_requirements_txt_names() {
    let site = Site::new();
    site.real_uv();
    let pack = site.python_pack("ops", "1.0").await;
    check_made_by_uv(&site, &pack, "1.0").await;
}

#[tokio::test]
async fn the_real_uv_installs_what_pyproject_toml_names() {
    let site = Site::new();
    site.real_uv();
    site.python_pack("wheels", "1.0").await;
    site.python_pack("wheels", "2.0").await;
    let project = "[project]\nname = \"ops\"\nversion = \"1\"\nrequires-python = \">=3.6\"\ndependencies = [\"demo<2\"]\n";
    let pack = site.pack("ops", &[("pyproject.toml", project)]);
    check_made_by_uv(&site, &pack, "1.0").await;
}

#[tokio::test]
async fn what_the_real_uv_cannot_resolve_is_told_without_credentials() {
    let site = Site::new();
    site.real_uv();
    let text = "--index-url https://user:s3cret@127.0.0.1:1/simple\nno-such-package==1.0\n";
    let pack = site.pack("ops", &[("requirements.txt", text)]);
    let problem = problem(&site.worker(GENEROUS), &wanted(Language::Python, "ops", &pack, "a")).await;
    for expected in
        ["uv pip install ended with code", "correct requirements.txt in the pack", "no-such-package"]
    {
        assert!(problem.contains(expected), "{problem}");
    }
    assert!(!problem.contains("s3cret"), "{problem}");
    assert_eq!(site.built("ops"), [] as [PathBuf; 0]);
}

#[tokio::test]
async fn a_pack_that_needs_nothing_has_the_interpreter_of_the_machine() {
    let site = Site::new();
    let pack = site.pack("ops", &[("actions/a.py", "")]);
    let worker = site.worker(GENEROUS);
    let prepared = worker.ready(&wanted(Language::Python, "ops", &pack, "a")).await.unwrap().unwrap();
    assert!(prepared.environment.is_none() && prepared.path.is_none());
    assert!(say(&prepared, &prepared.program, &["--version"], &pack).await.starts_with("Python 3."));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_build_serves_all_executions_of_all_workers() {
    let site = Site::new();
    site.noting_uv("");
    let pack = site.python_pack("ops", "1.0").await;
    let (first, second) = (site.worker(GENEROUS), site.worker(GENEROUS));
    let tasks: Vec<_> = (0..20)
        .map(|number| {
            let (worker, pack) = (if number % 2 == 0 { &first } else { &second }.clone(), pack.clone());
            tokio::spawn(async move {
                let wanted = wanted(Language::Python, "ops", &pack, "a");
                prepare(&worker, &wanted).await.unwrap().program
            })
        })
        .collect();
    for task in tasks {
        assert!(task.await.unwrap().exists());
    }
    assert_eq!(site.notes().len(), 1, "{:?}", site.notes());
    // Another version of the pack with the same needs has the same environment.
    prepare(&first, &wanted(Language::Python, "ops", &pack, "b")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_needs_make_another_environment_and_old_ones_go_unless_they_are_used() {
    let site = Site::new();
    site.noting_uv("");
    let worker = site.worker(GENEROUS);
    let mut used = None;
    for version in ["1.0", "2.0", "3.0", "4.0", "5.0"] {
        let pack = site.python_pack(&format!("ops-{version}"), version).await;
        let prepared = prepare(&worker, &wanted(Language::Python, "ops", &pack, version)).await.unwrap();
        let said =
            say(&prepared, &prepared.program, &["-c", "import demo; print(demo.VERSION)"], &pack).await;
        assert_eq!(said, format!("{version}\n"));
        used.get_or_insert(prepared);
    }
    assert_eq!(site.notes().len(), 5);
    let first = used.as_ref().unwrap().environment.as_ref().unwrap().path().to_owned();
    let left = site.built("ops");
    // The latest three, and the one that somebody uses.
    assert!(left.len() == 4 && left.contains(&first), "{left:?}");
    drop(used);
    worker.remove_unused();
    assert!(!first.exists());
    assert_eq!(site.built("ops").len(), 3);
}

#[tokio::test]
async fn a_build_that_was_killed_half_way_counts_for_nothing() {
    let site = Site::new();
    site.noting_uv(&format!(
        "if ! test -e '{0}'; then touch '{0}'; mkdir -p \"$5/bin\"; touch \"$5/half\"; sleep 600; fi",
        site.at("begun").display()
    ));
    let pack = site.python_pack("ops", "1.0").await;
    let wanted = wanted(Language::Python, "ops", &pack, "a");
    let killed = site.worker(GENEROUS);
    let stop = async {
        while !site.at("begun").exists() {
            tokio::task::yield_now().await;
        }
        killed.stop();
    };
    let (outcome, ()) = tokio::join!(prepare(&killed, &wanted), stop);
    assert!(matches!(outcome, Err(EnvironmentError::Cancelled)), "{outcome:?}");
    assert_eq!(site.built("ops"), [] as [PathBuf; 0]);
    // As a power failure leaves it: a directory that is not whole, under the name in which it is built.
    let half = PathBuf::from(&site.notes()[0]);
    fs::create_dir_all(half.join("bin")).unwrap();
    fs::write(half.join("half"), "").unwrap();
    let prepared = prepare(&site.worker(GENEROUS), &wanted).await.unwrap();
    let environment = prepared.environment.as_ref().unwrap().path();
    assert!(!environment.join("half").exists() && !half.exists());
    assert_eq!(
        say(&prepared, &prepared.program, &["-c", "import demo; print(demo.VERSION)"], &pack).await,
        "1.0\n"
    );
}

#[tokio::test]
async fn an_environment_that_was_removed_from_the_disk_is_built_again() {
    let site = Site::new();
    site.noting_uv("");
    let pack = site.python_pack("ops", "1.0").await;
    let worker = site.worker(GENEROUS);
    let wanted = wanted(Language::Python, "ops", &pack, "a");
    let first = prepare(&worker, &wanted).await.unwrap();
    let path = first.environment.as_ref().unwrap().path().to_owned();
    for remove in [path.clone(), path.join("bin")] {
        fs::remove_dir_all(remove).unwrap();
        assert!(worker.ready(&wanted).await.unwrap().is_none());
        let again = prepare(&worker, &wanted).await.unwrap();
        assert!(again.program.exists());
    }
    assert_eq!(site.notes().len(), 3);
}

#[tokio::test]
async fn what_cannot_be_resolved_is_told_without_credentials() {
    let site = Site::new();
    let text = "--index-url https://user:s3cret@127.0.0.1:1/simple\nno-such-package==1.0\n";
    let pack = site.pack("ops", &[("requirements.txt", text)]);
    let problem = problem(&site.worker(GENEROUS), &wanted(Language::Python, "ops", &pack, "a")).await;
    for expected in [
        "the Python environment of pack ops cannot be built from requirements.txt",
        "pip install ended with code",
        "correct requirements.txt in the pack",
        "no-such-package",
    ] {
        assert!(problem.contains(expected), "{problem}");
    }
    assert!(!problem.contains("s3cret"), "{problem}");
    assert_eq!(site.built("ops"), [] as [PathBuf; 0]);
}

#[tokio::test]
async fn a_build_has_a_limit_of_its_own() {
    let site = Site::new();
    site.noting_uv("sleep 600");
    let pack = site.pack("ops", &[("requirements.txt", "demo\n")]);
    let problem =
        problem(&site.worker(Duration::from_millis(300)), &wanted(Language::Python, "ops", &pack, "a")).await;
    assert!(problem.contains("uv venv took longer than"), "{problem}");
}

#[tokio::test]
async fn who_waits_can_be_cancelled_and_other_packs_do_not_wait() {
    let site = Site::new();
    let gate = site.at("gate");
    nix::unistd::mkfifo(&gate, nix::sys::stat::Mode::S_IRWXU).unwrap();
    site.noting_uv(&format!("case $5 in */slow/*) read line < '{}' ;; esac", gate.display()));
    let (slow, quick) = (site.python_pack("slow", "1.0").await, site.python_pack("quick", "1.0").await);
    let worker = site.worker(GENEROUS);
    let slow = wanted(Language::Python, "slow", &slow, "a");
    let (cancel, waiting) = (CancellationToken::new(), worker.clone());
    let cancelled = waiting.prepare(&slow, &cancel);
    let meanwhile = async {
        prepare(&worker, &wanted(Language::Python, "quick", &quick, "b")).await.unwrap();
        cancel.cancel();
    };
    let (cancelled, ()) = tokio::join!(cancelled, meanwhile);
    assert!(matches!(cancelled, Err(EnvironmentError::Cancelled)), "{cancelled:?}");
    // The build goes on, and the next who wants it gets it.
    let open = tokio::task::spawn_blocking(move || fs::write(gate, "go\n").unwrap());
    prepare(&worker, &slow).await.unwrap();
    open.await.unwrap();
    assert_eq!(site.notes().len(), 2, "{:?}", site.notes());
}

#[tokio::test]
async fn a_version_that_no_interpreter_has_is_told_with_those_there_are() {
    let site = Site::new();
    let pack = site.pack("ops", &[("actions/a.py", "")]);
    let worker = site.worker(GENEROUS);
    let constraints =
        [Constraint { origin: "the runtime ops.python".into(), versions: ">=3.99".parse().unwrap() }];
    let wanted = Wanted { constraints: &constraints, ..wanted(Language::Python, "ops", &pack, "a") };
    let problem = problem(&worker, &wanted).await;
    for expected in [
        "pack ops needs Python >=3.99 (the runtime ops.python)",
        "this worker has only 3.",
        "install such a version",
    ] {
        assert!(problem.contains(expected), "{problem}");
    }
}

#[tokio::test]
async fn an_interpreter_with_the_wanted_version_is_chosen() {
    let site = Site::new();
    for (name, version) in [("python3", "3.4.1"), ("python3.21", "3.21.0"), ("python3.22", "3.22.5")] {
        let script = format!("#!/bin/sh\necho '{}'\necho {version}\n", site.at("bin").join(name).display());
        program(&site.at("bin"), name, script, 0o755);
    }
    // A launcher of something that is not there, as version managers leave them.
    program(&site.at("bin"), "python3.23", "#!/bin/sh\nexit 127\n", 0o755);
    let pack = site.pack("ops", &[("actions/a.py", "")]);
    let worker = site.worker(GENEROUS);
    let chosen = async |versions: &str, program| {
        let constraints = [Constraint { origin: "test".into(), versions: versions.parse().unwrap() }];
        let wanted =
            Wanted { program, constraints: &constraints, ..wanted(Language::Python, "ops", &pack, "a") };
        worker.ready(&wanted).await.map(|prepared| prepared.unwrap().program.file_name().unwrap().to_owned())
    };
    assert_eq!(chosen("3.4", "python3").await.unwrap(), "python3", "the ordinary one where it will do");
    assert_eq!(chosen(">=3.21", "python3").await.unwrap(), "python3.22", "the newest of the others");
    assert_eq!(chosen("3.21", "python3").await.unwrap(), "python3.21");
    let certain = chosen("3.21", "python3.22").await.unwrap_err().to_string();
    assert!(certain.contains("has only 3.22.5"), "one that is named is not replaced: {certain}");
    let missing = chosen("3.21", "python9").await.unwrap_err().to_string();
    assert!(missing.contains("there is no program python9") && missing.contains("install it"), "{missing}");
}

#[tokio::test]
async fn an_environment_whose_interpreter_changed_is_built_anew() {
    let site = Site::new();
    site.noting_uv("");
    let real = std::fs::canonicalize("/usr/bin/python3").unwrap();
    // A copy of the answers of the real one, so that it can be replaced.
    let install = |version: &str| {
        let me = site.at("bin").join("python3");
        let script = format!(
            "#!/bin/sh\ncase $1 in -S) echo '{}'; echo {version} ;; *) exec '{}' \"$@\" ;; esac\n",
            me.display(),
            real.display()
        );
        program(&site.at("bin"), "python3", script, 0o755);
    };
    install("3.11.1");
    let pack = site.python_pack("ops", "1.0").await;
    let worker = site.worker(GENEROUS);
    let wanted = wanted(Language::Python, "ops", &pack, "a");
    let first = prepare(&worker, &wanted).await.unwrap().program;
    assert_eq!(prepare(&worker, &wanted).await.unwrap().program, first);
    install("3.11.22");
    let second = prepare(&worker, &wanted).await.unwrap().program;
    assert_ne!(first, second);
    assert_eq!(site.notes().len(), 2);
}

#[tokio::test]
async fn a_node_pack_gets_its_modules_in_both_module_systems() {
    let site = Site::new();
    let files = [
        ("package.json", r#"{"name": "ops", "dependencies": {"demo": "file:./vendor/demo"}}"#),
        ("vendor/demo/package.json", r#"{"name": "demo", "version": "1.2.3", "main": "index.js"}"#),
        ("vendor/demo/index.js", "module.exports = require('./package.json').version"),
        ("actions/common.js", "console.log('common', require('demo'))"),
        ("actions/module.mjs", "import demo from 'demo'; console.log('module', demo)"),
    ];
    let pack = site.pack("ops", &files);
    let worker = site.worker(GENEROUS);
    let prepared = prepare(&worker, &wanted(Language::Node, "ops", &pack, "a")).await.unwrap();
    for (file, expected) in
        [("actions/common.js", "common 1.2.3\n"), ("actions/module.mjs", "module 1.2.3\n")]
    {
        assert_eq!(say(&prepared, &prepared.program, &[file], &prepared.files).await, expected);
    }
    // Ready at once for another version of the pack only if nothing of it could be installed.
    let other = site.pack("other", &files);
    assert!(worker.ready(&wanted(Language::Node, "ops", &other, "b")).await.unwrap().is_none());
}

#[tokio::test]
async fn two_node_runtimes_of_a_pack_have_each_their_own_modules() {
    let site = Site::new();
    // Another program, as another version would be.
    let launch = Launch {
        args: vec!["-p".into(), "process.execPath".into()],
        env: BTreeMap::from([("PATH".into(), path())]),
        ..Launch::of("node", "/")
    };
    let node = finish(launch).await.stdout.to_text();
    fs::copy(node.trim(), site.at("bin/other-node")).unwrap();
    let script = "let found = 'none'\ntry { found = require('extra') } catch {}\nconsole.log(found, require('../lib/x'))";
    let files = [
        ("package.json", r#"{"name": "ops", "dependencies": {"demo": "file:./vendor/demo"}}"#),
        ("vendor/demo/package.json", r#"{"name": "demo", "version": "1.2.3"}"#),
        ("actions/a.js", script),
        ("lib/x.js", "module.exports = require('demo/package.json').version"),
    ];
    let pack = site.pack("packs/ops/a", &files);
    let worker = site.worker(GENEROUS);
    let with = |program| Wanted { program, ..wanted(Language::Node, "ops", &pack, "a") };
    let first = prepare(&worker, &with("node")).await.unwrap();
    let second = prepare(&worker, &with("other-node")).await.unwrap();
    let modules = second.environment.as_ref().unwrap().path().join("node_modules/extra");
    fs::create_dir(&modules).unwrap();
    fs::write(modules.join("index.js"), "module.exports = 'extra'").unwrap();
    // In turns, as their runs come.
    for _ in 0..2 {
        for (wanted, expected) in [("node", "none 1.2.3\n"), ("other-node", "extra 1.2.3\n")] {
            let prepared = worker.ready(&with(wanted)).await.unwrap().unwrap();
            let file = prepared.files.join("actions/a.js");
            let said = say(&prepared, &prepared.program, &[file.to_str().unwrap()], &pack).await;
            assert_eq!(said, expected);
        }
    }
    assert_ne!(first.files, second.files);
    assert!(!pack.join("node_modules").exists());
}

#[tokio::test]
async fn a_node_pack_that_cannot_be_resolved_says_so() {
    let site = Site::new();
    let text = r#"{"name": "ops", "dependencies": {"no-such-module-here": "1.0.0"}}"#;
    let pack = site.pack("ops", &[("package.json", text)]);
    let problem = problem(&site.worker(GENEROUS), &wanted(Language::Node, "ops", &pack, "a")).await;
    assert!(
        problem.contains("the Node.js environment of pack ops cannot be built from package.json"),
        "{problem}"
    );
    assert!(
        problem.contains("npm install ended with code") && problem.contains("no-such-module-here"),
        "{problem}"
    );
}
