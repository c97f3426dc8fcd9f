//! The `attune` command: everything that users type, and the processes that serve.
//!
//! Standard output is data, standard error is talk, and the exit code tells a script what happened
//! (`attune help exit-codes`). User commands know the server through `attune-client` only.

mod archive;
mod commands;
mod diagnostics;
mod exit;
mod failure;
mod input;
mod jq;
mod lookup;
mod output;
mod pack_source;
mod paging;
mod parameters;
mod profile;
mod server;
mod session;
mod settings;
mod waiting;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

use crate::commands::key::KeyCommand;
use crate::commands::pack::PackCommand;
use crate::commands::{
    action, artifact, completion, db, enforcement, environment, event, execution, expr, help, inquiry, key,
    login, logout, pack, pause, policy, queue, rule, run, sensor, trigger, whoami, worker,
};
use crate::exit::Exit;
use crate::failure::Fault;
use crate::session::Options;

// A fifth less processor time for an event than the allocator of the C library, and less memory (ADR 19).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Event-driven automation: events, rules, actions.
#[derive(Debug, Parser)]
#[command(name = "attune", version, disable_help_subcommand = true, after_help = AFTER_HELP)]
struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str =
    "`attune help exit-codes` lists the exit codes, `attune environment` the environment variables.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve everything in one process, with a PostgreSQL of its own unless one is given
    Up(server::UpArgs),
    /// Serve some roles against a database that several processes share
    Serve(server::ServeArgs),
    /// Bring the schema of a database up to date
    Migrate(server::MigrateArgs),
    /// Sign in to a server and remember it as a profile
    Login(login::LoginArgs),
    /// Withdraw the token of the profile and forget it
    Logout(logout::LogoutArgs),
    /// Show who you are signed in as, and what you are allowed
    Whoami,
    /// Install, check and list packs
    #[command(subcommand)]
    Pack(pack::PackCommand),
    /// Show, enable and disable actions
    #[command(subcommand)]
    Action(action::ActionCommand),
    /// Show, get and leave artifacts: files, tables and links of runs
    #[command(subcommand)]
    Artifact(artifact::ArtifactCommand),
    /// Show triggers and their webhooks
    #[command(subcommand)]
    Trigger(trigger::TriggerCommand),
    /// Show, enable and disable sensors
    #[command(subcommand)]
    Sensor(sensor::SensorCommand),
    /// Show, make, change, test and back-test rules
    #[command(subcommand)]
    Rule(rule::RuleCommand),
    /// Show, create and replay events
    #[command(subcommand)]
    Event(event::EventCommand),
    /// Show what rules decided
    #[command(subcommand)]
    Enforcement(enforcement::EnforcementCommand),
    /// Show, follow and cancel runs of actions
    #[command(subcommand)]
    Execution(execution::ExecutionCommand),
    /// Show, answer and cancel what runs ask people
    #[command(subcommand)]
    Inquiry(inquiry::InquiryCommand),
    /// Run an action
    Run(run::RunArgs),
    /// Show policies: what holds executions back
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Show and fill work queues
    #[command(subcommand)]
    Queue(queue::QueueCommand),
    /// Stop starting an action, the actions of a pack or everything; without a scope, list what is paused
    Pause(pause::PauseArgs),
    /// End a pause
    Resume(pause::ResumeArgs),
    /// Show, cordon and uncordon the workers
    #[command(subcommand)]
    Worker(worker::WorkerCommand),
    /// Show where the space of the database is
    #[command(subcommand)]
    Db(db::DbCommand),
    /// Evaluate expressions on data, without a server
    Expr(expr::ExprArgs),
    /// Keep secrets for actions and webhooks
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Write a completion script for a shell
    Completion(completion::CompletionArgs),
    /// List the environment variables that Attune reads
    Environment,
    /// Explain a command, or a topic: exit-codes
    Help(help::HelpArgs),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error).into(),
    };
    let serves = matches!(
        cli.command,
        Command::Up(_) | Command::Serve(_) | Command::Migrate(_) | Command::Key(KeyCommand::Rotate(_))
    );
    let mut runtime = if serves {
        log_to_stderr();
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    let outcome = match runtime.enable_all().build() {
        Ok(runtime) => {
            let outcome = runtime.block_on(run(cli));
            // Nothing that is left, such as a name lookup under way, keeps the user waiting.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(anyhow::Error::from(error).context("cannot start the runtime")),
    };
    outcome.unwrap_or_else(|error| failure::report(&error)).into()
}

async fn run(cli: Cli) -> anyhow::Result<Exit> {
    let options = &cli.options;
    if options.wants_sarif() && !matches!(cli.command, Command::Pack(PackCommand::Lint { .. })) {
        return Err(Fault::new("`--output sarif` is for `attune pack lint` only").into());
    }
    if options.wants_junit() && !matches!(cli.command, Command::Pack(PackCommand::Test(_))) {
        return Err(Fault::new("`--output junit` is for `attune pack test` only").into());
    }
    match cli.command {
        Command::Up(args) => served(options, server::up(args)).await,
        Command::Serve(args) => served(options, server::serve(args)).await,
        Command::Migrate(args) => served(options, server::migrate(args)).await,
        Command::Login(args) => login::run(args, options).await,
        Command::Logout(args) => logout::run(&args, options).await,
        Command::Whoami => whoami::run(options).await,
        Command::Pack(command) => pack::run(command, options).await,
        Command::Action(command) => action::run(command, options).await,
        Command::Artifact(command) => artifact::run(command, options).await,
        Command::Trigger(command) => trigger::run(command, options).await,
        Command::Sensor(command) => sensor::run(command, options).await,
        Command::Rule(command) => rule::run(command, options).await,
        Command::Event(command) => event::run(command, options).await,
        Command::Enforcement(command) => enforcement::run(command, options).await,
        Command::Execution(command) => execution::run(command, options).await,
        Command::Inquiry(command) => inquiry::run(command, options).await,
        Command::Run(args) => run::run(args, options).await,
        Command::Policy(command) => policy::run(command, options).await,
        Command::Queue(command) => queue::run(command, options).await,
        Command::Db(command) => db::run(command, options).await,
        Command::Pause(args) => pause::pause(args, options).await,
        Command::Resume(args) => pause::resume(args, options).await,
        Command::Worker(command) => worker::run(command, options).await,
        Command::Expr(args) => expr::run(args, options),
        Command::Key(command) => key::run(command, options).await,
        Command::Completion(args) => completion::run(&args, Cli::command()),
        Command::Environment => environment::run(options),
        Command::Help(args) => help::run(&args, Cli::command()),
    }
}

/// Runs a serving command, to which the options of user commands mean nothing.
async fn served(options: &Options, work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<Exit> {
    if let Some(flag) = options.first_given() {
        return Err(Fault::new(format!("{flag} has no effect on a command that serves")).into());
    }
    work.await.map(|()| Exit::Ok)
}

/// Prints clap's help or complaint. Wrong usage ends with 1: clap's own 2 means something else here.
fn usage(error: &clap::Error) -> Exit {
    // Nothing can be done where even this cannot be written.
    drop(error.print());
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Ok,
        _ => Exit::Error,
    }
}

/// Sends the log of a serving process to standard error, filtered by `ATTUNE_LOG`.
fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::builder()
        .with_default_directive(tracing_subscriber::filter::LevelFilter::INFO.into())
        .with_env_var(attune_common::environment::LOG)
        .from_env_lossy();
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_the_command_line_is_well_defined() {
        Cli::command().debug_assert();
    }

    #[test]
    fn test_every_command_and_flag_is_explained() {
        fn check(command: &clap::Command, path: &str) {
            for sub in command.get_subcommands() {
                let path = format!("{path} {}", sub.get_name());
                assert!(sub.get_about().is_some(), "{path} has no description");
                for argument in sub.get_arguments() {
                    assert!(
                        argument.get_help().is_some(),
                        "{path}: {} has no description",
                        argument.get_id()
                    );
                }
                check(sub, &path);
            }
        }
        check(&Cli::command(), "attune");
    }

    #[test]
    fn test_secrets_cannot_be_given_as_arguments() {
        for arguments in [
            &["attune", "login", "--password", "x"][..],
            &["attune", "--token", "x", "whoami"],
            &["attune", "key", "set", "ops.token", "x"],
            &["attune", "key", "rotate", "--master-key", "x"],
            &["attune", "key", "rotate", "--new-master-key", "x"],
        ] {
            assert!(Cli::try_parse_from(arguments).is_err(), "{arguments:?}");
        }
    }

    #[test]
    fn test_options_stand_before_and_after_the_command() {
        for arguments in [["attune", "-o", "json", "rule", "list"], ["attune", "rule", "list", "-o", "json"]]
        {
            let cli = Cli::try_parse_from(arguments).unwrap();
            assert_eq!(cli.options.first_given(), Some("--output"));
        }
    }
}
