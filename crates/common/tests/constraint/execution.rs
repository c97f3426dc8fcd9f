//! `create_execution`: runs of actions.

use super::model::{Check, Key, NOW, Reference, Table};

pub(crate) const TABLES: &[Table] = &[
    Table {
        name: "execution",
        required: &[("action_ref", "'test.action'")],
        defaults: &[
            ("status", "requested"),
            ("priority", "0"),
            ("placement", "1"),
            ("native", "false"),
            ("paused", "false"),
            ("unschedulable", "false"),
            ("attempt", "0"),
            ("created", NOW),
            ("updated", NOW),
            ("config", "{}"),
        ],
        checks: &[
            Check {
                name: "execution_attempt_not_negative",
                field: "attempt",
                refused: &[&[("attempt", "-1")]],
                accepted: &[&[("attempt", "0")]],
            },
            Check {
                name: "execution_code_or_signal",
                field: "exit_code",
                refused: &[&[("exit_code", "0"), ("signal", "9")]],
                accepted: &[&[("exit_code", "0")], &[("signal", "9")], &[]],
            },
            Check {
                name: "execution_finished_is_terminal",
                field: "finished",
                refused: &[
                    &[("status", "'completed'")],
                    &[("status", "'failed'")],
                    &[("status", "'cancelled'")],
                    &[("status", "'timeout'")],
                    &[("status", "'abandoned'")],
                    &[("status", "'requested'"), ("finished", "clock_timestamp()")],
                    &[("status", "'scheduling'"), ("finished", "clock_timestamp()")],
                    &[("status", "'scheduled'"), ("finished", "clock_timestamp()")],
                    &[
                        ("status", "'running'"),
                        ("attempt", "1"),
                        ("started", "clock_timestamp()"),
                        ("finished", "clock_timestamp()"),
                    ],
                    &[("status", "'canceling'"), ("finished", "clock_timestamp()")],
                ],
                accepted: &[
                    &[("status", "'completed'"), ("finished", "clock_timestamp()")],
                    &[("status", "'abandoned'"), ("finished", "clock_timestamp()")],
                    &[("status", "'canceling'")],
                ],
            },
            Check {
                name: "execution_keyed_complete",
                field: "keyed",
                refused: &[
                    &[("keyed", "'{}'")],
                    &[("keyed", "'null'")],
                    &[("keyed", "'{\"nonce\": \"n\"}'")],
                    &[("keyed", "'{\"nonce\": 1, \"parameters\": {}}'")],
                    &[("keyed", "'{\"nonce\": \"n\", \"parameters\": []}'")],
                ],
                accepted: &[&[("keyed", "'{\"nonce\": \"n\", \"pack\": null, \"parameters\": {}}'")]],
            },
            Check {
                name: "execution_not_before_scheduled",
                field: "not_before",
                refused: &[
                    &[("status", "'requested'"), ("not_before", "clock_timestamp()")],
                    &[
                        ("status", "'failed'"),
                        ("finished", "clock_timestamp()"),
                        ("not_before", "clock_timestamp()"),
                    ],
                ],
                accepted: &[&[("status", "'scheduled'"), ("not_before", "clock_timestamp()")]],
            },
            Check {
                name: "execution_paused_scheduled",
                field: "paused",
                refused: &[&[("status", "'requested'"), ("paused", "true")]],
                accepted: &[&[("status", "'scheduled'"), ("paused", "true")]],
            },
            Check::retry_complete("execution_retry_complete"),
            Check {
                name: "execution_running_has_attempt",
                field: "status",
                refused: &[
                    &[("status", "'running'")],
                    &[("status", "'running'"), ("attempt", "1")],
                    &[("status", "'running'"), ("started", "clock_timestamp()")],
                ],
                accepted: &[&[("status", "'running'"), ("attempt", "1"), ("started", "clock_timestamp()")]],
            },
        ],
        keys: &[Key::id("execution_pkey")],
        change: &[("status", "'scheduled'")],
        ..Table::NAMELESS
    },
    Table {
        name: "execution_attempt",
        identified_by: &["execution", "attempt"],
        required: &[("execution", "@execution"), ("attempt", "1"), ("status", "'completed'")],
        defaults: &[("stdout_bytes", "0"), ("stderr_bytes", "0"), ("finished", NOW)],
        checks: &[
            Check {
                name: "execution_attempt_code_or_signal",
                field: "exit_code",
                refused: &[&[("exit_code", "0"), ("signal", "9")]],
                accepted: &[&[("exit_code", "0")], &[("signal", "9")], &[]],
            },
            Check {
                name: "execution_attempt_status_ended",
                field: "status",
                refused: &[
                    &[("status", "'requested'")],
                    &[("status", "'scheduling'")],
                    &[("status", "'scheduled'")],
                    &[("status", "'running'")],
                    &[("status", "'canceling'")],
                ],
                accepted: &[
                    &[("status", "'completed'")],
                    &[("status", "'failed'")],
                    &[("status", "'cancelled'")],
                    &[("status", "'timeout'")],
                    &[("status", "'abandoned'")],
                ],
            },
        ],
        keys: &[Key {
            name: "execution_attempt_pkey",
            field: "execution_attempt",
            columns: &["execution", "attempt"],
            common: &[("execution", "@execution"), ("attempt", "2")],
            named_value: true,
            repeatable: &[],
        }],
        references: &[Reference::cascade("execution_attempt_execution_fkey", "execution", "execution")],
        ..Table::NAMELESS
    },
    Table {
        name: "execution_output",
        identified_by: &["execution", "attempt", "seq"],
        required: &[
            ("execution", "@execution"),
            ("attempt", "1"),
            ("seq", "0"),
            ("stream", "'stdout'"),
            ("content", "'text'"),
        ],
        defaults: &[("created", NOW)],
        keys: &[Key {
            name: "execution_output_pkey",
            field: "execution_attempt_seq",
            columns: &["execution", "attempt", "seq"],
            common: &[("execution", "@execution"), ("attempt", "2"), ("seq", "3")],
            named_value: true,
            repeatable: &[],
        }],
        references: &[Reference::cascade("execution_output_execution_fkey", "execution", "execution")],
        ..Table::NAMELESS
    },
    Table {
        name: "pause",
        also: &[("action_ref", "'test.paused_{n}'")],
        defaults: &[("created", NOW)],
        checks: &[Check {
            name: "pause_one_scope",
            field: "pack_ref",
            refused: &[&[("pack_ref", "'test'")]],
            accepted: &[
                &[("action_ref", "null"), ("pack_ref", "'pack_{n}'")],
                &[("action_ref", "null"), ("pack_ref", "null")],
            ],
        }],
        keys: &[
            Key::id("pause_pkey"),
            Key {
                name: "pause_scope_key",
                field: "action_ref_pack_ref",
                columns: &["action_ref", "pack_ref"],
                common: &[("action_ref", "null"), ("pack_ref", "'same_{n}'")],
                named_value: true,
                repeatable: &[],
            },
        ],
        references: &[Reference::forget("pause_identity_fkey", "identity", "identity")],
        ..Table::NAMELESS
    },
];
