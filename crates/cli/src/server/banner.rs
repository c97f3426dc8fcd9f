//! What `attune up` says when it is ready: where it is, who may sign in, and what to try first.

use std::fmt;
use std::io::Write;
use std::net::SocketAddr;

use super::setup::Administrator;

/// The greeting.
#[derive(Debug)]
pub(super) struct Banner<'a> {
    pub(super) address: SocketAddr,
    pub(super) administrator: Option<&'a Administrator>,
    /// Path of the demo's webhook.
    pub(super) demo_webhook: Option<&'a str>,
}

impl fmt::Display for Banner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = format!("http://{}", self.address);
        writeln!(f, "Attune is up at {url}\n")?;
        if let Some(administrator) = self.administrator {
            write!(f, "{}", FirstAdministrator(administrator))?;
        }
        if let Some(path) = self.demo_webhook {
            writeln!(f, "  Fire the demo rule:\n")?;
            writeln!(
                f,
                "    curl -sS {url}{path} -H 'content-type: application/json' -d '{{\"name\": \"Ada\", \"mood\": \"curious\"}}'\n"
            )?;
        }
        writeln!(f, "  See what came of it:\n")?;
        writeln!(f, "    {} login --url {url} --username admin", program())?;
        writeln!(f, "    {} execution list", program())?;
        writeln!(f, "    {} event list\n", program())?;
        writeln!(f, "  Ctrl-C stops everything; the data stays.")
    }
}

/// The first administrator with the password: the only time that anybody sees it.
pub(super) struct FirstAdministrator<'a>(pub(super) &'a Administrator);

impl fmt::Display for FirstAdministrator<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  The first administrator (the password is shown this once):\n")?;
        writeln!(f, "    login     {}", self.0.login)?;
        writeln!(f, "    password  {}\n", self.0.password)
    }
}

/// Prints to standard output; to standard error where nobody reads that any more, since what is said here is said once.
/// A server does not end because nobody listens.
pub(super) fn announce(text: &impl fmt::Display) {
    let text = text.to_string();
    let mut stdout = std::io::stdout();
    if stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).is_err() {
        remark(text.trim_end());
    }
}

/// Says something beside the data.
pub(super) fn remark(text: &str) {
    // Nobody listens: then nobody misses it.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// How this program was called, so that the commands can be pasted.
fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "attune".to_owned())
}
