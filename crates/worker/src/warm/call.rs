//! Tells what of a command is the interpreter and what the script, and which interpreter has to wait for it. Pure.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use attune_common::process::{Confinement, Program, Resource};
use serde_json::{Map, Value, json};

/// Options that a waiting interpreter can have been started with. Others change how it finds modules or what it runs.
const OPTIONS: &[&str] = &["-u", "-B", "-O", "-OO", "-b", "-bb", "-q", "-s"];
/// Variables that an interpreter looks at when it starts: a process with other values needs another interpreter.
const SHAPING: &[&str] = &["HOME", "LANG", "LANGUAGE", "PATH", "TMPDIR", "TZ", "VIRTUAL_ENV"];
const SHAPING_PREFIXES: &[&str] = &["PYTHON", "LC_", "LD_"];

/// What an interpreter is started with, and told apart by.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Interpreter {
    pub(super) program: PathBuf,
    pub(super) options: Vec<OsString>,
    pub(super) env: BTreeMap<OsString, OsString>,
}

impl std::fmt::Debug for Interpreter {
    /// Leaves out the values of the environment.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.env.keys().collect();
        f.debug_struct("Interpreter")
            .field("program", &self.program)
            .field("options", &self.options)
            .field("env", &names)
            .finish()
    }
}

/// A script that a waiting interpreter can run.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Call<'a> {
    pub(super) interpreter: Interpreter,
    pub(super) script: &'a OsStr,
    args: &'a [OsString],
    limits: Map<String, Value>,
}

impl<'a> Call<'a> {
    /// None unless the program is Python, its arguments are a script after options that make no difference, and what it gives
    /// up is what a forked process can.
    pub(super) fn of(program: &Program<'a>) -> Option<Self> {
        if !is_python(program.program) {
            return None;
        }
        let at = program.args.iter().position(|argument| !argument.as_bytes().starts_with(b"-"))?;
        let (options, rest) = program.args.split_at(at);
        let (script, args) = rest.split_first()?;
        let known = |option: &OsString| option.to_str().is_some_and(|option| OPTIONS.contains(&option));
        if !Path::new(script).is_absolute() || !options.iter().all(known) {
            return None;
        }
        let limits = limits(program.confinement)?;
        let shapes = |name: &OsStr| {
            name.to_str().is_some_and(|name| {
                SHAPING.contains(&name) || SHAPING_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            })
        };
        let env = program.env.iter().filter(|(name, _)| shapes(name));
        Some(Self {
            interpreter: Interpreter {
                program: program.program.to_owned(),
                options: options.to_vec(),
                env: env.map(|(name, value)| (name.clone(), value.clone())).collect(),
            },
            script,
            args,
            limits,
        })
    }

    /// What the forked process reads: a line of JSON, then texts that each end in NUL. None where one contains NUL, which no
    /// process can be given.
    pub(super) fn request(&self, program: &Program<'_>) -> Option<Vec<u8>> {
        let original = std::iter::once(program.program.as_os_str())
            .chain(program.args.iter().map(OsString::as_os_str))
            .collect::<Vec<_>>();
        let header = json!({
            "orig_argv": original.len(),
            "args": self.args.len(),
            "limits": self.limits,
            "no_new_privs": true,
        });
        let mut content = format!("{header}\n").into_bytes();
        let texts = [self.script, program.cwd.as_os_str()];
        for text in texts.into_iter().chain(original).chain(self.args.iter().map(OsString::as_os_str)) {
            push(&mut content, &[text.as_bytes()])?;
        }
        for (name, value) in program.env {
            if name.is_empty() || name.as_bytes().contains(&b'=') {
                return None;
            }
            push(&mut content, &[name.as_bytes(), b"=", value.as_bytes()])?;
        }
        Some(content)
    }
}

/// The limits by the names that Python has for them. None where more is given up: a sandbox is made by the ordinary start, and of
/// the address space a runner has filled more than its script would have.
fn limits(confinement: &Confinement) -> Option<Map<String, Value>> {
    if confinement.files.is_some() || confinement.without_network || confinement.may_gain_privileges {
        return None;
    }
    let mut limits = Map::new();
    for limit in &confinement.limits {
        let name = match limit.resource {
            Resource::Memory => return None,
            Resource::CpuTime => "cpu",
            Resource::Processes => "nproc",
            Resource::OpenFiles => "nofile",
            Resource::FileSize => "fsize",
        };
        limits.insert(name.to_owned(), limit.value.into());
    }
    // As for every process: what it had in its memory is not written to disk when it crashes.
    limits.insert("core".to_owned(), 0.into());
    Some(limits)
}

fn push(content: &mut Vec<u8>, pieces: &[&[u8]]) -> Option<()> {
    for piece in pieces {
        if piece.contains(&0) {
            return None;
        }
        content.extend_from_slice(piece);
    }
    content.push(0);
    Some(())
}

/// Whether this is how an interpreter is called: `python`, `python3` or `python3.11`, wherever it lies.
fn is_python(program: &Path) -> bool {
    let name = program.file_name().and_then(OsStr::to_str).unwrap_or_default();
    name.strip_prefix("python").is_some_and(|version| version.chars().all(|c| c.is_ascii_digit() || c == '.'))
}

#[cfg(test)]
mod tests {
    use attune_common::process::Limit;

    use super::*;

    fn call(program: &str, args: &[&str], env: &[(&str, &str)]) -> Option<(Interpreter, String)> {
        confined(program, args, env, &Confinement::default())
    }

    fn confined(
        program: &str,
        args: &[&str],
        env: &[(&str, &str)],
        confinement: &Confinement,
    ) -> Option<(Interpreter, String)> {
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        let env = env.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect();
        let program = Program {
            program: Path::new(program),
            args: &args,
            env: &env,
            cwd: Path::new("/run"),
            with_stdin: false,
            confinement,
        };
        let call = Call::of(&program)?;
        let request = call.request(&program)?;
        Some((call.interpreter, String::from_utf8(request).unwrap()))
    }

    #[test]
    fn test_python_with_a_script_is_a_call() {
        let env = [("PATH", "/bin"), ("PYTHONPATH", "/sdk"), ("ATTUNE_ACTION_X", "secret")];
        let (interpreter, request) = call("/venv/bin/python3.11", &["-u", "/p/a.py", "-x"], &env).unwrap();
        assert_eq!(interpreter.options, ["-u"]);
        let names: Vec<_> = interpreter.env.keys().collect();
        assert_eq!(names, ["PATH", "PYTHONPATH"]);
        let expected = "{\"args\":1,\"limits\":{\"core\":0},\"no_new_privs\":true,\"orig_argv\":4}\n/p/a.py\0/run\0/venv/bin/python3.11\0-u\0/p/a.py\0-x\0-x\0\
                        ATTUNE_ACTION_X=secret\0PATH=/bin\0PYTHONPATH=/sdk\0";
        assert_eq!(request, expected);
    }

    #[test]
    fn test_what_is_no_plain_call_of_python_is_left_alone() {
        for program in ["sh", "/usr/bin/pythonic", "/usr/bin/ipython3", "python3-config"] {
            assert_eq!(call(program, &["/p/a.py"], &[]), None, "{program}");
        }
        let others: [&[&str]; 7] =
            [&[], &["-u"], &["-m", "x"], &["-I", "/p/a.py"], &["-c", "/p"], &["a.py"], &["-", "/p/a.py"]];
        for args in others {
            assert_eq!(call("python3", args, &[]), None, "{args:?}");
        }
        assert_eq!(call("python3", &["/p/a.py", "x\0y"], &[]), None);
        assert_eq!(call("python3", &["/p/a.py"], &[("A=B", "")]), None);
    }

    #[test]
    fn test_limits_go_along_and_a_sandbox_is_left_alone() {
        let limit = |resource| Limit { resource, value: 7 };
        let with = |limits: &[Limit]| {
            let confinement = Confinement { limits: limits.to_vec(), ..Confinement::default() };
            confined("python3", &["/p/a.py"], &[], &confinement)
        };
        let (_, request) = with(&[limit(Resource::OpenFiles), limit(Resource::CpuTime)]).unwrap();
        assert!(
            request.starts_with("{\"args\":0,\"limits\":{\"core\":0,\"cpu\":7,\"nofile\":7},"),
            "{request}"
        );
        assert_eq!(with(&[limit(Resource::Memory)]), None);
        let confinement = Confinement { without_network: true, ..Confinement::default() };
        assert_eq!(confined("python3", &["/p/a.py"], &[], &confinement), None);
    }
}
