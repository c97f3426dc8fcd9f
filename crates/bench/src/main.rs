//! Measures and tests Attune from outside, as a user would: through its processes and its public API.

mod backtest;
mod ceiling;
mod load;
mod measure;
mod prove;
mod python;
mod report;
mod server;
mod target;

use clap::{Parser, Subcommand};

/// Command line of the benchmark.
#[derive(Debug, Parser)]
#[command(name = "attune-bench", about = "Measures and tests Attune from outside")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Throughput and latency through the public API
    Load(measure::Arguments),
    /// Speed of back-tests over recorded events
    Backtest(backtest::Arguments),
    /// From claim to end of a trivial Python action, warm and cold
    Python(python::Arguments),
    /// Kills, freezes and cuts off processes under a stream of webhooks, and checks that every promise was kept
    Faults(prove::Arguments),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Load(arguments) => measure::run(arguments).await,
        Command::Backtest(arguments) => backtest::run(arguments).await,
        Command::Python(arguments) => python::run(arguments).await,
        Command::Faults(arguments) => prove::run(arguments).await,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn test_the_command_line_is_well_defined() {
        Arguments::command().debug_assert();
    }
}
