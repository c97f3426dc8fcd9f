//! What `attune up` says when it is ready: where it is, who may sign in, and what to try first.

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

impl Banner<'_> {
    pub(super) fn print(&self) {
        let url = format!("http://{}", self.address);
        println!("Attune is up at {url}\n");
        if let Some(administrator) = self.administrator {
            print_administrator(administrator);
        }
        if let Some(path) = self.demo_webhook {
            println!("  Fire the demo rule:\n");
            println!(
                "    curl -sS {url}{path} -H 'content-type: application/json' -d '{{\"name\": \"Ada\", \"mood\": \"curious\"}}'\n"
            );
        }
        println!("  See what came of it:\n");
        println!("    {} login --url {url} --username admin", program());
        println!("    {} execution list", program());
        println!("    {} event list\n", program());
        println!("  Ctrl-C stops everything; the data stays.");
    }
}

/// The first administrator's password: the only time that anybody sees it.
pub(super) fn print_administrator(administrator: &Administrator) {
    println!("  The first administrator (the password is shown this once):\n");
    println!("    login     {}", administrator.login);
    println!("    password  {}\n", administrator.password);
}

/// How this program was called, so that the commands can be pasted.
fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "attune".to_owned())
}
