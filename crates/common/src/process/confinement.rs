//! What a child gives up before it becomes its program.

use std::os::fd::OwnedFd;
use std::sync::Arc;

/// What a child gives up. On Linux it always gives up new privileges, core files and outliving the process that started it.
#[derive(Debug, Clone, Default)]
pub struct Confinement {
    /// Limits of single processes.
    pub limits: Vec<Limit>,
    /// A Landlock ruleset that it restricts itself by.
    pub files: Option<Arc<OwnedFd>>,
    /// Whether it gets a network of its own, in which nothing can be reached.
    pub without_network: bool,
    /// Whether it may start programs that give it more rights, which is for tools of ours that need such helpers.
    pub may_gain_privileges: bool,
}

impl Confinement {
    /// Whether it asks for anything beyond what every child gives up.
    pub fn is_plain(&self) -> bool {
        self.limits.is_empty() && self.files.is_none() && !self.without_network
    }
}

/// A limit of a single process. Where the one who starts it has less, it gets that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    pub resource: Resource,
    pub value: u64,
}

/// What can be limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Bytes of address space.
    Memory,
    /// Seconds of processor time; SIGXCPU then, SIGKILL a second later.
    CpuTime,
    /// Processes and threads of the account.
    Processes,
    OpenFiles,
    /// Bytes of one file; SIGXFSZ beyond.
    FileSize,
}

/// What a part of the start is called when it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Group,
    Streams,
    Directory,
    Network,
    Limits,
    Privileges,
    Files,
    Program,
}

impl Step {
    /// What could not be done.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Group => "make a process group",
            Self::Streams => "connect the standard streams",
            Self::Directory => "enter the working directory",
            Self::Network => "make a network of its own",
            Self::Limits => "set the limits",
            Self::Privileges => "give up new privileges",
            Self::Files => "restrict the access to files",
            Self::Program => "execute the program",
        }
    }
}
