//! `create_policy_queue`: what holds work back, and what feeds it in portions.

use super::model::{Check, Key, NOW, Reference, Table};

pub(crate) const TABLES: &[Table] = &[
    Table {
        name: "policy",
        required: &[("ref", "'test.policy_{n}'")],
        // A policy limits something, somewhere.
        also: &[("action_ref", "'test.action'"), ("concurrency", "1")],
        defaults: &[
            ("enabled", "true"),
            ("parameters", "[]"),
            ("method", "enqueue"),
            ("created", NOW),
            ("updated", NOW),
        ],
        checks: &[
            Check {
                name: "policy_concurrency_positive",
                field: "concurrency",
                refused: &[&[("concurrency", "0")], &[("concurrency", "-1")]],
                accepted: &[&[("concurrency", "1")]],
            },
            Check {
                name: "policy_has_limit",
                field: "concurrency",
                refused: &[&[("concurrency", "null")]],
                accepted: &[
                    &[("concurrency", "1")],
                    &[("concurrency", "null"), ("rate_count", "1"), ("rate_seconds", "1")],
                ],
            },
            Check {
                name: "policy_has_scope",
                field: "action_ref",
                refused: &[&[("action_ref", "null")]],
                accepted: &[&[("action_ref", "null"), ("pack", "@pack")]],
            },
            Check {
                name: "policy_parameters_of_concurrency",
                field: "parameters",
                refused: &[&[
                    ("concurrency", "null"),
                    ("rate_count", "1"),
                    ("rate_seconds", "1"),
                    ("parameters", "array['host']"),
                ]],
                accepted: &[&[("parameters", "array['host']")]],
            },
            Check {
                name: "policy_rate_complete",
                field: "rate_count",
                refused: &[&[("rate_count", "1")], &[("rate_seconds", "1")]],
                accepted: &[&[("rate_count", "1"), ("rate_seconds", "1")]],
            },
            Check {
                name: "policy_rate_count_positive",
                field: "rate_count",
                refused: &[
                    &[("rate_count", "0"), ("rate_seconds", "1")],
                    &[("rate_count", "-1"), ("rate_seconds", "1")],
                ],
                accepted: &[&[("rate_count", "1"), ("rate_seconds", "1")]],
            },
            Check {
                name: "policy_rate_seconds_positive",
                field: "rate_seconds",
                refused: &[
                    &[("rate_count", "1"), ("rate_seconds", "0")],
                    &[("rate_count", "1"), ("rate_seconds", "-1")],
                    &[("rate_count", "1"), ("rate_seconds", "'Infinity'")],
                    &[("rate_count", "1"), ("rate_seconds", "'NaN'")],
                ],
                accepted: &[&[("rate_count", "1"), ("rate_seconds", "0.001")]],
            },
            Check::ref_format("policy_ref_format"),
        ],
        keys: &[Key::id("policy_pkey"), Key::r#ref("policy_ref_key")],
        references: &[Reference::cascade("policy_pack_fkey", "pack", "pack")],
        change: &[("enabled", "false")],
        ..Table::NAMELESS
    },
    Table {
        name: "admission_lane",
        required: &[
            ("action_ref", "'test.action'"),
            ("shape", "'1:host'"),
            ("fingerprint", "'fingerprint-{n}'"),
        ],
        defaults: &[("parts", "[]"), ("created", NOW)],
        checks: &[Check {
            name: "admission_lane_parts_list",
            field: "parts",
            refused: &[&[("parts", "'{}'")], &[("parts", "'1'")]],
            accepted: &[&[("parts", r#"'[{"policy": 1, "key": "none"}]'"#)]],
        }],
        keys: &[
            Key::id("admission_lane_pkey"),
            Key::of(
                "admission_lane_fingerprint_key",
                &["fingerprint"],
                &[("fingerprint", "'fingerprint-same-{n}'")],
            ),
        ],
        ..Table::NAMELESS
    },
    Table {
        name: "admission",
        identified_by: &["execution"],
        required: &[("execution", "@execution")],
        defaults: &[("priority", "0"), ("ended", "false"), ("created", NOW)],
        checks: &[
            Check {
                name: "admission_ended_was_admitted",
                field: "ended",
                refused: &[&[("ended", "true")]],
                accepted: &[&[("ended", "true"), ("admitted", "clock_timestamp()")]],
            },
            Check {
                name: "admission_counted_was_admitted",
                field: "counted_until",
                refused: &[&[("counted_until", "clock_timestamp()")]],
                accepted: &[&[("counted_until", "clock_timestamp()"), ("admitted", "clock_timestamp()")]],
            },
        ],
        keys: &[Key::of("admission_pkey", &["execution"], &[("execution", "@execution")])],
        references: &[
            Reference::cascade("admission_execution_fkey", "execution", "execution"),
            Reference::forget("admission_lane_fkey", "lane", "admission_lane"),
        ],
        ..Table::NAMELESS
    },
    Table {
        name: "work_queue",
        required: &[("ref", "'test.queue_{n}'"), ("action_ref", "'test.action'")],
        defaults: &[
            ("enabled", "true"),
            ("item_schema", "{}"),
            ("batch_size", "1"),
            ("concurrency", "10"),
            ("max_attempts", "5"),
            ("retry_seconds", "10"),
            ("created", NOW),
            ("updated", NOW),
        ],
        checks: &[
            Check {
                name: "work_queue_batch_size_positive",
                field: "batch_size",
                refused: &[&[("batch_size", "0")], &[("batch_size", "-1")]],
                accepted: &[&[("batch_size", "1")]],
            },
            Check {
                name: "work_queue_max_attempts_positive",
                field: "max_attempts",
                refused: &[&[("max_attempts", "0")], &[("max_attempts", "-1")]],
                accepted: &[&[("max_attempts", "1")]],
            },
            Check {
                name: "work_queue_concurrency_positive",
                field: "concurrency",
                refused: &[&[("concurrency", "0")], &[("concurrency", "-1")]],
                accepted: &[&[("concurrency", "1")]],
            },
            Check {
                name: "work_queue_retry_seconds_not_negative",
                field: "retry_seconds",
                refused: &[
                    &[("retry_seconds", "-1")],
                    &[("retry_seconds", "'Infinity'")],
                    &[("retry_seconds", "'NaN'")],
                ],
                accepted: &[&[("retry_seconds", "0")]],
            },
            Check::ref_format("work_queue_ref_format"),
        ],
        keys: &[Key::id("work_queue_pkey"), Key::r#ref("work_queue_ref_key")],
        references: &[
            Reference::cascade("work_queue_pack_fkey", "pack", "pack"),
            Reference::set_null("work_queue_action_fkey", "action", "action", "action_ref"),
        ],
        change: &[("batch_size", "2")],
        ..Table::NAMELESS
    },
    Table {
        name: "work_item",
        required: &[("queue", "@work_queue"), ("item", "'{}'")],
        defaults: &[
            ("status", "ready"),
            ("priority", "0"),
            ("attempts", "0"),
            ("not_before", NOW),
            ("created", NOW),
            ("updated", NOW),
        ],
        checks: &[
            Check {
                name: "work_item_attempts_not_negative",
                field: "attempts",
                refused: &[&[("attempts", "-1")]],
                accepted: &[&[("attempts", "0")]],
            },
            Check {
                name: "work_item_leased_has_lease",
                field: "status",
                refused: &[
                    &[("status", "'leased'")],
                    &[("status", "'ready'"), ("lease_expires", "clock_timestamp()")],
                    &[("status", "'done'"), ("lease_expires", "clock_timestamp()")],
                    &[("status", "'dead'"), ("lease_expires", "clock_timestamp()")],
                ],
                accepted: &[
                    &[("status", "'leased'"), ("lease_expires", "clock_timestamp()")],
                    &[("status", "'done'")],
                    &[("status", "'dead'")],
                ],
            },
        ],
        keys: &[Key::id("work_item_pkey")],
        references: &[
            Reference::cascade("work_item_queue_fkey", "queue", "work_queue"),
            Reference::forget("work_item_execution_fkey", "execution", "execution"),
        ],
        change: &[("attempts", "1")],
        ..Table::NAMELESS
    },
];
