//! Tables and links, which are JSON of a known form.

use indexmap::{IndexMap, IndexSet};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

/// More columns are a mistake.
const MAX_COLUMNS: usize = 1000;

/// A table as it is sent: with columns, or as a list of objects.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Given {
    Objects(Vec<IndexMap<String, Value>>),
    Columns(Table),
}

/// A table as it is stored.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    columns: Vec<Column>,
    /// A row has a value for each column.
    rows: Vec<Vec<Value>>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Column {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    label: Option<String>,
}

/// A link, as it is sent and stored.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Link {
    url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    label: Option<String>,
}

/// Why a content is not what its artifact holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}; expected {expected}")]
pub struct FormError {
    pub detail: String,
    /// Where in the JSON.
    pub pointer: String,
    pub expected: &'static str,
}

/// The table with its columns, as it is stored.
pub(super) fn normalised(content: &[u8]) -> Result<Vec<u8>, FormError> {
    const EXPECTED: &str = "`{\"columns\": [{\"name\": ..}], \"rows\": [[..]]}`, or a list of objects";
    let given = serde_json::from_slice(content)
        .map_err(|error| fault("", format!("the content is no table: {error}"), EXPECTED))?;
    let table = match given {
        Given::Columns(table) => table,
        Given::Objects(objects) => of_objects(objects),
    };
    if table.columns.len() > MAX_COLUMNS {
        let detail = format!("the table has {} columns", table.columns.len());
        return Err(fault("/columns", detail, "1000 columns at most"));
    }
    let mut names = IndexSet::new();
    for (at, column) in table.columns.iter().enumerate() {
        if column.name.is_empty() || !names.insert(column.name.as_str()) {
            let detail = format!("column {:?} is there twice, or has no name", column.name);
            return Err(fault(&format!("/columns/{at}/name"), detail, "a name of its own for each column"));
        }
    }
    let wrong = table.rows.iter().enumerate().find(|(_, row)| row.len() != table.columns.len());
    if let Some((at, row)) = wrong {
        let detail =
            format!("the row has {} values and the table {} columns", row.len(), table.columns.len());
        return Err(fault(&format!("/rows/{at}"), detail, "a value for each column, which may be null"));
    }
    written(&table)
}

/// Columns in the order in which objects first have them.
fn of_objects(objects: Vec<IndexMap<String, Value>>) -> Table {
    let mut names = IndexSet::new();
    for object in &objects {
        for name in object.keys() {
            if !names.contains(name) {
                names.insert(name.clone());
            }
        }
    }
    let row = |mut object: IndexMap<String, Value>| {
        names.iter().map(|name| object.swap_remove(name).unwrap_or(Value::Null)).collect()
    };
    let rows = objects.into_iter().map(row).collect();
    Table { columns: names.into_iter().map(|name| Column { name, label: None }).collect(), rows }
}

/// The link as it is stored.
pub(super) fn link(content: &[u8]) -> Result<Vec<u8>, FormError> {
    const EXPECTED: &str = "`{\"url\": \"https://..\", \"label\": ..}`";
    let link: Link = serde_json::from_slice(content)
        .map_err(|error| fault("", format!("the content is no link: {error}"), EXPECTED))?;
    let url = Url::parse(&link.url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    if url.is_none() {
        let detail = format!("{:?} is no address that can be opened", link.url);
        return Err(fault("/url", detail, "an address that begins with http:// or https://"));
    }
    written(&link)
}

/// What came from JSON goes back to it.
fn written(form: &impl Serialize) -> Result<Vec<u8>, FormError> {
    serde_json::to_vec(form).map_err(|error| fault("", error.to_string(), "JSON"))
}

fn fault(pointer: &str, detail: String, expected: &'static str) -> FormError {
    FormError { detail, pointer: pointer.to_owned(), expected }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(given: &str, expected: &Value) {
        let stored: Value = serde_json::from_slice(&normalised(given.as_bytes()).unwrap()).unwrap();
        assert_eq!(stored, *expected);
    }

    #[track_caller]
    fn refused(outcome: Result<Vec<u8>, FormError>, pointer: &str) {
        assert_eq!(outcome.unwrap_err().pointer, pointer);
    }

    #[test]
    fn test_objects_become_rows_in_the_order_of_their_members() {
        check(
            r#"[{"host": "b", "age": 1}, {"zone": null, "host": "a"}]"#,
            &json!({
                "columns": [{"name": "host"}, {"name": "age"}, {"name": "zone"}],
                "rows": [["b", 1, null], ["a", null, null]],
            }),
        );
        check("[]", &json!({"columns": [], "rows": []}));
        let whole = json!({"columns": [{"name": "a", "label": "A"}], "rows": [[1], [null]]});
        check(&whole.to_string(), &whole);
    }

    #[test]
    fn test_what_is_no_table_is_refused() {
        refused(normalised(b"a,b"), "");
        refused(normalised(b"{\"rows\": []}"), "");
        refused(normalised(br#"{"columns": [{"name": "a"}, {"name": "a"}], "rows": []}"#), "/columns/1/name");
        refused(normalised(br#"{"columns": [{"name": "a"}], "rows": [[1], [1, 2]]}"#), "/rows/1");
    }

    #[test]
    fn test_links() {
        let stored = link(br#"{"url": "https://example.test/x", "label": "X"}"#).unwrap();
        assert_eq!(stored, br#"{"url":"https://example.test/x","label":"X"}"#);
        refused(link(br#"{"url": "javascript:alert(1)"}"#), "/url");
        refused(link(b"https://example.test"), "");
    }
}
