//! How the process of an action is kept apart from the rest of its machine: an image, limits, a sandbox; and what bounds it.
//!
//! The types are what is stored with an action, as JSON, and what a worker reads from there.

use serde::{Deserialize, Serialize};

/// How the process of an action is kept apart. What is left out is not asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Isolation {
    /// The image of the container that it runs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    #[serde(default, skip_serializing_if = "Limits::is_default")]
    pub limits: Limits,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<Sandbox>,
    /// Whether an interpreter that has started already may fork its process; otherwise one is started for each run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm: Option<bool>,
    /// The parameter that says within how many seconds it has to end, where that is less than the timeout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_parameter: Option<String>,
}

/// What each process of a run may take. None: as the worker has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Bytes of address space.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Seconds of processor time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_time: Option<u64>,
    /// Processes and threads of the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<u64>,
    /// Files open at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_files: Option<u64>,
    /// Bytes of one file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_size: Option<u64>,
}

impl Limits {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What a run can reach. Asked for, it is there, or the run fails.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sandbox {
    #[serde(default)]
    pub filesystem: FilesystemAccess,
    /// Absolute paths that may be read besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub read: Vec<String>,
    /// Absolute paths that may be written (and read) besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub write: Vec<String>,
    #[serde(default)]
    pub network: NetworkAccess,
}

/// What a run can reach of the machine's files, besides those of its pack and its own directory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FilesystemAccess {
    /// As the worker's account can.
    #[default]
    Open,
    /// All may be read, nothing written.
    ReadOnly,
    /// Only what programs need may be read, nothing written.
    Private,
}

impl FilesystemAccess {
    /// Every value.
    pub const ALL: &'static [Self] = &[Self::Open, Self::ReadOnly, Self::Private];

    /// The name in pack files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::ReadOnly => "read_only",
            Self::Private => "private",
        }
    }
}

/// What a run can reach of the network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkAccess {
    /// As the worker can.
    #[default]
    Open,
    /// Nothing.
    None,
}

impl NetworkAccess {
    /// Every value.
    pub const ALL: &'static [Self] = &[Self::Open, Self::None];

    /// The name in pack files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::None => "none",
        }
    }
}

crate::value::chosen!(FilesystemAccess, NetworkAccess);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn test_what_is_stored_is_read_again() {
        let all = Isolation {
            image: Some("alpine:3".to_owned()),
            limits: Limits { memory: Some(1 << 26), cpu_time: Some(5), ..Limits::default() },
            sandbox: Some(Sandbox {
                filesystem: FilesystemAccess::ReadOnly,
                write: vec!["/srv".to_owned()],
                network: NetworkAccess::None,
                ..Sandbox::default()
            }),
            warm: Some(false),
            timeout_parameter: Some("seconds".to_owned()),
        };
        let stored = json!({
            "image": "alpine:3",
            "limits": {"memory": 1 << 26, "cpu_time": 5},
            "sandbox": {"filesystem": "read_only", "write": ["/srv"], "network": "none"},
            "warm": false,
            "timeout_parameter": "seconds",
        });
        assert_eq!(serde_json::to_value(&all).unwrap(), stored);
        assert_eq!(serde_json::from_value::<Isolation>(stored).unwrap(), all);
        assert_eq!(serde_json::to_value(Isolation::default()).unwrap(), json!({}));
        for access in FilesystemAccess::ALL {
            assert_eq!(serde_json::to_value(access).unwrap(), access.as_str());
        }
        for access in NetworkAccess::ALL {
            assert_eq!(serde_json::to_value(access).unwrap(), access.as_str());
        }
    }
}
