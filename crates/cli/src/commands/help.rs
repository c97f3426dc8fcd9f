//! `attune help`: commands and topics.

use clap::Args;

use crate::exit::{self, Exit};
use crate::failure::Fault;
use crate::output::write;

#[derive(Debug, Args)]
pub(crate) struct HelpArgs {
    /// Command to explain, as `pack install`, or the topic `exit-codes`
    #[arg(value_name = "COMMAND|TOPIC")]
    words: Vec<String>,
}

pub(crate) fn run(args: &HelpArgs, mut command: clap::Command) -> anyhow::Result<Exit> {
    if args.words == ["exit-codes"] {
        write(&exit::help_text())?;
        return Ok(Exit::Ok);
    }
    // Lets every command know the whole way to it, which its usage shows.
    command.build();
    let mut command = &mut command;
    for word in &args.words {
        let names: Vec<_> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
        let within = command.get_bin_name().unwrap_or("attune").to_owned();
        command = command.find_subcommand_mut(word).ok_or_else(|| {
            let fault = Fault::new(format!("`{within}` has no command `{word}`"));
            match attune_expr::suggest::nearest(word, names.iter().map(String::as_str)) {
                Some(near) => fault.hint(format!("did you mean `{near}`?")),
                None => fault.hint(format!("`{within} --help` lists them")),
            }
        })?;
    }
    write(&command.render_long_help().to_string())?;
    Ok(Exit::Ok)
}
