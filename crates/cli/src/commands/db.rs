//! `attune db`.

use attune_client::types::{DatabaseSize, TableSize};
use clap::Subcommand;

use crate::exit::Exit;
use crate::output::{Details, age, or_dash, show, table};
use crate::session::{Options, Session};

#[derive(Debug, Subcommand)]
pub(crate) enum DbCommand {
    /// Show where the space of the database is, and how old the oldest rows are
    Size,
}

pub(crate) async fn run(command: DbCommand, options: &Options) -> anyhow::Result<Exit> {
    let DbCommand::Size = command;
    let session = options.session()?;
    let size = session.client.database_size().await?;
    show(session.format, &size, &size.total_bytes.to_string(), || details(&session, &size))?;
    Ok(Exit::Ok)
}

fn details(session: &Session, size: &DatabaseSize) -> Details {
    let row = |table: &TableSize| {
        vec![table.table.clone(), table.rows.to_string(), bytes(table.total_bytes), bytes(table.index_bytes)]
    };
    let kinds = size
        .kinds
        .iter()
        .map(|kind| vec![kind.kind.clone(), or_dash(kind.oldest.map(|at| age(session.now(), at)))]);
    Details::new()
        .field("database", bytes(size.total_bytes))
        .block(
            "tables",
            &table(&["TABLE", "ROWS (ESTIMATE)", "TOTAL", "INDEXES"], size.tables.iter().map(row)),
        )
        .block("oldest rows", &table(&["KIND", "AGE"], kinds))
}

/// A number of bytes for people.
fn bytes(bytes: i64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_bytes_are_told_in_the_largest_unit() {
        for (count, expected) in
            [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (713_031_680_000, "664.1 GiB")]
        {
            assert_eq!(bytes(count), expected);
        }
    }
}
