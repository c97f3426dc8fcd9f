//! Verdicts as people and scripts see them.

use attune_rules::{TestResult, Verdict};
use serde_json::Value;

use crate::exit::Exit;
use crate::output::{or_dash, table};

/// How much of a value fits a cell; the other formats have all of it.
const CELL_CHARACTERS: usize = 60;

/// Each condition in a row.
pub(crate) fn table_of(tests: &[TestResult]) -> String {
    let header = ["CONDITION", "FIELD", "OPERATOR", "EXPECTED", "ACTUAL", "VERDICT", "WHY"];
    table(&header, tests.iter().map(row))
}

fn row(test: &TestResult) -> Vec<String> {
    vec![
        or_dash(Some(&test.pointer).filter(|pointer| !pointer.is_empty())),
        test.field.clone(),
        test.operator.clone(),
        or_dash(test.expected.as_ref().map(cell)),
        or_dash(test.actual.as_ref().map(cell)),
        test.verdict.to_string(),
        if is_negated(&test.pointer) {
            format!("{} (under `not`)", test.reason)
        } else {
            test.reason.clone()
        },
    ]
}

/// Whether the verdict counts the other way round: it is that of the condition before any `not` around it.
fn is_negated(pointer: &str) -> bool {
    pointer.split('/').filter(|step| *step == "not").count() % 2 == 1
}

/// How a command ends that judged something: what is false or missing can be told from what could not be judged.
pub(crate) fn exit_of(verdict: Verdict) -> Exit {
    match verdict {
        Verdict::True => Exit::Ok,
        Verdict::False | Verdict::Missing => Exit::Differs,
        Verdict::Error => Exit::Error,
    }
}

fn cell(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(CELL_CHARACTERS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn test_conditions_stand_in_rows() {
        let test = |pointer: &str, expected: Option<Value>, actual: Option<Value>, verdict| TestResult {
            pointer: pointer.to_owned(),
            field: "event.payload.a".to_owned(),
            operator: "equals".to_owned(),
            expected,
            actual,
            verdict,
            reason: "because".to_owned(),
        };
        let tests = [
            test("", Some(json!("-")), None, Verdict::Missing),
            test("/conditions/1", Some(json!(null)), Some(json!("é".repeat(90))), Verdict::False),
        ];
        let long = format!("\"{}...", "é".repeat(59));
        let rows: Vec<Vec<_>> = tests.iter().map(row).collect();
        assert!(is_negated("/conditions/0/not") && !is_negated("/conditions/0/not/any/1/not"));
        assert_eq!(rows[0], ["-", "event.payload.a", "equals", "\"-\"", "-", "missing", "because"]);
        assert_eq!(rows[1][3..5], ["null".to_owned(), long]);
        assert_eq!(table_of(&tests).lines().count(), 3);
    }
}
