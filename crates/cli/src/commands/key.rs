//! `attune key`: secrets. A value is typed without echo or read from standard input, never given as an argument, and
//! never shown again. `attune key rotate` works on the database, as `attune migrate` does.

use attune_client::types::KeyView;
use clap::Subcommand;
use serde_json::json;

use crate::exit::Exit;
use crate::failure::Fault;
use crate::input;
use crate::lookup::found;
use crate::output::{Columns, age, confirm, list};
use crate::paging::{OptionalLimit, select};
use crate::server::{self, RotateArgs};
use crate::session::Options;

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// List the keys, without their values
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        limit: OptionalLimit,
    },
    /// Set a key to a value that is asked for, or read from standard input without its last line feed
    Set {
        /// Ref of the key
        #[arg(value_name = "REF")]
        key_ref: String,
    },
    /// Delete a key
    #[command(visible_alias = "rm")]
    Delete {
        /// Ref of the key
        #[arg(value_name = "REF")]
        key_ref: String,
    },
    /// Encrypt all secrets under a new key, with the database and the master key at hand
    Rotate(RotateArgs),
}

pub(crate) async fn run(command: KeyCommand, options: &Options) -> anyhow::Result<Exit> {
    match command {
        KeyCommand::List { limit } => {
            let session = options.session()?;
            let client = &session.client;
            let keys = select(client.keys().await?, limit, |_| true);
            let columns = Columns {
                noun: "keys",
                header: &["REF", "CHANGED", "AGE"],
                row: &|key: &KeyView| {
                    vec![
                        key.key_ref.clone(),
                        format!("{} ago", age(session.now(), key.updated)),
                        age(session.now(), key.created),
                    ]
                },
                name: &|key| key.key_ref.clone(),
            };
            list(session.format, &keys, &columns)?;
        }
        KeyCommand::Set { key_ref } => {
            let session = options.session()?;
            let client = &session.client;
            let value = if input::is_interactive() {
                input::ask_secret(&format!("value of {key_ref}: "))?
            } else {
                input::secret_from_stdin("value")?
            };
            if value.is_empty() {
                return Err(Fault::new("the value is empty; nothing was stored").into());
            }
            let key = client.set_key(&key_ref, &value).await?;
            confirm(session.format, &key, &key.key_ref, format_args!("key {} is set", key.key_ref))?;
        }
        KeyCommand::Delete { key_ref } => {
            let session = options.session()?;
            let client = &session.client;
            let known = async {
                let page = client.keys().await?;
                Ok(page.items.into_iter().map(|key| key.key_ref).collect())
            };
            found("key", &key_ref, client.delete_key(&key_ref).await, known).await?;
            confirm(
                session.format,
                &json!({"ref": key_ref}),
                &key_ref,
                format_args!("key {key_ref} is deleted"),
            )?;
        }
        KeyCommand::Rotate(args) => return crate::served(options, server::rotate(args)).await,
    }
    Ok(Exit::Ok)
}
