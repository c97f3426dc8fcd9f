//! `attune pack create`: a pack to start from, which is without findings.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use attune_pack::{PackFile, PackFiles};
use clap::Args;
use serde_json::json;

use crate::failure::Fault;
use crate::output::confirm;
use crate::session::Options;

/// What stands in the files for the name of the pack.
const PLACEHOLDER: &str = "NAME";

const FILES: &[(&str, &str)] = &[
    ("README.md", include_str!("template/README.md")),
    ("actions/hello.sh", include_str!("template/actions/hello.sh")),
    ("actions/hello.yaml", include_str!("template/actions/hello.yaml")),
    ("pack.yaml", include_str!("template/pack.yaml")),
    ("rules/greet_visitor.yaml", include_str!("template/rules/greet_visitor.yaml")),
    ("tests/greet_visitor.yaml", include_str!("template/tests/greet_visitor.yaml")),
    ("triggers/visitor.yaml", include_str!("template/triggers/visitor.yaml")),
];

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Ref of the new pack
    #[arg(value_name = "NAME")]
    name: String,
    /// Directory to make it in [default: NAME]
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

pub(crate) fn run(args: &CreateArgs, options: &Options) -> anyhow::Result<()> {
    options.refuse_server()?;
    let files = template(&args.name);
    if let Err(findings) = attune_pack::read(&files) {
        // The template is without findings, so it is the name.
        let why = findings.into_iter().find_map(|finding| finding.expected).unwrap_or_default();
        return Err(Fault::new(format!("`{}` cannot name a pack; expected {why}", args.name)).into());
    }
    let directory = args.directory.clone().unwrap_or_else(|| PathBuf::from(&args.name));
    write(&files, &directory)?;
    let shown = directory.display().to_string();
    confirm(
        options.format(),
        &json!({"ref": args.name, "directory": shown}),
        &args.name,
        format_args!("pack {} is in {shown}; `attune pack install {shown}` installs it", args.name),
    )
}

fn template(name: &str) -> PackFiles {
    let file = |text: &str| {
        // `ATTUNE_ACTION_NAME` is the name of a variable and not of the pack.
        let text = text
            .replace("ACTION_NAME", "ACTION_\u{0}")
            .replace("<NAME>", "<\u{0}>")
            .replace(PLACEHOLDER, name)
            .replace('\u{0}', PLACEHOLDER);
        PackFile { executable: text.starts_with("#!"), content: text.into_bytes() }
    };
    FILES.iter().map(|(path, text)| ((*path).to_owned(), file(text))).collect()
}

/// Writes files into a directory that is new or empty: nothing that is there is ever overwritten.
pub(super) fn write(files: &PackFiles, directory: &Path) -> anyhow::Result<()> {
    let context = || format!("cannot write the pack into {}", directory.display());
    std::fs::create_dir_all(directory).with_context(context)?;
    if std::fs::read_dir(directory).with_context(context)?.next().is_some() {
        return Err(Fault::new(format!("{} is not empty", directory.display()))
            .hint("name a directory that is new or empty")
            .into());
    }
    for (path, file) in files {
        let path = directory.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(context)?;
        }
        let mode = if file.executable { 0o777 } else { 0o666 };
        let mut options = std::fs::OpenOptions::new();
        let mut open = options.write(true).create_new(true).mode(mode).open(&path).with_context(context)?;
        open.write_all(&file.content).with_context(context)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::content;

    #[test]
    fn test_the_template_is_without_findings() {
        let core = attune_pack::read(&content::core()).unwrap();
        for name in ["ops", "my-pack", "NAME"] {
            let found = attune_pack::read_knowing(&template(name), std::slice::from_ref(&core));
            assert_eq!(found.is_ok(), name != "NAME", "{found:?}");
        }
        let files = template("ops");
        let script = String::from_utf8(files["actions/hello.sh"].content.clone()).unwrap();
        assert!(files["actions/hello.sh"].executable && script.contains("$ATTUNE_ACTION_NAME"), "{script}");
    }
}
