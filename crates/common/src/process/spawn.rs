//! Starts a child on Linux: in the memory of this process and with the starting thread standing still, as `posix_spawn`
//! does, since a fork would copy the page tables of a large process for each of its small children - but with steps in
//! between that `posix_spawn` does not have.
//!
//! Children are started by threads that do nothing else and live as long as the process: the signal that a child gets when
//! its parent dies is sent when the *thread* dies that started it.
//!
//! This module is the only one with unsafe code, for `clone` and what its child calls. The rules for that child: it runs on a
//! stack of its own while its parent thread waits, shares all memory, and so may neither allocate, nor lock, nor panic, nor
//! return; it makes system calls by the thin wrappers of libc and ends in `execve` or `_exit`. All signals are blocked from
//! before `clone` until the handlers of this process are gone from the child.
#![expect(unsafe_code, reason = "clone and the system calls of its child have no safe interface")]

use std::ffi::{CString, c_char, c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::process::ExitStatus;
use std::sync::OnceLock;
use std::sync::mpsc;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::confinement::{Confinement, Resource, Step};

/// Threads that start children.
const STARTERS: usize = 2;
/// Far more than the few small frames of the child need.
const STACK: usize = 64 * 1024;
/// `_NSIG - 1`: the signals that there are.
const SIGNALS: c_int = 64;
/// The exit code of a child that did not become its program.
const NOT_STARTED: c_int = 127;

/// Everything that a child needs, ready to be used without allocation. Without `Debug`: secrets travel in the environment.
pub(super) struct Plan {
    pub(super) program: CString,
    /// With the program itself.
    pub(super) args: Vec<CString>,
    /// `NAME=value`.
    pub(super) env: Vec<CString>,
    pub(super) cwd: CString,
    /// What become its standard input, output and error.
    pub(super) streams: [OwnedFd; 3],
    pub(super) confinement: Confinement,
}

/// Which step of a start failed.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) step: Step,
    pub(super) source: io::Error,
}

/// A child that was started.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) pid: i32,
    /// Readable once the child has ended.
    pub(super) handle: OwnedFd,
}

type Request = (Plan, tokio::sync::oneshot::Sender<Result<Started, Failed>>);

/// Starts a child.
pub(super) async fn start(plan: Plan) -> Result<Started, Failed> {
    let (answer, started) = tokio::sync::oneshot::channel();
    let gone = || Failed {
        step: Step::Program,
        source: io::Error::other("the thread that starts processes is gone"),
    };
    let starters = STARTER.get_or_init(begin_starters);
    starters
        .as_ref()
        .map_err(|error| Failed { step: Step::Program, source: io::Error::from(*error) })?
        .send((plan, answer))
        .map_err(|_| gone())?;
    started.await.map_err(|_| gone())?
}

static STARTER: OnceLock<Result<mpsc::Sender<Request>, io::ErrorKind>> = OnceLock::new();

fn begin_starters() -> Result<mpsc::Sender<Request>, io::ErrorKind> {
    let (sender, receiver) = mpsc::channel::<Request>();
    let receiver = std::sync::Arc::new(std::sync::Mutex::new(receiver));
    for _ in 0..STARTERS {
        let receiver = receiver.clone();
        std::thread::Builder::new()
            .name("attune-starter".to_owned())
            .spawn(move || {
                let mut stack = vec![MaybeUninit::<u128>::uninit(); STACK / size_of::<u128>()];
                loop {
                    // Poisoned only if taking a request could panic.
                    let request = match receiver.lock() {
                        Ok(receiver) => receiver.recv(),
                        Err(_) => return,
                    };
                    let Ok((plan, answer)) = request else { return };
                    let started = clone_child(&plan, &mut stack);
                    // The streams of the child are closed here before anybody hears of it.
                    drop(plan);
                    if let Err(Ok(unwanted)) = answer.send(started) {
                        // Whoever wanted it has gone: nobody else would end it.
                        end(&unwanted);
                    }
                }
            })
            .map_err(|error| error.kind())?;
    }
    Ok(sender)
}

/// What the child reads, and where it leaves word.
struct Shared<'a> {
    plan: &'a Plan,
    argv: &'a [*const c_char],
    envp: &'a [*const c_char],
    limits: &'a [(c_int, libc::rlimit)],
    uid_map: &'a [u8],
    gid_map: &'a [u8],
    parent: libc::pid_t,
    /// Nothing while all goes well.
    failed: Option<(Step, c_int)>,
}

fn clone_child(plan: &Plan, stack: &mut [MaybeUninit<u128>]) -> Result<Started, Failed> {
    let pointers = |strings: &[CString]| -> Vec<*const c_char> {
        strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, envp) = (pointers(&plan.args), pointers(&plan.env));
    let limits = limits(&plan.confinement);
    // SAFETY: these cannot fail and touch no memory.
    let (uid, gid, parent) = unsafe { (libc::geteuid(), libc::getegid(), libc::getpid()) };
    let (uid_map, gid_map) = (format!("{uid} {uid} 1\n"), format!("{gid} {gid} 1\n"));
    let mut shared = Shared {
        plan,
        argv: &argv,
        envp: &envp,
        limits: &limits,
        uid_map: uid_map.as_bytes(),
        gid_map: gid_map.as_bytes(),
        parent,
        failed: None,
    };
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the stack is this thread's own and lives until `clone` returns, which with CLONE_VFORK is when the child has
    // gone on to its program or ended; it grows down from its end, which is aligned as a u128 is. `shared` lives as long, and
    // nobody but the child touches it meanwhile. No signal handler runs in the child, which would find this process's
    // memory in a state it does not expect.
    let pid = unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        let top = stack.as_mut_ptr_range().end.cast::<c_void>();
        let pid = libc::clone(child, top, flags, (&raw mut shared).cast::<c_void>());
        let error = io::Error::last_os_error();
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut());
        if pid < 0 { Err(error) } else { Ok(pid) }
    };
    let pid = pid.map_err(|source| Failed { step: Step::Program, source })?;
    if let Some((step, errno)) = shared.failed {
        // It has ended, and nobody else knows of it.
        let _status = wait(pid);
        return Err(Failed { step, source: io::Error::from_raw_os_error(errno) });
    }
    // SAFETY: takes numbers only; the child cannot have been reaped, so the number is its own. What comes back is a new
    // file descriptor that nobody else owns.
    let handle = unsafe {
        match libc::syscall(libc::SYS_pidfd_open, pid, 0) {
            fd if fd >= 0 => Ok(OwnedFd::from_raw_fd(fd as RawFd)),
            _ => Err(io::Error::last_os_error()),
        }
    };
    match handle {
        Ok(handle) => Ok(Started { pid, handle }),
        Err(source) => {
            // SAFETY: as above.
            unsafe { libc::killpg(pid, libc::SIGKILL) };
            let _status = wait(pid);
            Err(Failed { step: Step::Program, source })
        }
    }
}

fn end(unwanted: &Started) {
    // SAFETY: takes numbers only; the child cannot have been reaped, so the number is its own.
    unsafe { libc::killpg(unwanted.pid, libc::SIGKILL) };
    let _status = wait(unwanted.pid);
}

/// The handle of a child, to be waited for.
pub(super) fn watch(handle: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` stands for the same open file until it is dropped, which `AsyncFd` does after it let go of it.
    Ok(unsafe { AsyncFd::register_with_interest(handle, Interest::READABLE) }?)
}

/// Takes the exit status of a child; waits for its end.
pub(super) fn wait(pid: i32) -> io::Result<ExitStatus> {
    use std::os::unix::process::ExitStatusExt;

    let mut status = 0;
    loop {
        // SAFETY: the pointer is to a place of its type.
        let waited = unsafe { libc::waitpid(pid, &mut status, 0) };
        if waited >= 0 {
            return Ok(ExitStatus::from_raw(status));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// The limits as the kernel takes them, none above what this process has itself.
fn limits(confinement: &Confinement) -> Vec<(c_int, libc::rlimit)> {
    let own = |resource: c_int| {
        let mut own = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
        // SAFETY: the pointer is to a place of its type.
        unsafe { libc::getrlimit(resource as _, &mut own) };
        own
    };
    let wanted = confinement.limits.iter().map(|limit| {
        let resource = number(limit.resource);
        let own = own(resource);
        let soft = limit.value.min(own.rlim_max);
        let hard = match limit.resource {
            // The soft limit is a signal that can be told from others, the hard one a kill.
            Resource::CpuTime => soft.saturating_add(1).min(own.rlim_max),
            _ => soft,
        };
        (resource, libc::rlimit { rlim_cur: soft, rlim_max: hard })
    });
    // What a process had in its memory, secrets too, is not written to disk when it crashes.
    let no_core = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    wanted.chain([(libc::RLIMIT_CORE as c_int, no_core)]).collect()
}

fn number(resource: Resource) -> c_int {
    (match resource {
        Resource::Memory => libc::RLIMIT_AS,
        Resource::CpuTime => libc::RLIMIT_CPU,
        Resource::Processes => libc::RLIMIT_NPROC,
        Resource::OpenFiles => libc::RLIMIT_NOFILE,
        Resource::FileSize => libc::RLIMIT_FSIZE,
    }) as c_int
}

/// The child's life up to its program. See the rules at the top.
extern "C" fn child(argument: *mut c_void) -> c_int {
    // SAFETY: the argument is the `Shared` of `clone_child`, which lives until this has ended or become its program, and
    // which nobody else touches meanwhile.
    let shared = unsafe { &mut *argument.cast::<Shared<'_>>() };
    // SAFETY: system calls on numbers and on strings that live as long as `shared`.
    unsafe {
        let failed = match prepare(shared) {
            Err(step) => step,
            Ok(()) => {
                libc::execve(shared.plan.program.as_ptr(), shared.argv.as_ptr(), shared.envp.as_ptr());
                Step::Program
            }
        };
        shared.failed = Some((failed, *libc::__errno_location()));
        libc::_exit(NOT_STARTED)
    }
}

/// Everything before the program; an error leaves its number in `errno`.
///
/// # Safety
/// Only for the child of `clone_child`.
unsafe fn prepare(shared: &Shared<'_>) -> Result<(), Step> {
    let check = |step: Step, result: c_int| if result < 0 { Err(step) } else { Ok(()) };
    let confinement = &shared.plan.confinement;
    // SAFETY: system calls on numbers, and on memory that lives as long as `shared`.
    unsafe {
        // What this process handles or ignores is not for the child to handle or ignore.
        let mut default: libc::sigaction = std::mem::zeroed();
        default.sa_sigaction = libc::SIG_DFL;
        for signal in 1..=SIGNALS {
            libc::sigaction(signal, &default, std::ptr::null_mut());
        }
        check(Step::Group, libc::setpgid(0, 0))?;
        for (target, stream) in (0..).zip(&shared.plan.streams) {
            check(Step::Streams, libc::dup2(stream.as_raw_fd(), target))?;
        }
        check(Step::Directory, libc::chdir(shared.plan.cwd.as_ptr()))?;
        if confinement.without_network {
            check(Step::Network, leave_network(shared))?;
        }
        // After what changes capabilities, which would clear it.
        check(Step::Privileges, libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
        if libc::getppid() != shared.parent {
            // It died before it could be noticed.
            libc::_exit(NOT_STARTED);
        }
        for (resource, limit) in shared.limits {
            check(Step::Limits, libc::setrlimit(*resource as _, limit))?;
        }
        if !confinement.may_gain_privileges {
            check(Step::Privileges, libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
        }
        if let Some(files) = &confinement.files {
            let restricted = libc::syscall(libc::SYS_landlock_restrict_self, files.as_raw_fd(), 0);
            check(Step::Files, restricted as c_int)?;
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
    }
    Ok(())
}

/// A network of its own; who may not make one makes a user namespace first, in which it may.
///
/// # Safety
/// Only for the child of `clone_child`.
unsafe fn leave_network(shared: &Shared<'_>) -> c_int {
    // SAFETY: system calls on numbers, and on memory that lives as long as `shared`.
    unsafe {
        if libc::unshare(libc::CLONE_NEWNET) == 0 {
            return 0;
        }
        if libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET) < 0 {
            return -1;
        }
        // The account stays what it is.
        for (file, content) in [
            (c"/proc/self/setgroups", b"deny".as_slice()),
            (c"/proc/self/uid_map", shared.uid_map),
            (c"/proc/self/gid_map", shared.gid_map),
        ] {
            let file = libc::open(file.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
            if file < 0 || libc::write(file, content.as_ptr().cast(), content.len()) < 0 {
                return -1;
            }
            libc::close(file);
        }
        0
    }
}
