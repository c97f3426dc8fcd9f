//! `attune pack config`: the settings of an installed pack.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use attune_client::types::{PackConfigChange, PackConfigView, SettingView};
use clap::Subcommand;
use serde_json::{Map, Value};

use super::known;
use crate::exit::Exit;
use crate::failure::Fault;
use crate::input;
use crate::lookup::found;
use crate::output::{Columns, Format, confirm, json_text, list, or_dash, say, write, yaml_text, yes_no};
use crate::parameters::{assemble, secrets_among};
use crate::session::{Options, Session};

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Show the settings of a pack and where their values come from, or the value of one
    Get {
        /// Ref of the pack
        #[arg(value_name = "REF")]
        pack_ref: String,
        /// Print the value of this setting alone
        #[arg(value_name = "NAME")]
        name: Option<String>,
    },
    /// Set settings of a pack
    Set {
        /// Ref of the pack
        #[arg(value_name = "REF")]
        pack_ref: String,
        /// Values, as port=8080; texts as they are, anything else as JSON
        #[arg(value_name = "NAME=VALUE")]
        values: Vec<String>,
        /// Set a secret, whose value is asked for, or read from standard input without its last line feed
        #[arg(long, value_name = "NAME")]
        secret: Option<String>,
        /// File with values, in YAML or JSON
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Take back what was set of a pack
    Unset {
        /// Ref of the pack
        #[arg(value_name = "REF")]
        pack_ref: String,
        /// Settings
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
    },
    /// Edit what is set of a pack, secrets excepted, with the editor of VISUAL or EDITOR
    Edit {
        /// Ref of the pack
        #[arg(value_name = "REF")]
        pack_ref: String,
    },
}

pub(crate) async fn run(command: ConfigCommand, options: &Options) -> anyhow::Result<()> {
    let session = options.session()?;
    match command {
        ConfigCommand::Get { pack_ref, name } => {
            let view = view(&session, &pack_ref).await?;
            match name {
                None => show(&session, &pack_ref, &view),
                Some(name) => one(&session, &pack_ref, &name, &view),
            }
        }
        ConfigCommand::Set { pack_ref, values, secret, file } => {
            let view = view(&session, &pack_ref).await?;
            refuse_secrets(&view, &values, &pack_ref)?;
            let given = file.as_ref().map(read).transpose()?;
            let set = match assemble(&view.schema, given, &values).map_err(about_settings)? {
                Value::Object(set) => set,
                _ => Map::new(),
            };
            let set = with_secret(set, secret.as_deref(), &view, &pack_ref)?;
            if set.is_empty() {
                return Err(Fault::new("nothing is to be set")
                    .hint("give NAME=VALUE, --secret or --file")
                    .into());
            }
            change(&session, &pack_ref, PackConfigChange { set, unset: Vec::new() }).await
        }
        ConfigCommand::Unset { pack_ref, names } => {
            change(&session, &pack_ref, PackConfigChange { set: Map::new(), unset: names }).await
        }
        ConfigCommand::Edit { pack_ref } => edit(&session, &pack_ref).await,
    }
}

/// A fault of the parameters' reader, in words for settings.
fn about_settings(fault: Fault) -> Fault {
    let text = fault.to_string();
    match text.strip_prefix("the action has no parameter") {
        Some(rest) => Fault::new(format!("the pack has no setting{rest}")),
        None => fault,
    }
}

async fn view(session: &Session, pack_ref: &str) -> anyhow::Result<PackConfigView> {
    let answer = session.client.pack_config(pack_ref).await;
    found("pack", pack_ref, answer, known(session)).await
}

fn show(session: &Session, pack_ref: &str, view: &PackConfigView) -> anyhow::Result<()> {
    let columns = Columns {
        noun: "settings",
        header: &["NAME", "VALUE", "FROM", "REQUIRED", "DESCRIPTION"],
        row: &|setting: &SettingView| {
            let value = match (&setting.value, setting.secret && setting.source == "set") {
                (Some(value), _) => Some(value.to_string()),
                (None, true) => Some("(secret)".to_owned()),
                (None, false) => None,
            };
            vec![
                setting.name.clone(),
                or_dash(value),
                setting.source.clone(),
                yes_no(setting.required),
                or_dash(setting.description.as_ref()),
            ]
        },
        name: &|setting| setting.name.clone(),
    };
    list(session.format, &view.settings, &columns)?;
    tell_missing(session, pack_ref, view);
    Ok(())
}

fn tell_missing(session: &Session, pack_ref: &str, view: &PackConfigView) {
    if session.format == Format::Table && !view.missing.is_empty() {
        let missing = view.missing.join(", ");
        say(format_args!("note: actions of {pack_ref} do not run before these are set: {missing}"));
    }
}

fn one(session: &Session, pack_ref: &str, name: &str, view: &PackConfigView) -> anyhow::Result<()> {
    let Some(setting) = view.settings.iter().find(|setting| setting.name == name) else {
        return Err(Fault::new(format!("pack {pack_ref} has no setting {name}")).exit(Exit::NotFound).into());
    };
    if setting.secret {
        return Err(Fault::new(format!("{name} is a secret, and is not shown to anybody")).into());
    }
    let text = match (&setting.value, session.format) {
        (None, _) => return Err(Fault::new(format!("{name} has no value")).exit(Exit::NotFound).into()),
        (Some(Value::String(text)), Format::Table) => format!("{text}\n"),
        (Some(value), Format::Table | Format::Json) => json_text(value)?,
        (Some(value), Format::Yaml) => yaml_text(value)?,
        (Some(_), Format::Name) => format!("{name}\n"),
    };
    Ok(write(&text)?)
}

/// Secrets among the arguments would be seen by other users of the machine.
fn refuse_secrets(view: &PackConfigView, values: &[String], pack_ref: &str) -> Result<(), Fault> {
    match secrets_among(&view.schema, values).first() {
        None => Ok(()),
        Some(name) => Err(Fault::new(format!(
            "{name} is a secret, and arguments are seen by other users of this machine"
        ))
        .hint(format!("attune pack config set {pack_ref} --secret {name}"))),
    }
}

fn with_secret(
    mut set: Map<String, Value>,
    secret: Option<&str>,
    view: &PackConfigView,
    pack_ref: &str,
) -> anyhow::Result<Map<String, Value>> {
    let Some(name) = secret else { return Ok(set) };
    if !view.settings.iter().any(|setting| setting.name == name && setting.secret) {
        return Err(Fault::new(format!("pack {pack_ref} has no secret {name}")).into());
    }
    let value = if input::is_interactive() {
        input::ask_secret(&format!("{name} of {pack_ref}: "))?
    } else {
        input::secret_from_stdin("value")?
    };
    if value.is_empty() {
        return Err(Fault::new("the value is empty; nothing was stored").into());
    }
    set.insert(name.to_owned(), Value::String(value));
    Ok(set)
}

fn read(file: &PathBuf) -> anyhow::Result<Value> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    serde_saphyr::from_str(&text).with_context(|| format!("{} is no YAML", file.display()))
}

async fn change(session: &Session, pack_ref: &str, change: PackConfigChange) -> anyhow::Result<()> {
    let answer = session.client.change_pack_config(pack_ref, &change).await;
    let view = found("pack", pack_ref, answer, known(session)).await?;
    let names: Vec<&str> = change.set.keys().chain(&change.unset).map(String::as_str).collect();
    let done = if change.unset.is_empty() { "set" } else { "unset" };
    confirm(session.format, &view, pack_ref, format_args!("{done}: {}", names.join(", ")))?;
    tell_missing(session, pack_ref, &view);
    Ok(())
}

/// What is set, in an editor; what is taken out of the text is taken back.
async fn edit(session: &Session, pack_ref: &str) -> anyhow::Result<()> {
    let view = view(session, pack_ref).await?;
    let before: Map<String, Value> = view
        .settings
        .iter()
        .filter(|setting| setting.source == "set" && !setting.secret)
        .filter_map(|setting| Some((setting.name.clone(), setting.value.clone()?)))
        .collect();
    let mut text = format!(
        "# What is set of {pack_ref} on the server. Settings, with what holds where nothing is set:\n"
    );
    for setting in view.settings.iter().filter(|setting| !setting.secret) {
        let value = setting.value.as_ref().map_or_else(|| "no value".to_owned(), Value::to_string);
        let about = setting.description.as_deref().unwrap_or_default();
        text.push_str(&format!("#   {}: {value} ({})  {about}\n", setting.name, setting.source));
    }
    if !before.is_empty() {
        text.push_str(&yaml_text(&before)?);
    }
    let file = tempfile::Builder::new().prefix("attune-config-").suffix(".yaml").tempfile()?;
    std::fs::write(file.path(), &text)?;
    run_editor(file.path())?;
    let edited = std::fs::read_to_string(file.path())?;
    let after: Option<Map<String, Value>> =
        match edited.lines().all(|line| line.trim().is_empty() || line.starts_with('#')) {
            true => None,
            false => Some(
                serde_saphyr::from_str(&edited).context("what was edited is no YAML; nothing was changed")?,
            ),
        };
    let after = after.unwrap_or_default();
    let set: Map<String, Value> = after
        .iter()
        .filter(|(name, value)| before.get(*name) != Some(value))
        .map(|(n, v)| (n.clone(), v.clone()))
        .collect();
    let unset: Vec<String> = before.keys().filter(|name| !after.contains_key(*name)).cloned().collect();
    if set.is_empty() && unset.is_empty() {
        say("nothing was changed");
        return Ok(());
    }
    change(session, pack_ref, PackConfigChange { set, unset }).await
}

fn run_editor(path: &std::path::Path) -> anyhow::Result<()> {
    let named = |name: &str| std::env::var(name).ok().filter(|editor| !editor.trim().is_empty());
    let editor = named("VISUAL").or_else(|| named("EDITOR")).unwrap_or_else(|| "vi".to_owned());
    // The variables hold a command with its arguments, as git and others take them.
    let status =
        Command::new("/bin/sh").arg("-c").arg(format!("{editor} \"$1\"")).arg("editor").arg(path).status();
    match status.with_context(|| format!("cannot run the editor {editor}"))? {
        status if status.success() => Ok(()),
        _ => Err(Fault::new(format!("the editor {editor} did not end well; nothing was changed")).into()),
    }
}
