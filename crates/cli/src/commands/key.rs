//! `attune key`: secrets, and values that are none. A secret is typed without echo or read from standard input, never given as an
//! argument, and never shown again. `attune key rotate` works on the database, as `attune migrate` does.

use attune_client::types::{KeyRequest, KeyView};
use attune_client::{Client, ClientError};
use clap::Subcommand;
use serde_json::json;

use crate::exit::Exit;
use crate::input;
use crate::lookup::found;
use crate::output::{Columns, Details, age, confirm, list, moment, printable, show, yes_no};
use crate::paging::{OptionalLimit, select};
use crate::server::{self, RotateArgs};
use crate::session::{Options, Session};

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// List the keys, with the short values of those that are no secrets
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        limit: OptionalLimit,
    },
    /// Show a key, with its value where that is no secret
    #[command(visible_alias = "get")]
    Show {
        /// Ref of the key
        #[arg(value_name = "REF")]
        key_ref: String,
    },
    /// Set a key to a value that is asked for, or read from standard input without its last line feed. A key stays a secret, or
    /// none, unless said; a new one is a secret
    Set {
        /// Ref of the key
        #[arg(value_name = "REF")]
        key_ref: String,
        /// The value is no secret: whoever may read the key sees it, and it is masked nowhere. It may be given here
        #[arg(long, value_name = "VALUE", num_args = 0..=1, require_equals = true, conflicts_with = "secret")]
        plain: Option<Option<String>>,
        /// The value is a secret
        #[arg(long)]
        secret: bool,
    },
    /// Make a key that is none a secret, with the value that it has
    Hide {
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
                header: &["REF", "VALUE", "CHANGED", "AGE"],
                row: &|key: &KeyView| {
                    vec![
                        key.key_ref.clone(),
                        listed(key),
                        format!("{} ago", age(session.now(), key.updated)),
                        age(session.now(), key.created),
                    ]
                },
                name: &|key| key.key_ref.clone(),
            };
            list(session.format, &keys, &columns)?;
        }
        KeyCommand::Show { key_ref } => {
            let session = options.session()?;
            let known = refs(&session.client);
            let key = found("key", &key_ref, session.client.key(&key_ref).await, known).await?;
            show(session.format, &key, &key.key_ref, || details(&session, &key))?;
        }
        KeyCommand::Set { key_ref, plain, secret } => {
            let session = options.session()?;
            let kind = match (&plain, secret) {
                (Some(_), _) => Some(false),
                (None, true) => Some(true),
                (None, false) => None,
            };
            let value = match plain {
                Some(Some(value)) => value,
                Some(None) if input::is_interactive() => input::ask(&format!("value of {key_ref}"), None)?,
                None if input::is_interactive() => input::ask_secret(&format!("value of {key_ref}: "))?,
                Some(None) | None => input::secret_from_stdin("value")?,
            };
            let request = KeyRequest { value: Some(value), secret: kind };
            let key = session.client.put_key(&key_ref, &request).await?;
            let shown = if key.secret { "" } else { "; whoever may read it sees its value" };
            confirm(session.format, &key, &key.key_ref, format_args!("key {} is set{shown}", key.key_ref))?;
        }
        KeyCommand::Hide { key_ref } => {
            let session = options.session()?;
            let request = KeyRequest { value: None, secret: Some(true) };
            let known = refs(&session.client);
            let key = found("key", &key_ref, session.client.put_key(&key_ref, &request).await, known).await?;
            confirm(session.format, &key, &key.key_ref, format_args!("key {} is a secret", key.key_ref))?;
        }
        KeyCommand::Delete { key_ref } => {
            let session = options.session()?;
            let client = &session.client;
            found("key", &key_ref, client.delete_key(&key_ref).await, refs(client)).await?;
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

/// What stands in place of the value of a secret.
const MASK: &str = "********";

/// How many characters of a value a list has room for.
const LISTED: usize = 40;

async fn refs(client: &Client) -> Result<Vec<String>, ClientError> {
    let page = client.keys().await?;
    Ok(page.items.into_iter().map(|key| key.key_ref).collect())
}

/// The value as a list shows it: in one line, and its end left out where it is long.
fn listed(key: &KeyView) -> String {
    let value = match &key.value {
        Some(value) => printable(value).replace(['\n', '\t'], " "),
        None if key.secret => MASK.to_owned(),
        None => "...".to_owned(),
    };
    match value.char_indices().nth(LISTED) {
        Some((end, _)) => format!("{}...", &value[..end]),
        None => value,
    }
}

fn details(session: &Session, key: &KeyView) -> Details {
    let details = Details::new()
        .field("ref", &key.key_ref)
        .field("secret", yes_no(key.secret))
        .field("owner", &key.owner)
        .field("version", key.version)
        .field("created", moment(session.now(), key.created))
        .field("updated", moment(session.now(), key.updated));
    match &key.value {
        Some(value) if value.contains('\n') => details.block("value", value),
        Some(value) => details.field("value", value),
        None => details.field("value", MASK),
    }
}
