//! `attune completion`: scripts that teach a shell the commands and their flags.

use clap::{Args, ValueEnum};
use clap_complete::Shell;

use crate::exit::Exit;
use crate::output::write;

#[derive(Debug, Args)]
pub(crate) struct CompletionArgs {
    /// Shell to write for, as `attune completion bash > /etc/bash_completion.d/attune`
    #[arg(value_enum)]
    shell: SupportedShell,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SupportedShell {
    Bash,
    Zsh,
    Fish,
}

pub(crate) fn run(args: &CompletionArgs, mut command: clap::Command) -> anyhow::Result<Exit> {
    let shell = match args.shell {
        SupportedShell::Bash => Shell::Bash,
        SupportedShell::Zsh => Shell::Zsh,
        SupportedShell::Fish => Shell::Fish,
    };
    // Into memory first: the generator panics where it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "attune", &mut script);
    write(&String::from_utf8(script)?)?;
    Ok(Exit::Ok)
}
