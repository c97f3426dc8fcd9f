//! The exit codes: what a script can tell from the end of a command. They are API; `attune help exit-codes` prints
//! them from [`Exit::ALL`].

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Ok,
    Error,
    Differs,
    RunFailed,
    NotAuthorised,
    NotFound,
    TimedOut,
    Pending,
}

impl Exit {
    /// Every code, in the order of their numbers.
    pub(crate) const ALL: &'static [Self] = &[
        Self::Ok,
        Self::Error,
        Self::Differs,
        Self::RunFailed,
        Self::NotAuthorised,
        Self::NotFound,
        Self::TimedOut,
        Self::Pending,
    ];

    /// The number that the shell sees.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Error => 1,
            Self::Differs => 2,
            Self::RunFailed => 3,
            Self::NotAuthorised => 4,
            Self::NotFound => 5,
            Self::TimedOut => 6,
            Self::Pending => 8,
        }
    }

    /// What the number means.
    pub(crate) const fn meaning(self) -> &'static str {
        match self {
            Self::Ok => "the command did what it was asked",
            Self::Error => {
                "it failed: wrong usage, a refused request, findings in a pack, an unreachable server"
            }
            Self::Differs => {
                "a comparison found differences or pending changes; a tested rule would not fire"
            }
            Self::RunFailed => "the execution ended as failed, timeout, cancelled or abandoned",
            Self::NotAuthorised => "not signed in, or the permission is missing",
            Self::NotFound => "what was named does not exist",
            Self::TimedOut => {
                "the wait ended before the execution did, which goes on; a question was not answered in time"
            }
            Self::Pending => "the execution has not ended yet (`attune execution show --exit-status`)",
        }
    }

    /// How a command ends that follows an execution with this status.
    pub(crate) fn of_execution(status: &str) -> Self {
        match status {
            "completed" => Self::Ok,
            "failed" | "timeout" | "cancelled" | "abandoned" => Self::RunFailed,
            _ => Self::Pending,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// The text of `attune help exit-codes`.
pub(crate) fn help_text() -> String {
    let mut text = String::from("Exit codes of attune:\n\n");
    for exit in Exit::ALL {
        text.push_str(&format!("  {}  {}\n", exit.code(), exit.meaning()));
    }
    text.push_str(
        "\nData goes to standard output, messages go to standard error. A closed pipe is no error.\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use attune_common::models::execution::ExecutionStatus;

    use super::*;

    #[test]
    fn test_every_status_of_an_execution_has_its_exit_code() {
        for status in ExecutionStatus::ALL {
            let exit = Exit::of_execution(status.as_str());
            assert_eq!(exit == Exit::Pending, !status.is_terminal(), "{status}");
        }
        assert_eq!(Exit::of_execution("completed"), Exit::Ok);
        assert_eq!(Exit::of_execution("timeout"), Exit::RunFailed);
    }

    #[test]
    fn test_help_names_every_code_once() {
        let text = help_text();
        let codes: Vec<_> = text
            .lines()
            .filter_map(|line| line.strip_prefix("  ")?.split_once("  "))
            .map(|(code, _)| code)
            .collect();
        assert_eq!(codes, ["0", "1", "2", "3", "4", "5", "6", "8"]);
    }
}
