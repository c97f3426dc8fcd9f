//! `create_execution_progress`: how far runs have come.

use super::model::{Check, Key, NOW, Reference, Table};

pub(crate) const TABLES: &[Table] = &[Table {
    name: "execution_progress",
    identified_by: &["execution"],
    required: &[("execution", "@execution"), ("attempt", "1")],
    defaults: &[("created", NOW), ("updated", NOW)],
    checks: &[
        Check {
            name: "execution_progress_percent_range",
            field: "percent",
            refused: &[&[("percent", "-1")], &[("percent", "100.1")], &[("percent", "'NaN'")]],
            accepted: &[&[("percent", "0")], &[("percent", "100")], &[("percent", "null")]],
        },
        Check {
            name: "execution_progress_steps_list",
            field: "steps",
            refused: &[&[("steps", "'{}'")]],
            accepted: &[&[("steps", "'[]'")], &[("steps", "null")]],
        },
    ],
    keys: &[Key::of("execution_progress_pkey", &["execution"], &[("execution", "@execution")])],
    references: &[Reference::cascade("execution_progress_execution_fkey", "execution", "execution")],
    change: &[("percent", "7")],
    ..Table::NAMELESS
}];
