//! `create_rule`: rules, their past versions, and the version of them all.

use super::model::{Check, Key, NOW, Reference, Table};

pub(crate) const TABLES: &[Table] = &[
    Table {
        name: "rule",
        required: &[
            ("ref", "'test.rule_{n}'"),
            ("trigger_ref", "'test.trigger'"),
            ("action_ref", "'test.action'"),
        ],
        defaults: &[
            ("enabled", "true"),
            ("mode", "active"),
            ("trigger_params", "{}"),
            ("condition", "all"),
            ("conditions", "[]"),
            ("action_params", "{}"),
            ("version", "1"),
            ("created", NOW),
            ("updated", NOW),
        ],
        checks: &[
            Check {
                name: "rule_condition_check",
                field: "condition",
                refused: &[&[("condition", "''")], &[("condition", "'none'")], &[("condition", "'ALL'")]],
                accepted: &[&[("condition", "'all'")], &[("condition", "'any'")]],
            },
            Check {
                name: "rule_conditions_list",
                field: "conditions",
                refused: &[&[("conditions", "'{}'")], &[("conditions", "'null'")]],
                accepted: &[&[("conditions", "'[]'")]],
            },
            Check::ref_format("rule_ref_format"),
            Check {
                name: "rule_window_object",
                field: "rule_window",
                refused: &[&[("rule_window", "'[]'")], &[("rule_window", "'null'")]],
                accepted: &[&[("rule_window", "'{}'")], &[("rule_window", "null")]],
            },
            Check::retry_complete("rule_retry_complete"),
            Check {
                name: "rule_config_object",
                field: "config",
                refused: &[&[("config", "'[]'")], &[("config", "'null'")]],
                accepted: &[&[("config", "'{}'")], &[("config", "null")]],
            },
            Check {
                name: "rule_version_positive",
                field: "version",
                refused: &[&[("version", "0")], &[("version", "-1")]],
                accepted: &[&[("version", "1")]],
            },
        ],
        keys: &[Key::id("rule_pkey"), Key::r#ref("rule_ref_key"), Key::id_with_ref("rule_id_ref_key")],
        references: &[
            Reference::cascade("rule_pack_fkey", "pack", "pack"),
            Reference::set_null("rule_trigger_fkey", "trigger", "trigger", "trigger_ref"),
            Reference::set_null("rule_action_fkey", "action", "action", "action_ref"),
            Reference::forget("rule_owner_fkey", "owner", "identity"),
        ],
        change: &[("mode", "'shadow'")],
        ..Table::NAMELESS
    },
    Table {
        name: "rule_version",
        required: &[
            ("rule_ref", "'test.rule'"),
            ("trigger_ref", "'test.trigger'"),
            ("version", "1"),
            ("rule_set_version", "1"),
            ("definition", "'{}'"),
        ],
        defaults: &[("removed", "false"), ("created", NOW)],
        keys: &[
            Key::id("rule_version_pkey"),
            Key {
                name: "rule_version_key",
                field: "rule_version",
                columns: &["rule", "version"],
                common: &[("rule", "@rule"), ("version", "3")],
                named_value: true,
                // Of rules that are gone, of which several may have had the same name.
                repeatable: &[&[("rule", "null"), ("rule_ref", "'test.gone'"), ("version", "3")]],
            },
        ],
        references: &[Reference::set_null("rule_version_rule_fkey", "rule", "rule", "rule_ref")],
        ..Table::NAMELESS
    },
    Table {
        name: "rule_set",
        defaults: &[("id", "true"), ("version", "1")],
        checks: &[Check {
            name: "rule_set_single_row",
            field: "id",
            refused: &[&[("id", "false")]],
            accepted: &[&[("id", "true")]],
        }],
        keys: &[Key::of("rule_set_pkey", &["id"], &[("id", "true")])],
        ..Table::NAMELESS
    },
];
