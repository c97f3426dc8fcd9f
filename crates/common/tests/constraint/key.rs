//! `create_key`: secrets and what they are sealed under.

use super::model::{Check, Key, NOW, Reference, Table};

pub(crate) const TABLES: &[Table] = &[
    Table {
        name: "data_key",
        required: &[("wrapped", "'wrapped'"), ("master_fingerprint", "'fingerprint'")],
        defaults: &[("created", NOW)],
        keys: &[Key::id("data_key_pkey")],
        ..Table::NAMELESS
    },
    Table {
        name: "key",
        required: &[
            ("ref", "'test.key_{n}'"),
            ("name", "'key'"),
            ("data_key", "@data_key"),
            ("value", "'sealed'"),
        ],
        defaults: &[
            ("owner_type", "system"),
            ("secret", "true"),
            ("version", "1"),
            ("created", NOW),
            ("updated", NOW),
        ],
        checks: &[
            Check {
                name: "key_owner_consistent",
                field: "owner_type",
                refused: &[
                    &[("owner_type", "'identity'")],
                    &[("owner_type", "'pack'")],
                    &[("owner_type", "'action'")],
                    &[("owner_type", "'sensor'")],
                    &[("owner_identity", "@identity")],
                    &[("owner_pack", "@pack")],
                    &[("owner_action", "@action")],
                    &[("owner_sensor", "@sensor")],
                    &[("owner_type", "'pack'"), ("owner_action", "@action")],
                    &[("owner_type", "'pack'"), ("owner_pack", "@pack"), ("owner_action", "@action")],
                ],
                accepted: &[
                    &[("owner_type", "'system'")],
                    &[("owner_type", "'identity'"), ("owner_identity", "@identity")],
                    &[("owner_type", "'pack'"), ("owner_pack", "@pack")],
                    &[("owner_type", "'action'"), ("owner_action", "@action")],
                    &[("owner_type", "'sensor'"), ("owner_sensor", "@sensor")],
                ],
            },
            Check::ref_format("key_ref_format"),
            Check {
                name: "key_version_positive",
                field: "version",
                refused: &[&[("version", "0")], &[("version", "-1")]],
                accepted: &[&[("version", "1")]],
            },
        ],
        keys: &[Key::id("key_pkey"), Key::r#ref("key_ref_key")],
        references: &[
            Reference::cascade("key_owner_identity_fkey", "owner_identity", "identity")
                .with(&[("owner_type", "'identity'")]),
            Reference::cascade("key_owner_pack_fkey", "owner_pack", "pack").with(&[("owner_type", "'pack'")]),
            Reference::cascade("key_owner_action_fkey", "owner_action", "action")
                .with(&[("owner_type", "'action'")]),
            Reference::cascade("key_owner_sensor_fkey", "owner_sensor", "sensor")
                .with(&[("owner_type", "'sensor'")]),
            Reference::refused("key_data_key_fkey", "data_key", "data_key"),
        ],
        change: &[("value", "'sealed again'"), ("version", "2")],
        // A rotation sets no value.
        unnoticed: &[("value", "'sealed under another'")],
        ..Table::NAMELESS
    },
];
