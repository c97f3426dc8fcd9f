//! `create_event_enforcement`: what happened, how far it was judged, and what was decided.

use super::model::{Check, Key, NOW, Reference, Table};

pub(crate) const TABLES: &[Table] = &[
    Table {
        name: "event",
        required: &[("batch", "{n}"), ("trigger_ref", "'test.trigger_{n}'")],
        defaults: &[("config", "{}"), ("payload", "{}"), ("depth", "0"), ("created", NOW), ("updated", NOW)],
        checks: &[
            Check {
                name: "event_depth_not_negative",
                field: "depth",
                refused: &[&[("depth", "-1")]],
                accepted: &[&[("depth", "0")]],
            },
            Check {
                name: "event_trigger_ref_not_empty",
                field: "trigger_ref",
                refused: &[&[("trigger_ref", "''")]],
                accepted: &[&[("trigger_ref", "'t'")]],
            },
        ],
        keys: &[
            Key::id("event_pkey"),
            Key {
                name: "event_dedup_key",
                field: "trigger_ref_dedup_key",
                columns: &["trigger_ref", "dedup_key"],
                common: &[("trigger_ref", "'test.same_{n}'"), ("dedup_key", "'delivery'")],
                named_value: true,
                repeatable: &[
                    &[("trigger_ref", "'test.same_{n}'"), ("dedup_key", "null")],
                    // Of another trigger each.
                    &[("dedup_key", "'delivery'")],
                ],
            },
        ],
        references: &[
            Reference::set_null("event_trigger_fkey", "trigger", "trigger", "trigger_ref").with_name(),
            Reference::set_null("event_source_fkey", "source", "sensor", "source_ref"),
            Reference::forget("event_replay_of_fkey", "replay_of", "event"),
        ],
        change: &[("payload", "'{\"a\": 1}'")],
        ..Table::NAMELESS
    },
    Table {
        name: "event_batch",
        identified_by: &["first_event"],
        required: &[("first_event", "{n}"), ("last_event", "{n}"), ("events", "1")],
        checks: &[
            Check {
                name: "event_batch_complete",
                field: "matched",
                refused: &[&[("matched", "clock_timestamp()")], &[("rule_set_version", "1")]],
                accepted: &[&[("matched", "clock_timestamp()"), ("rule_set_version", "1")]],
            },
            Check {
                name: "event_batch_range",
                field: "events",
                refused: &[
                    &[("events", "0")],
                    &[("events", "2")],
                    &[("first_event", "{n} + 1")],
                    &[("last_event", "{n} + 1"), ("events", "3")],
                ],
                accepted: &[&[("last_event", "{n} + 1"), ("events", "2")], &[("last_event", "{n} + 1")]],
            },
        ],
        keys: &[Key::of(
            "event_batch_pkey",
            &["first_event"],
            &[("first_event", "{n}"), ("last_event", "{n}")],
        )],
        ..Table::NAMELESS
    },
    Table {
        name: "enforcement",
        required: &[("rule_ref", "'test.rule'"), ("trigger_ref", "'test.trigger'")],
        defaults: &[
            ("config", "{}"),
            ("status", "created"),
            ("payload", "{}"),
            ("condition", "all"),
            ("conditions", "[]"),
            ("created", NOW),
            ("updated", NOW),
        ],
        checks: &[Check {
            name: "enforcement_condition_check",
            field: "condition",
            refused: &[&[("condition", "''")], &[("condition", "'none'")], &[("condition", "'ALL'")]],
            accepted: &[&[("condition", "'all'")], &[("condition", "'any'")]],
        }],
        keys: &[
            Key::id("enforcement_pkey"),
            Key {
                name: "enforcement_event_rule_key",
                field: "event_rule",
                columns: &["event", "rule"],
                common: &[("rule", "@rule"), ("event", "@event")],
                named_value: true,
                repeatable: &[
                    // Once the rule, or the event, is gone.
                    &[("rule", "null"), ("event", "@event")],
                    &[("rule", "@rule"), ("event", "null")],
                ],
            },
        ],
        references: &[
            Reference::set_null("enforcement_rule_fkey", "rule", "rule", "rule_ref").with_name(),
            Reference::forget("enforcement_event_fkey", "event", "event"),
        ],
        change: &[("status", "'processed'")],
        ..Table::NAMELESS
    },
    Table {
        name: "enforcement_event",
        identified_by: &["enforcement", "event"],
        required: &[("enforcement", "@enforcement"), ("event", "@event")],
        keys: &[Key {
            name: "enforcement_event_pkey",
            field: "enforcement_event",
            columns: &["enforcement", "event"],
            common: &[("enforcement", "@enforcement"), ("event", "@event")],
            named_value: true,
            repeatable: &[
                // Of another event, and of another enforcement.
                &[("enforcement", "@enforcement")],
                &[("event", "@event")],
            ],
        }],
        references: &[
            Reference::cascade("enforcement_event_enforcement_fkey", "enforcement", "enforcement"),
            Reference::cascade("enforcement_event_event_fkey", "event", "event"),
        ],
        ..Table::NAMELESS
    },
    Table {
        name: "window_state",
        identified_by: &["rule", "key"],
        required: &[
            ("rule", "@rule"),
            ("key", "'key-{n}'"),
            ("definition", "'abc'"),
            ("state", "'{}'"),
            ("wake", "clock_timestamp()"),
        ],
        checks: &[Check {
            name: "window_state_key_length",
            field: "key",
            refused: &[&[("key", "repeat('k', 257)")], &[("key", "repeat('é', 129)")]],
            accepted: &[&[("key", "repeat('k', 256)")], &[("key", "''")]],
        }],
        keys: &[Key {
            name: "window_state_pkey",
            field: "rule_key",
            columns: &["rule", "key"],
            common: &[("rule", "@rule"), ("key", "'web-01'")],
            named_value: true,
            repeatable: &[&[("rule", "@rule")], &[("key", "'web-01'")]],
        }],
        references: &[Reference::cascade("window_state_rule_fkey", "rule", "rule")],
        ..Table::NAMELESS
    },
    Table {
        name: "window_outcome",
        identified_by: &["event", "rule"],
        required: &[("event", "@event"), ("rule", "@rule"), ("key", "'web-01'"), ("outcome", "'{}'")],
        keys: &[Key {
            name: "window_outcome_pkey",
            field: "event_rule",
            columns: &["event", "rule"],
            common: &[("event", "@event"), ("rule", "@rule")],
            named_value: true,
            repeatable: &[&[("event", "@event")], &[("rule", "@rule")]],
        }],
        references: &[
            Reference::cascade("window_outcome_event_fkey", "event", "event"),
            Reference::cascade("window_outcome_rule_fkey", "rule", "rule"),
        ],
        ..Table::NAMELESS
    },
];
