//! What grants can be about, and which of them can be limited: what the API heeds.

/// The resources that grants name, besides `*` for all of them.
pub const RESOURCES: &[&str] = &[
    "action",
    "artifact",
    "database",
    "enforcement",
    "event",
    "execution",
    "inquiry",
    "key",
    "pack",
    "pause",
    "policy",
    "queue",
    "rule",
    "sensor",
    "trigger",
    "webhook",
    "work_item",
    "worker",
];

/// A resource whose grants can have `constraints`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limited {
    /// The resource.
    pub resource: &'static str,
    /// The actions that can be limited.
    pub actions: &'static [&'static str],
    /// Those of the actions that can be limited to what is one's own.
    pub own: &'static [&'static str],
    /// Whose ref and pack count.
    pub by: &'static str,
}

/// All of them, by resource.
pub const LIMITED: &[Limited] = &[
    Limited { resource: "action", actions: &["read", "update"], own: &[], by: "the action" },
    Limited { resource: "artifact", actions: &["create", "delete", "read"], own: &[], by: "the artifact" },
    Limited { resource: "enforcement", actions: &["read"], own: &[], by: "the rule" },
    Limited { resource: "event", actions: &["create", "read"], own: &[], by: "the trigger" },
    Limited {
        resource: "execution",
        actions: &["cancel", "create", "read", "update"],
        own: &["cancel", "read", "update"],
        by: "the action",
    },
    Limited {
        resource: "inquiry",
        actions: &["cancel", "read", "respond"],
        own: &[],
        by: "the action of the execution that asks",
    },
    Limited { resource: "key", actions: &["create", "delete", "read", "update"], own: &[], by: "the key" },
    Limited {
        resource: "pack",
        actions: &["configure", "create", "delete", "export", "read"],
        own: &[],
        by: "the pack",
    },
    Limited { resource: "policy", actions: &["read"], own: &[], by: "the policy" },
    Limited { resource: "queue", actions: &["read"], own: &[], by: "the queue" },
    Limited { resource: "rule", actions: &["create", "delete", "read", "update"], own: &[], by: "the rule" },
    Limited { resource: "sensor", actions: &["read", "update"], own: &[], by: "the sensor" },
    Limited { resource: "trigger", actions: &["read"], own: &[], by: "the trigger" },
    Limited { resource: "work_item", actions: &["create", "read", "update"], own: &[], by: "the queue" },
];
