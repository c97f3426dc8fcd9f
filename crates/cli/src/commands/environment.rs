//! `attune environment`: the registry of environment variables.

use attune_common::environment::VARIABLES;
use serde::Serialize;

use crate::exit::Exit;
use crate::output::{Columns, list};
use crate::session::Options;

#[derive(Serialize)]
struct Row {
    name: &'static str,
    meaning: &'static str,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<Exit> {
    let rows: Vec<_> =
        VARIABLES.iter().map(|variable| Row { name: variable.name, meaning: variable.meaning }).collect();
    let columns = Columns {
        noun: "environment variables",
        header: &["NAME", "MEANING"],
        row: &|row: &Row| vec![row.name.to_owned(), row.meaning.to_owned()],
        name: &|row| row.name.to_owned(),
    };
    list(options.format(), &rows, &columns)?;
    Ok(Exit::Ok)
}
