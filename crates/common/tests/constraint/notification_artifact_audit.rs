//! `create_notification_artifact_audit`: what leaves the system or tells about it.

use super::model::{Check, Key, NOW, Reference, TRANSACTION, Table};

pub(crate) const TABLES: &[Table] = &[
    Table {
        name: "change",
        identified_by: &["xid", "id"],
        required: &[
            ("entity_type", "'execution'"),
            ("entities", "array[1]"),
            ("ref", "'test.action'"),
            ("activity", "'created'"),
        ],
        defaults: &[("xid", TRANSACTION), ("created", NOW)],
        checks: &[Check {
            name: "change_entities_of_a_block",
            field: "entities",
            refused: &[
                &[("entities", "'{}'")],
                &[("entities", "'{255, 256}'")],
                &[("entities", "array(select 1 from generate_series(1, 257))")],
            ],
            accepted: &[
                &[("entities", "'{256, 511}'")],
                &[("entities", "array(select 256 + n from generate_series(0, 255) n)")],
            ],
        }],
        keys: &[Key {
            name: "change_pkey",
            field: "xid_id",
            columns: &["xid", "id"],
            common: &[("xid", "'1'"), ("id", "{n}")],
            named_value: true,
            repeatable: &[],
        }],
        ..Table::NAMELESS
    },
    Table {
        name: "feed_cursor",
        identified_by: &["name"],
        required: &[("name", "'reader-{n}'"), ("xid", "'1'"), ("seq", "1")],
        defaults: &[("created", NOW)],
        checks: &[Check {
            name: "feed_cursor_name_not_empty",
            field: "name",
            refused: &[&[("name", "''")]],
            accepted: &[&[("name", "'r'")]],
        }],
        keys: &[Key::of("feed_cursor_pkey", &["name"], &[("name", "'reader-same-{n}'")])],
        ..Table::NAMELESS
    },
    Table {
        name: "notification",
        required: &[
            ("channel", "'mail'"),
            ("entity_type", "'inquiry'"),
            ("entity", "'1'"),
            ("activity", "'created'"),
        ],
        defaults: &[
            ("state", "created"),
            ("attempts", "0"),
            ("not_before", NOW),
            ("created", NOW),
            ("updated", NOW),
        ],
        checks: &[
            Check {
                name: "notification_channel_not_empty",
                field: "channel",
                refused: &[&[("channel", "''")]],
                accepted: &[&[("channel", "'c'")]],
            },
            Check {
                name: "notification_created_has_no_attempt",
                field: "state",
                refused: &[
                    &[("attempts", "1")],
                    &[("attempts", "-1"), ("state", "'queued'")],
                    &[("state", "'queued'")],
                    &[("state", "'processing'")],
                    &[("state", "'error'")],
                ],
                accepted: &[&[("state", "'processing'"), ("attempts", "1")], &[("attempts", "0")]],
            },
            Check {
                name: "notification_delivered_complete",
                field: "state",
                refused: &[
                    &[("state", "'delivered'"), ("attempts", "1")],
                    &[("state", "'error'"), ("attempts", "1"), ("delivered_at", "clock_timestamp()")],
                ],
                accepted: &[&[
                    ("state", "'delivered'"),
                    ("attempts", "1"),
                    ("delivered_at", "clock_timestamp()"),
                ]],
            },
        ],
        keys: &[Key::id("notification_pkey")],
        change: &[("state", "'queued'"), ("attempts", "1")],
        ..Table::NAMELESS
    },
    Table {
        name: "artifact",
        required: &[("ref", "'test.artifact_{n}'")],
        defaults: &[
            ("artifact_type", "file"),
            ("owner_type", "system"),
            ("latest_version", "0"),
            ("is_empty", "true"),
            ("created", NOW),
            ("updated", NOW),
        ],
        checks: &[
            Check {
                name: "artifact_latest_version_not_negative",
                field: "latest_version",
                refused: &[&[("latest_version", "-1")]],
                accepted: &[&[("latest_version", "0")]],
            },
            Check {
                name: "artifact_owner_consistent",
                field: "owner",
                refused: &[
                    &[("owner", "'ada'")],
                    &[("owner_type", "'identity'")],
                    &[("owner_type", "'pack'")],
                    &[("owner_type", "'action'")],
                    &[("owner_type", "'sensor'")],
                ],
                accepted: &[&[("owner_type", "'identity'"), ("owner", "'ada'")]],
            },
            Check::ref_format("artifact_ref_format"),
            Check {
                name: "artifact_retention_days_positive",
                field: "retention_days",
                refused: &[&[("retention_days", "0")], &[("retention_days", "-1")]],
                accepted: &[&[("retention_days", "1")], &[("retention_days", "null")]],
            },
            Check {
                name: "artifact_retention_versions_positive",
                field: "retention_versions",
                refused: &[&[("retention_versions", "0")], &[("retention_versions", "-1")]],
                accepted: &[&[("retention_versions", "1")], &[("retention_versions", "null")]],
            },
        ],
        keys: &[Key::id("artifact_pkey"), Key::r#ref("artifact_ref_key")],
        change: &[("retention_days", "7")],
        ..Table::NAMELESS
    },
    Table {
        name: "artifact_version",
        required: &[
            ("artifact", "@artifact"),
            ("version", "1"),
            ("content_type", "'text/plain'"),
            ("size", "4"),
            ("sha256", "sha256('text')"),
        ],
        defaults: &[("created", NOW)],
        checks: &[
            Check {
                name: "artifact_version_content_type_not_empty",
                field: "content_type",
                refused: &[&[("content_type", "''")]],
                accepted: &[&[("content_type", "'t'")]],
            },
            Check {
                name: "artifact_version_sha256_length",
                field: "sha256",
                refused: &[&[("sha256", "'short'")]],
                accepted: &[&[("sha256", "sha256('other')")]],
            },
            Check {
                name: "artifact_version_size_not_negative",
                field: "size",
                refused: &[&[("size", "-1")]],
                accepted: &[&[("size", "0")]],
            },
            Check {
                name: "artifact_version_positive",
                field: "version",
                refused: &[&[("version", "0")], &[("version", "-1")]],
                accepted: &[&[("version", "1")]],
            },
        ],
        keys: &[
            Key::id("artifact_version_pkey"),
            Key {
                name: "artifact_version_key",
                field: "artifact_version",
                columns: &["artifact", "version"],
                common: &[("artifact", "@artifact"), ("version", "2")],
                named_value: true,
                repeatable: &[],
            },
        ],
        references: &[
            Reference::cascade("artifact_version_artifact_fkey", "artifact", "artifact"),
            Reference::forget("artifact_version_execution_fkey", "execution", "execution"),
        ],
        ..Table::NAMELESS
    },
    Table {
        name: "artifact_chunk",
        identified_by: &["artifact_version", "seq"],
        required: &[("artifact_version", "@artifact_version"), ("seq", "0"), ("content", "'text'")],
        keys: &[Key {
            name: "artifact_chunk_pkey",
            field: "artifact_version_seq",
            columns: &["artifact_version", "seq"],
            common: &[("artifact_version", "@artifact_version"), ("seq", "3")],
            named_value: true,
            repeatable: &[],
        }],
        references: &[Reference::cascade(
            "artifact_chunk_artifact_version_fkey",
            "artifact_version",
            "artifact_version",
        )],
        ..Table::NAMELESS
    },
    Table {
        name: "audit_event",
        required: &[("activity", "'created'"), ("entity_type", "'pack'"), ("entity_ref", "'core'")],
        defaults: &[("detail", "{}"), ("created", NOW)],
        checks: &[
            Check {
                name: "audit_event_activity_not_empty",
                field: "activity",
                refused: &[&[("activity", "''")]],
                accepted: &[&[("activity", "'a'")]],
            },
            Check {
                name: "audit_event_entity_type_not_empty",
                field: "entity_type",
                refused: &[&[("entity_type", "''")]],
                accepted: &[&[("entity_type", "'e'")]],
            },
        ],
        keys: &[Key::id("audit_event_pkey")],
        ..Table::NAMELESS
    },
];
