//! `create_runtime_worker`: what runs actions.

use super::model::{Check, Key, NOW, Reference, Table};

pub(crate) const TABLES: &[Table] = &[
    Table {
        name: "runtime",
        required: &[("ref", "'test.runtime_{n}'")],
        defaults: &[("interpreter", "[]"), ("native", "false"), ("created", NOW), ("updated", NOW)],
        checks: &[
            Check {
                name: "runtime_native_interpreter",
                field: "native",
                refused: &[&[("native", "true"), ("interpreter", "array['/bin/sh']")]],
                accepted: &[
                    &[("native", "true"), ("interpreter", "'{}'")],
                    &[("native", "false"), ("interpreter", "array['/bin/sh']")],
                ],
            },
            Check {
                name: "runtime_environment_interpreter",
                field: "environment",
                refused: &[&[("environment", "'python'"), ("interpreter", "'{}'")]],
                accepted: &[&[("environment", "'python'"), ("interpreter", "array['python3']")]],
            },
            Check {
                name: "runtime_environment_known",
                field: "environment",
                refused: &[&[("environment", "'ruby'"), ("interpreter", "array['ruby']")]],
                accepted: &[&[("environment", "'node'"), ("interpreter", "array['node']")]],
            },
            Check::ref_format("runtime_ref_format"),
            Check {
                name: "runtime_version_environment",
                field: "version",
                refused: &[&[("version", "'>=3.11'")]],
                accepted: &[&[
                    ("version", "'>=3.11'"),
                    ("environment", "'python'"),
                    ("interpreter", "array['python3']"),
                ]],
            },
        ],
        keys: &[Key::id("runtime_pkey"), Key::r#ref("runtime_ref_key")],
        references: &[Reference::cascade("runtime_pack_fkey", "pack", "pack")],
        change: &[("label", "'Another'")],
        ..Table::NAMELESS
    },
    Table {
        name: "worker",
        required: &[("name", "'worker_{n}'"), ("instance", "'first'")],
        defaults: &[
            ("worker_type", "local"),
            ("status", "inactive"),
            ("slots", "1"),
            ("labels", "{}"),
            ("capabilities", "{}"),
            ("taints", "[]"),
            ("cordoned", "false"),
            ("pauses", "0"),
            ("preparing", "[]"),
            ("created", NOW),
            ("updated", NOW),
        ],
        checks: &[
            Check {
                name: "worker_name_not_empty",
                field: "name",
                refused: &[&[("name", "''")]],
                accepted: &[&[("name", "'w'")]],
            },
            Check {
                name: "worker_preparing_array",
                field: "preparing",
                refused: &[&[("preparing", "'{}'")]],
                accepted: &[&[("preparing", "'[]'")]],
            },
            Check {
                name: "worker_slots_positive",
                field: "slots",
                refused: &[&[("slots", "0")], &[("slots", "-1")]],
                accepted: &[&[("slots", "1")]],
            },
        ],
        keys: &[Key::id("worker_pkey"), Key::of("worker_name_key", &["name"], &[("name", "'same_{n}'")])],
        change: &[("slots", "2")],
        unnoticed: &[("heartbeat", "clock_timestamp()"), ("preparing", "'[{}]'")],
        ..Table::NAMELESS
    },
    Table {
        name: "worker_offer",
        identified_by: &["worker"],
        required: &[("worker", "@worker"), ("instance", "'first'")],
        defaults: &[("offered", "0"), ("received", "0"), ("created", NOW)],
        checks: &[Check {
            name: "worker_offer_offered_not_negative",
            field: "offered",
            refused: &[&[("offered", "-1")]],
            accepted: &[&[("offered", "0")]],
        }],
        keys: &[Key::of("worker_offer_pkey", &["worker"], &[("worker", "@worker")])],
        references: &[Reference::cascade("worker_offer_worker_fkey", "worker", "worker")],
        ..Table::NAMELESS
    },
    Table {
        name: "worker_assigned",
        identified_by: &["worker"],
        required: &[("worker", "@worker")],
        defaults: &[
            ("assigned", "0"),
            ("newest", "0"),
            ("received", "0"),
            ("since", NOW),
            ("pauses", "0"),
            ("created", NOW),
        ],
        checks: &[Check {
            name: "worker_assigned_assigned_not_negative",
            field: "assigned",
            refused: &[&[("assigned", "-1")]],
            accepted: &[&[("assigned", "0")]],
        }],
        keys: &[Key::of("worker_assigned_pkey", &["worker"], &[("worker", "@worker")])],
        references: &[Reference::cascade("worker_assigned_worker_fkey", "worker", "worker")],
        ..Table::NAMELESS
    },
    Table {
        name: "placement",
        required: &[("selector", "jsonb_build_object('n', '{n}')")],
        defaults: &[("tolerations", "[]"), ("created", NOW), ("updated", NOW)],
        checks: &[Check {
            name: "placement_selector_object",
            field: "selector",
            refused: &[&[("selector", "'[]'")], &[("selector", "'1'")]],
            accepted: &[&[("selector", "jsonb_build_object('n', '{n}')")]],
        }],
        keys: &[
            Key::id("placement_pkey"),
            Key {
                name: "placement_key",
                field: "selector_tolerations",
                columns: &["selector", "tolerations"],
                common: &[("selector", "jsonb_build_object('same', '{n}')"), ("tolerations", "array['gpu']")],
                named_value: true,
                repeatable: &[],
            },
        ],
        change: &[("unserved_since", "'2026-01-01T00:00:00Z'")],
        ..Table::NAMELESS
    },
];
