//! What a table promises, as data.
//!
//! Values are SQL expressions. In them `{n}` is a number that no other row of any test has, and `@table` as a whole
//! expression is the key of a new row of that table.

use std::sync::LazyLock;

use super::{
    event_enforcement, execution, execution_progress, identity_permission, key, notification_artifact_audit,
    pack, policy_queue, rule, runtime_worker, trigger_action, workflow_inquiry,
};

/// Columns with their values.
pub(crate) type Values = &'static [(&'static str, &'static str)];

/// Stands for "the time of the statement" among the defaults.
pub(crate) const NOW: &str = "<now>";

/// Stands for "the id of the transaction" among the defaults.
pub(crate) const TRANSACTION: &str = "<transaction>";

/// A table with its cases.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    /// What tells its rows apart.
    pub(crate) identified_by: &'static [&'static str],
    /// The columns that must be given: not null and without a default.
    pub(crate) required: Values,
    /// What a minimal row needs besides, because a check asks for one of several columns.
    pub(crate) also: Values,
    /// The columns that are never null and need not be given, with what they are then, as JSON spells it.
    pub(crate) defaults: Values,
    pub(crate) checks: &'static [Check],
    pub(crate) keys: &'static [Key],
    pub(crate) references: &'static [Reference],
    /// A change of some columns; for tables with `updated`.
    pub(crate) change: Values,
    /// A change of some columns that `updated` does not tell of.
    pub(crate) unnoticed: Values,
}

impl Table {
    /// A table whose rows have an id, without cases: to be completed with `..Table::NAMELESS`.
    pub(crate) const NAMELESS: Self = Self {
        name: "",
        identified_by: &["id"],
        required: &[],
        also: &[],
        defaults: &[],
        checks: &[],
        keys: &[],
        references: &[],
        change: &[],
        unnoticed: &[],
    };

    /// The kinds of cases that it has.
    pub(crate) fn kinds(&self) -> Vec<&'static str> {
        let kinds = [
            ("required", self.required.is_empty()),
            ("defaults", self.defaults.is_empty()),
            ("checks", self.checks.is_empty()),
            ("keys", self.keys.is_empty()),
            ("references", self.references.is_empty()),
            ("updated", self.change.is_empty()),
        ];
        kinds.into_iter().filter(|(_, empty)| !empty).map(|(kind, _)| kind).collect()
    }
}

/// A check constraint.
#[derive(Debug)]
pub(crate) struct Check {
    pub(crate) name: &'static str,
    /// The column that the error is about.
    pub(crate) field: &'static str,
    /// Each makes a minimal row into one that violates this check and no other.
    pub(crate) refused: &'static [Values],
    /// Each makes a minimal row into one that just passes.
    pub(crate) accepted: &'static [Values],
}

impl Check {
    /// How executions are tried again, as it is stored.
    pub(crate) const fn retry_complete(name: &'static str) -> Self {
        Self {
            name,
            field: "retry",
            refused: &[
                &[("retry", "'[]'")],
                &[("retry", "'{\"count\": 3}'")],
                &[(
                    "retry",
                    "jsonb_set('{\"count\": 3, \"delay\": 1.5, \"factor\": 2, \"max_delay\": 60, \"jitter\": 0.1, \"on\": [\"failed\"]}'::jsonb, '{count}', '0')",
                )],
                &[(
                    "retry",
                    "jsonb_set('{\"count\": 3, \"delay\": 1.5, \"factor\": 2, \"max_delay\": 60, \"jitter\": 0.1, \"on\": [\"failed\"]}'::jsonb, '{count}', '101')",
                )],
                &[(
                    "retry",
                    "jsonb_set('{\"count\": 3, \"delay\": 1.5, \"factor\": 2, \"max_delay\": 60, \"jitter\": 0.1, \"on\": [\"failed\"]}'::jsonb, '{count}', '[3]')",
                )],
                &[(
                    "retry",
                    "jsonb_set('{\"count\": 3, \"delay\": 1.5, \"factor\": 2, \"max_delay\": 60, \"jitter\": 0.1, \"on\": [\"failed\"]}'::jsonb, '{count}', '\"3\"')",
                )],
                &[(
                    "retry",
                    "jsonb_set('{\"count\": 3, \"delay\": 1.5, \"factor\": 2, \"max_delay\": 60, \"jitter\": 0.1, \"on\": [\"failed\"]}'::jsonb, '{delay}', '-1')",
                )],
                &[(
                    "retry",
                    "jsonb_set('{\"count\": 3, \"delay\": 1.5, \"factor\": 2, \"max_delay\": 60, \"jitter\": 0.1, \"on\": [\"failed\"]}'::jsonb, '{factor}', '0.5')",
                )],
                &[(
                    "retry",
                    "jsonb_set('{\"count\": 3, \"delay\": 1.5, \"factor\": 2, \"max_delay\": 60, \"jitter\": 0.1, \"on\": [\"failed\"]}'::jsonb, '{max_delay}', '1e9')",
                )],
                &[(
                    "retry",
                    "jsonb_set('{\"count\": 3, \"delay\": 1.5, \"factor\": 2, \"max_delay\": 60, \"jitter\": 0.1, \"on\": [\"failed\"]}'::jsonb, '{jitter}', '1.5')",
                )],
                &[(
                    "retry",
                    "jsonb_set('{\"count\": 3, \"delay\": 1.5, \"factor\": 2, \"max_delay\": 60, \"jitter\": 0.1, \"on\": [\"failed\"]}'::jsonb, '{on}', '\"failed\"')",
                )],
            ],
            accepted: &[
                &[("retry", "'{}'")],
                &[(
                    "retry",
                    "'{\"count\": 3, \"delay\": 1.5, \"factor\": 2, \"max_delay\": 60, \"jitter\": 0.1, \"on\": [\"failed\"]}'::jsonb",
                )],
            ],
        }
    }

    /// The form of the refs of what packs contain: `pack.name`.
    pub(crate) const fn ref_format(name: &'static str) -> Self {
        Self {
            name,
            field: "ref",
            refused: &[
                &[("ref", "''")],
                &[("ref", "'nopoint'")],
                &[("ref", "'test.'")],
                &[("ref", "'.name'")],
                &[("ref", "'t.name'")],
                &[("ref", "'1test.name'")],
                &[("ref", "'Test.name'")],
                &[("ref", "'test.Name'")],
                &[("ref", "'test.two words'")],
                &[("ref", "e'test.name\\n'")],
            ],
            accepted: &[&[("ref", "'te.0'")], &[("ref", "'t_-9.a_-9.z'")]],
        }
    }
}

/// A primary key, a unique constraint or a unique index.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    /// What the error calls it.
    pub(crate) field: &'static str,
    pub(crate) columns: &'static [&'static str],
    /// What two rows have in common.
    pub(crate) common: Values,
    /// Whether PostgreSQL's words about the taken value are kept: not for secrets.
    pub(crate) named_value: bool,
    /// What any number of rows may have in common.
    pub(crate) repeatable: &'static [Values],
}

impl Key {
    /// A key of one column.
    pub(crate) const fn of(name: &'static str, column: &'static [&'static str; 1], common: Values) -> Self {
        Self { name, field: column[0], columns: column, common, named_value: true, repeatable: &[] }
    }

    /// The generated ids.
    pub(crate) const fn id(name: &'static str) -> Self {
        Self::of(name, &["id"], &[("id", "{n}")])
    }

    /// Refs.
    pub(crate) const fn r#ref(name: &'static str) -> Self {
        Self::of(name, &["ref"], &[("ref", "'test.same_{n}'")])
    }

    /// The id with the name, for references of both. Nothing violates it that does not violate the key of the ids.
    pub(crate) const fn id_with_ref(name: &'static str) -> Self {
        Self {
            name,
            field: "id_ref",
            columns: &["id", "ref"],
            common: &[],
            named_value: true,
            repeatable: &[],
        }
    }

    /// Whether rows can violate this key alone.
    pub(crate) fn is_violable(&self) -> bool {
        !self.common.is_empty()
    }

    pub(crate) const fn secret(self) -> Self {
        Self { named_value: false, ..self }
    }

    pub(crate) const fn repeatable(self, repeatable: &'static [Values]) -> Self {
        Self { repeatable, ..self }
    }
}

/// A foreign key.
#[derive(Debug)]
pub(crate) struct Reference {
    pub(crate) name: &'static str,
    pub(crate) column: &'static str,
    pub(crate) target: &'static str,
    pub(crate) removal: Removal,
    /// What a row needs to have this reference.
    pub(crate) with: Values,
    /// Whether the twin is part of the reference: it has to be the target's name.
    pub(crate) is_by_name: bool,
}

/// What becomes of a row when the target of its reference is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Removal {
    /// The row goes as well.
    Cascade,
    /// The row stays without the reference; the text that names the target, where there is one, stays.
    SetNull { twin: Option<&'static str> },
    /// The target stays.
    Refused,
}

impl Reference {
    pub(crate) const fn cascade(name: &'static str, column: &'static str, target: &'static str) -> Self {
        Self { name, column, target, removal: Removal::Cascade, with: &[], is_by_name: false }
    }

    /// With the column that keeps the target's name.
    pub(crate) const fn set_null(
        name: &'static str,
        column: &'static str,
        target: &'static str,
        twin: &'static str,
    ) -> Self {
        Self {
            name,
            column,
            target,
            removal: Removal::SetNull { twin: Some(twin) },
            with: &[],
            is_by_name: false,
        }
    }

    /// Where nothing keeps the target's name.
    pub(crate) const fn forget(name: &'static str, column: &'static str, target: &'static str) -> Self {
        Self { name, column, target, removal: Removal::SetNull { twin: None }, with: &[], is_by_name: false }
    }

    pub(crate) const fn refused(name: &'static str, column: &'static str, target: &'static str) -> Self {
        Self { name, column, target, removal: Removal::Refused, with: &[], is_by_name: false }
    }

    pub(crate) const fn with(self, with: Values) -> Self {
        Self { with, ..self }
    }

    /// One of two columns, the twin being the second.
    pub(crate) const fn with_name(self) -> Self {
        Self { is_by_name: true, ..self }
    }
}

/// The tables of a migration, with the name of the file that holds their cases.
pub(crate) static FILES: LazyLock<Vec<(&str, &[Table])>> = LazyLock::new(|| {
    vec![
        ("identity_permission.rs", identity_permission::TABLES),
        ("pack.rs", pack::TABLES),
        ("runtime_worker.rs", runtime_worker::TABLES),
        ("trigger_action.rs", trigger_action::TABLES),
        ("rule.rs", rule::TABLES),
        ("event_enforcement.rs", event_enforcement::TABLES),
        ("execution.rs", execution::TABLES),
        ("workflow_inquiry.rs", workflow_inquiry::TABLES),
        ("policy_queue.rs", policy_queue::TABLES),
        ("key.rs", key::TABLES),
        ("notification_artifact_audit.rs", notification_artifact_audit::TABLES),
        ("execution_progress.rs", execution_progress::TABLES),
    ]
});

/// Every table with cases.
pub(crate) fn tables() -> impl Iterator<Item = &'static Table> {
    FILES.iter().flat_map(|(_, tables)| tables.iter())
}

/// The table of this name.
pub(crate) fn table(name: &str) -> &'static Table {
    tables()
        .find(|table| table.name == name)
        .unwrap_or_else(|| panic!("tests/constraint has no cases of {name}"))
}

/// The file with the cases of the table.
pub(crate) fn file_of(name: &str) -> String {
    match FILES.iter().find(|(_, tables)| tables.iter().any(|table| table.name == name)) {
        Some((file, _)) => format!("tests/constraint/{file}"),
        None => {
            "tests/constraint/<the file of its migration>, after an entry for the table itself".to_owned()
        }
    }
}
