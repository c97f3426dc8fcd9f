//! Every environment variable that Attune reads, in one place: the reference in the documentation is made from this.

/// One variable and its meaning.
#[derive(Debug)]
pub struct Variable {
    pub name: &'static str,
    pub meaning: &'static str,
}

pub const DATABASE_URL: &str = "DATABASE_URL";
pub const DATA_DIR: &str = "ATTUNE_DATA_DIR";
pub const MASTER_KEY: &str = "ATTUNE_MASTER_KEY";
pub const URL: &str = "ATTUNE_URL";
pub const TOKEN: &str = "ATTUNE_TOKEN";
pub const PROFILE: &str = "ATTUNE_PROFILE";
pub const PASSWORD: &str = "ATTUNE_PASSWORD";
pub const CONFIG_DIR: &str = "ATTUNE_CONFIG_DIR";
pub const LOG: &str = "ATTUNE_LOG";
pub const LISTEN: &str = "ATTUNE_LISTEN";

/// The registry.
pub const VARIABLES: &[Variable] = &[
    Variable {
        name: DATABASE_URL,
        meaning: "PostgreSQL to use instead of a privately managed one (`up`, `serve`, `migrate`, `key rotate`)",
    },
    Variable {
        name: DATA_DIR,
        meaning: "Directory of the managed PostgreSQL, the master key and the pack cache",
    },
    Variable {
        name: MASTER_KEY,
        meaning: "Master key of the secrets, 32 bytes as 64 hexadecimal digits; default: the file `master.key` in the data directory",
    },
    Variable { name: LISTEN, meaning: "Address that the API listens on, as `127.0.0.1:9470`" },
    Variable { name: LOG, meaning: "Log filter, as `info` or `attune_executor=debug`" },
    Variable { name: URL, meaning: "Server that user commands talk to; goes before the profile's" },
    Variable { name: TOKEN, meaning: "Token that user commands sign in with; goes before the profile's" },
    Variable { name: PROFILE, meaning: "Profile of user commands; default: the one last logged in with" },
    Variable { name: PASSWORD, meaning: "Password for `attune login`, instead of asking for it" },
    Variable { name: CONFIG_DIR, meaning: "Directory of the profiles; default: `$XDG_CONFIG_HOME/attune`" },
];
