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
pub const ENVIRONMENT: &str = "ATTUNE_ENVIRONMENT";
pub const PACK_INDEX: &str = "ATTUNE_PACK_INDEX";
pub const API_URL: &str = "ATTUNE_API_URL";
pub const API_TOKEN: &str = "ATTUNE_API_TOKEN";
pub const LOG: &str = "ATTUNE_LOG";
pub const LISTEN: &str = "ATTUNE_LISTEN";
pub const BUILD_LIMIT: &str = "ATTUNE_BUILD_LIMIT";
pub const CONTAINER_NETWORK: &str = "ATTUNE_CONTAINER_NETWORK";
pub const WARM_INTERPRETERS: &str = "ATTUNE_WARM_INTERPRETERS";
pub const HTTP_ALLOW: &str = "ATTUNE_HTTP_ALLOW";
pub const HTTP_DENY: &str = "ATTUNE_HTTP_DENY";
pub const RETAIN_EVENTS: &str = "ATTUNE_RETAIN_EVENTS";
pub const RETAIN_ENFORCEMENTS: &str = "ATTUNE_RETAIN_ENFORCEMENTS";
pub const RETAIN_EXECUTIONS: &str = "ATTUNE_RETAIN_EXECUTIONS";
pub const RETAIN_CHANGES: &str = "ATTUNE_RETAIN_CHANGES";
pub const RETAIN_AUDIT: &str = "ATTUNE_RETAIN_AUDIT";
pub const RETAIN_WORK_ITEMS: &str = "ATTUNE_RETAIN_WORK_ITEMS";
pub const RETAIN_NOTIFICATIONS: &str = "ATTUNE_RETAIN_NOTIFICATIONS";

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
    Variable {
        name: API_URL,
        meaning: "Where actions and sensors find the API, told by workers and sensor roles to what they run; default: the address of the API in the same process. User commands in an action use it",
    },
    Variable {
        name: API_TOKEN,
        meaning: "What an action or a sensor signs in to the API with; made for each attempt and each process of a sensor. User commands in an action use it",
    },
    Variable { name: LOG, meaning: "Log filter, as `info` or `attune_executor=debug`" },
    Variable {
        name: BUILD_LIMIT,
        meaning: "What a worker or a sensor role may take to build the environment of a pack, as `90s`, `30m` or `2h`; default: 15m",
    },
    Variable {
        name: CONTAINER_NETWORK,
        meaning: "Network that a worker puts the containers of actions in, as `host` or the name of one; default: where the container engine puts them",
    },
    Variable {
        name: WARM_INTERPRETERS,
        meaning: "How many Python interpreters a worker keeps waiting at most, one for each environment of a pack; 0 for none; default: 8",
    },
    Variable {
        name: HTTP_ALLOW,
        meaning: "Networks and addresses that `core.http` may reach on a worker besides the public internet, as `10.0.0.0/8,127.0.0.1`",
    },
    Variable {
        name: HTTP_DENY,
        meaning: "Networks and addresses that `core.http` never reaches on a worker; goes before ATTUNE_HTTP_ALLOW",
    },
    Variable {
        name: RETAIN_EVENTS,
        meaning: "How long executors keep events, as `30d`, `12h` or `forever`; default: 30d",
    },
    Variable {
        name: ENVIRONMENT,
        meaning: "What a server is for, as `production`: packs take settings from their file for it (`config/production.yaml`)",
    },
    Variable { name: RETAIN_ENFORCEMENTS, meaning: "How long executors keep enforcements; default: 30d" },
    Variable {
        name: RETAIN_EXECUTIONS,
        meaning: "How long executors keep executions that have ended, with their output; default: 30d",
    },
    Variable { name: RETAIN_CHANGES, meaning: "How long executors keep the change feed; default: 7d" },
    Variable { name: RETAIN_AUDIT, meaning: "How long executors keep the audit log; default: 365d" },
    Variable {
        name: RETAIN_WORK_ITEMS,
        meaning: "How long executors keep items of work queues that are done or dead; default: 30d",
    },
    Variable {
        name: RETAIN_NOTIFICATIONS,
        meaning: "How long executors keep notifications that were delivered; default: 30d",
    },
    Variable { name: URL, meaning: "Server that user commands talk to; goes before the profile's" },
    Variable { name: TOKEN, meaning: "Token that user commands sign in with; goes before the profile's" },
    Variable { name: PROFILE, meaning: "Profile of user commands; default: the one last logged in with" },
    Variable { name: PASSWORD, meaning: "Password for `attune login`, instead of asking for it" },
    Variable {
        name: PACK_INDEX,
        meaning: "Files or URLs of indexes of packs, separated by blanks (`pack install`, `pack search`)",
    },
    Variable { name: CONFIG_DIR, meaning: "Directory of the profiles; default: `$XDG_CONFIG_HOME/attune`" },
];
