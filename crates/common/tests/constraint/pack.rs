//! `create_pack`: packs and their files.

use super::model::{Check, Key, NOW, Reference, Table};

pub(crate) const TABLES: &[Table] = &[
    Table {
        name: "pack",
        required: &[("ref", "'pack_{n}'"), ("label", "'A pack'"), ("version", "'1.0.0'")],
        defaults: &[
            ("conf_schema", "{}"),
            ("config", "{}"),
            ("environment_config", "{}"),
            ("meta", "{}"),
            ("tags", "[]"),
            ("runtime_deps", "[]"),
            ("dependencies", "{}"),
            ("declared_keys", "[]"),
            ("is_standard", "false"),
            ("created", NOW),
            ("updated", NOW),
        ],
        checks: &[
            Check {
                name: "pack_checksum_format",
                field: "checksum",
                refused: &[
                    &[("checksum", "''")],
                    &[("checksum", "repeat('a', 63)")],
                    &[("checksum", "repeat('a', 65)")],
                    &[("checksum", "repeat('A', 64)")],
                    &[("checksum", "repeat('g', 64)")],
                ],
                accepted: &[&[("checksum", "repeat('0f', 32)")], &[("checksum", "null")]],
            },
            Check {
                name: "pack_declared_keys_list",
                field: "declared_keys",
                refused: &[&[("declared_keys", "'{}'")], &[("declared_keys", "'null'")]],
                accepted: &[&[("declared_keys", "'[{\"ref\": \"ops.token\"}]'")]],
            },
            Check {
                name: "pack_dependencies_object",
                field: "dependencies",
                refused: &[&[("dependencies", "'[]'")], &[("dependencies", "'\"linux\"'")]],
                accepted: &[&[("dependencies", "'{\"linux\": \">=1.2\"}'")]],
            },
            Check {
                name: "pack_environment_config_object",
                field: "environment_config",
                refused: &[&[("environment_config", "'[]'")], &[("environment_config", "'1'")]],
                accepted: &[&[("environment_config", "'{\"port\": 443}'")]],
            },
            Check {
                name: "pack_ref_format",
                field: "ref",
                refused: &[
                    &[("ref", "''")],
                    &[("ref", "'p'")],
                    &[("ref", "'1pack'")],
                    &[("ref", "'Pack'")],
                    &[("ref", "'pack.name'")],
                    &[("ref", "'two words'")],
                    &[("ref", "e'pack\\n'")],
                ],
                accepted: &[&[("ref", "'pa'")], &[("ref", "'p_-9'")]],
            },
            Check {
                name: "pack_version_semver",
                field: "version",
                refused: &[
                    &[("version", "''")],
                    &[("version", "'1.0'")],
                    &[("version", "'1.0.0.0'")],
                    &[("version", "'v1.0.0'")],
                    &[("version", "'1.0.0-'")],
                    &[("version", "'1.0.0+'")],
                    &[("version", "'1.0.0 '")],
                ],
                accepted: &[&[("version", "'0.0.0'")], &[("version", "'1.2.3-rc.1+build.5'")]],
            },
        ],
        keys: &[Key::id("pack_pkey"), Key::of("pack_ref_key", &["ref"], &[("ref", "'same_{n}'")])],
        change: &[("label", "'Another'")],
        ..Table::NAMELESS
    },
    Table {
        name: "pack_file",
        identified_by: &["pack", "path"],
        required: &[("pack", "@pack"), ("path", "'actions/run.sh'"), ("content", "'exit'")],
        defaults: &[("executable", "false"), ("created", NOW)],
        checks: &[Check {
            name: "pack_file_path_relative",
            field: "path",
            refused: &[
                &[("path", "''")],
                &[("path", "'/etc/passwd'")],
                &[("path", "'..'")],
                &[("path", "'../other/file'")],
                &[("path", "'actions/../../file'")],
                &[("path", "'actions/..'")],
            ],
            accepted: &[&[("path", "'a'")], &[("path", "'..a/b../c..d'")]],
        }],
        keys: &[Key {
            name: "pack_file_pkey",
            field: "pack_path",
            columns: &["pack", "path"],
            common: &[("pack", "@pack"), ("path", "'same.sh'")],
            named_value: true,
            repeatable: &[],
        }],
        references: &[Reference::cascade("pack_file_pack_fkey", "pack", "pack")],
        ..Table::NAMELESS
    },
];
