//! `create_trigger_action`: what can happen, who watches for it, and what can be done.

use super::model::{Check, Key, NOW, Reference, Table};

pub(crate) const TABLES: &[Table] = &[
    Table {
        name: "trigger",
        required: &[("ref", "'test.trigger_{n}'")],
        defaults: &[
            ("enabled", "true"),
            ("param_schema", "{}"),
            ("out_schema", "{}"),
            ("created", NOW),
            ("updated", NOW),
        ],
        checks: &[
            Check::ref_format("trigger_ref_format"),
            Check {
                name: "trigger_webhook_complete",
                field: "webhook",
                refused: &[&[("webhook", "'{}'")], &[("webhook_key", "'key_{n}'")]],
                accepted: &[&[("webhook", "'{}'"), ("webhook_key", "'key_{n}'")]],
            },
        ],
        keys: &[
            Key::id("trigger_pkey"),
            Key::r#ref("trigger_ref_key"),
            Key::id_with_ref("trigger_id_ref_key"),
            Key::of(
                "trigger_webhook_key_key",
                &["webhook_key"],
                &[("webhook", "'{}'"), ("webhook_key", "'same_{n}'")],
            )
            .secret()
            .repeatable(&[&[("webhook", "null"), ("webhook_key", "null")]]),
        ],
        references: &[Reference::cascade("trigger_pack_fkey", "pack", "pack")],
        change: &[("enabled", "false")],
        ..Table::NAMELESS
    },
    Table {
        name: "sensor",
        required: &[
            ("ref", "'test.sensor_{n}'"),
            ("runtime_ref", "'core.shell'"),
            ("entrypoint", "'watch.sh'"),
        ],
        defaults: &[
            ("enabled", "true"),
            ("trigger_refs", "[]"),
            ("param_schema", "{}"),
            ("config", "{}"),
            ("permissions", "[]"),
            ("life", "0"),
            ("created", NOW),
            ("updated", NOW),
        ],
        checks: &[
            Check {
                name: "sensor_permissions_list",
                field: "permissions",
                refused: &[&[("permissions", "'{}'")]],
                accepted: &[&[("permissions", "'[]'")]],
            },
            Check {
                name: "sensor_entrypoint_not_empty",
                field: "entrypoint",
                refused: &[&[("entrypoint", "''")]],
                accepted: &[&[("entrypoint", "'e'")]],
            },
            Check::ref_format("sensor_ref_format"),
        ],
        keys: &[Key::id("sensor_pkey"), Key::r#ref("sensor_ref_key")],
        references: &[
            Reference::cascade("sensor_pack_fkey", "pack", "pack"),
            Reference::set_null("sensor_runtime_fkey", "runtime", "runtime", "runtime_ref"),
        ],
        change: &[("enabled", "false")],
        unnoticed: &[("life", "1")],
        ..Table::NAMELESS
    },
    Table {
        name: "action",
        required: &[
            ("ref", "'test.action_{n}'"),
            ("runtime_ref", "'core.shell'"),
            ("entrypoint", "'run.sh'"),
        ],
        defaults: &[
            ("enabled", "true"),
            ("param_schema", "{}"),
            ("out_schema", "{}"),
            ("parameter_delivery", "stdin"),
            ("parameter_format", "json"),
            ("output_format", "text"),
            ("timeout_seconds", "60"),
            ("retry", "{}"),
            ("on_worker_loss", "abandon"),
            ("isolation", "{}"),
            ("placement", "1"),
            ("permissions", "[]"),
            ("artifacts", "[]"),
            ("keys", "[]"),
            ("is_workflow", "false"),
            ("created", NOW),
            ("updated", NOW),
        ],
        checks: &[
            Check {
                name: "action_artifacts_list",
                field: "artifacts",
                refused: &[&[("artifacts", "'{}'")]],
                accepted: &[&[("artifacts", "'[]'")]],
            },
            Check {
                name: "action_keys_list",
                field: "keys",
                refused: &[&[("keys", "'{}'")]],
                accepted: &[&[("keys", "'[]'")]],
            },
            Check {
                name: "action_permissions_list",
                field: "permissions",
                refused: &[&[("permissions", "'{}'")]],
                accepted: &[&[("permissions", "'[]'")]],
            },
            Check {
                name: "action_entrypoint_not_empty",
                field: "entrypoint",
                refused: &[&[("entrypoint", "''")]],
                accepted: &[&[("entrypoint", "'e'")]],
            },
            Check {
                name: "action_isolation_object",
                field: "isolation",
                refused: &[&[("isolation", "'[]'")]],
                accepted: &[&[("isolation", "'{}'")]],
            },
            Check::ref_format("action_ref_format"),
            Check::retry_complete("action_retry_complete"),
            Check {
                name: "action_timeout_positive",
                field: "timeout_seconds",
                refused: &[
                    &[("timeout_seconds", "0")],
                    &[("timeout_seconds", "-1")],
                    &[("timeout_seconds", "'Infinity'")],
                    &[("timeout_seconds", "'NaN'")],
                ],
                accepted: &[&[("timeout_seconds", "0.001")], &[("timeout_seconds", "1e9")]],
            },
        ],
        keys: &[Key::id("action_pkey"), Key::r#ref("action_ref_key")],
        references: &[
            Reference::cascade("action_pack_fkey", "pack", "pack"),
            Reference::set_null("action_runtime_fkey", "runtime", "runtime", "runtime_ref"),
            Reference::refused("action_placement_fkey", "placement", "placement"),
        ],
        change: &[("timeout_seconds", "5")],
        ..Table::NAMELESS
    },
];
