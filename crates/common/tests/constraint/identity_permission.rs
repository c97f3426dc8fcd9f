//! `create_identity_permission`: identities, their tokens, permission sets and who holds them.

use super::model::{Check, Key, NOW, Reference, Table};

pub(crate) const TABLES: &[Table] = &[
    Table {
        name: "identity",
        required: &[("login", "'login_{n}'")],
        defaults: &[("attributes", "{}"), ("enabled", "true"), ("created", NOW), ("updated", NOW)],
        checks: &[
            Check {
                name: "identity_login_not_empty",
                field: "login",
                refused: &[&[("login", "''")]],
                accepted: &[&[("login", "'l'")]],
            },
            Check {
                name: "identity_password_hash_form",
                field: "password_hash",
                refused: &[
                    &[("password_hash", "'secret'")],
                    &[("password_hash", "''")],
                    &[("password_hash", "'$argon2i$v=19$'")],
                    &[("password_hash", "' $argon2id$v=19$'")],
                ],
                accepted: &[&[("password_hash", "'$argon2id$'")], &[("password_hash", "null")]],
            },
        ],
        keys: &[
            Key::id("identity_pkey"),
            Key::of("identity_login_key", &["login"], &[("login", "'same_{n}'")]),
        ],
        change: &[("display_name", "'Another'")],
        ..Table::NAMELESS
    },
    Table {
        name: "token",
        required: &[("identity", "@identity"), ("name", "'laptop'"), ("hash", "sha256('token {n}')")],
        defaults: &[("created", NOW)],
        checks: &[Check {
            name: "token_hash_length",
            field: "hash",
            refused: &[
                &[("hash", "''")],
                &[("hash", "decode(repeat('00', 31), 'hex')")],
                &[("hash", "decode(repeat('00', 33), 'hex')")],
            ],
            accepted: &[&[("hash", "decode(repeat('00', 32), 'hex')")]],
        }],
        keys: &[
            Key::id("token_pkey"),
            Key::of("token_hash_key", &["hash"], &[("hash", "sha256('same {n}')")]).secret(),
        ],
        references: &[Reference::cascade("token_identity_fkey", "identity", "identity")],
        ..Table::NAMELESS
    },
    Table {
        name: "permission_set",
        required: &[("ref", "'test.set_{n}'")],
        defaults: &[("grants", "[]"), ("created", NOW), ("updated", NOW)],
        checks: &[
            Check {
                name: "permission_set_grants_list",
                field: "grants",
                refused: &[&[("grants", "'{}'")], &[("grants", "'null'")], &[("grants", "'\"*\"'")]],
                accepted: &[&[("grants", "'[]'")]],
            },
            Check::ref_format("permission_set_ref_format"),
        ],
        keys: &[Key::id("permission_set_pkey"), Key::r#ref("permission_set_ref_key")],
        references: &[Reference::cascade("permission_set_pack_fkey", "pack", "pack")],
        change: &[("label", "'Another'")],
        ..Table::NAMELESS
    },
    Table {
        name: "permission_assignment",
        required: &[("identity", "@identity"), ("permission_set", "@permission_set")],
        defaults: &[("created", NOW)],
        keys: &[
            Key::id("permission_assignment_pkey"),
            Key {
                name: "permission_assignment_key",
                field: "identity_permission_set",
                columns: &["identity", "permission_set"],
                common: &[("identity", "@identity"), ("permission_set", "@permission_set")],
                named_value: true,
                repeatable: &[],
            },
        ],
        references: &[
            Reference::cascade("permission_assignment_identity_fkey", "identity", "identity"),
            Reference::cascade(
                "permission_assignment_permission_set_fkey",
                "permission_set",
                "permission_set",
            ),
        ],
        ..Table::NAMELESS
    },
];
