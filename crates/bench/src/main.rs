//! Measures and tests Attune from outside, as a user would: through its processes and its public API.

mod backtest;
mod ceiling;
mod compare;
mod definitions;
mod drain;
mod endure;
mod http;
mod load;
mod machine;
mod measure;
mod peers;
mod progress;
mod prove;
mod python;
mod report;
mod retention;
mod server;
mod shell;
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
    /// Throughput in a condition, against that of a server without it
    Compare(compare::Arguments),
    /// Throughput over a long time: the last fifth against the first
    Endure(endure::Arguments),
    /// How fast executions are claimed and ended that wait already
    Drain(drain::Arguments),
    /// How fast what is old is removed, alone and beside a full load
    Retention(retention::Arguments),
    /// Actions that are processes: how many a second, and the memory that many at once take
    Shell(shell::Arguments),
    /// Throughput against that of other job queues on PostgreSQL, in turns on the same cluster
    Peers(peers::Arguments),
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
        Command::Compare(arguments) => compare::run(arguments).await,
        Command::Endure(arguments) => endure::run(arguments).await,
        Command::Drain(arguments) => drain::run(arguments).await,
        Command::Retention(arguments) => retention::run(arguments).await,
        Command::Shell(arguments) => shell::run(arguments).await,
        Command::Peers(arguments) => peers::run(arguments).await,
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
