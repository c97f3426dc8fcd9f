//! `create_workflow_inquiry`: workflows and the questions they put to people.

use super::model::{Check, Key, NOW, Reference, Table};

pub(crate) const TABLES: &[Table] = &[
    Table {
        name: "workflow_definition",
        required: &[("ref", "'test.workflow_{n}'"), ("version", "'1.0.0'"), ("definition", "'{}'")],
        defaults: &[("created", NOW), ("updated", NOW)],
        checks: &[Check::ref_format("workflow_definition_ref_format")],
        keys: &[
            Key::id("workflow_definition_pkey"),
            Key::r#ref("workflow_definition_ref_key"),
            Key::of("workflow_definition_action_key", &["action"], &[("action", "@action")])
                .repeatable(&[&[("action", "null")]]),
        ],
        references: &[
            Reference::cascade("workflow_definition_pack_fkey", "pack", "pack"),
            Reference::cascade("workflow_definition_action_fkey", "action", "action"),
        ],
        change: &[("version", "'1.0.1'")],
        ..Table::NAMELESS
    },
    Table {
        name: "workflow_state",
        identified_by: &["execution"],
        required: &[("execution", "@execution"), ("definition", "'{}'")],
        defaults: &[("state", "{}"), ("revision", "0"), ("created", NOW), ("updated", NOW)],
        keys: &[Key::of("workflow_state_pkey", &["execution"], &[("execution", "@execution")])],
        references: &[Reference::cascade("workflow_state_execution_fkey", "execution", "execution")],
        change: &[("revision", "1")],
        ..Table::NAMELESS
    },
    Table {
        name: "workflow_task",
        required: &[("execution", "@execution"), ("seq", "0"), ("task", "'first'")],
        defaults: &[("route", "0"), ("created", NOW), ("updated", NOW)],
        checks: &[
            Check {
                name: "workflow_task_item_not_negative",
                field: "item",
                refused: &[&[("item", "-1")]],
                accepted: &[&[("item", "0")], &[("item", "null")]],
            },
            Check {
                name: "workflow_task_seq_not_negative",
                field: "seq",
                refused: &[&[("seq", "-1")]],
                accepted: &[&[("seq", "0")]],
            },
        ],
        keys: &[
            Key::id("workflow_task_pkey"),
            Key::of("workflow_task_child_key", &["child"], &[("child", "@execution")])
                .repeatable(&[&[("child", "null")]]),
            Key {
                name: "workflow_task_seq_key",
                field: "execution_seq_item",
                columns: &["execution", "seq", "item"],
                // A task that is not run for a list has no item; there is one such row, too.
                common: &[("execution", "@execution"), ("seq", "1"), ("item", "null")],
                named_value: true,
                repeatable: &[],
            },
        ],
        references: &[
            Reference::cascade("workflow_task_execution_fkey", "execution", "execution"),
            Reference::forget("workflow_task_child_fkey", "child", "execution"),
        ],
        change: &[("result", "'{}'")],
        ..Table::NAMELESS
    },
    Table {
        name: "inquiry",
        required: &[("execution", "@execution"), ("prompt", "'Go on?'")],
        defaults: &[
            ("response_schema", "{}"),
            ("allow_self_approval", "true"),
            ("status", "pending"),
            ("created", NOW),
            ("updated", NOW),
        ],
        checks: &[
            Check {
                name: "inquiry_prompt_not_empty",
                field: "prompt",
                refused: &[&[("prompt", "''")]],
                accepted: &[&[("prompt", "'?'")]],
            },
            Check {
                name: "inquiry_responded_complete",
                field: "status",
                refused: &[
                    &[("status", "'responded'")],
                    &[("status", "'responded'"), ("responded_at", "clock_timestamp()")],
                    &[("status", "'responded'"), ("response", "'{}'")],
                    &[("status", "'pending'"), ("responded_at", "clock_timestamp()")],
                    &[("status", "'pending'"), ("response", "'{}'")],
                    &[("status", "'timeout'"), ("responded_at", "clock_timestamp()")],
                    &[("status", "'cancelled'"), ("responded_at", "clock_timestamp()")],
                ],
                accepted: &[
                    &[("status", "'responded'"), ("responded_at", "clock_timestamp()"), ("response", "'{}'")],
                    &[("status", "'timeout'")],
                    &[("status", "'cancelled'")],
                ],
            },
        ],
        keys: &[
            Key::id("inquiry_pkey"),
            Key {
                name: "inquiry_dedup_key",
                field: "execution_attempt_dedup_key",
                columns: &["execution", "attempt", "dedup_key"],
                common: &[("execution", "@execution"), ("attempt", "1"), ("dedup_key", "'same'")],
                named_value: true,
                repeatable: &[
                    &[("execution", "@execution"), ("attempt", "1"), ("dedup_key", "null")],
                    &[("execution", "@execution"), ("attempt", "null"), ("dedup_key", "'same'")],
                ],
            },
        ],
        references: &[
            Reference::cascade("inquiry_execution_fkey", "execution", "execution"),
            Reference::forget("inquiry_assigned_to_fkey", "assigned_to", "identity"),
            Reference::forget("inquiry_responded_by_fkey", "responded_by", "identity"),
        ],
        change: &[("assigned_role", "'operators'")],
        ..Table::NAMELESS
    },
];
