//! `attune pack lint`: everything that is wrong with a pack, without a server. The core pack is part of this binary, so what
//! refers to it is checked too, as is what refers to packs that are given beside it.

use std::path::{Path, PathBuf};

use attune_pack::{FileKind, Finding, PackDefinition, PackFiles, read, read_knowing};
use clap::Args;
use serde_json::{Value, json};

use super::text_of;
use crate::diagnostics::{Diagnostic, render};
use crate::failure::Fault;
use crate::output::{Columns, Format, json_text, list, say, write};
use crate::pack_source::from_path;
use crate::server::content;
use crate::session::Options;

#[derive(Debug, Args)]
pub(crate) struct LintArgs {
    /// Directory or archive of the pack
    #[arg(value_name = "DIR")]
    path: PathBuf,
    /// Directory or archive of another pack that this one uses; may be given more than once
    #[arg(long = "with", value_name = "DIR")]
    with: Vec<PathBuf>,
}

pub(crate) fn run(args: &LintArgs, options: &Options) -> anyhow::Result<()> {
    // That the core pack can be read is tested when this is built.
    let mut known: Vec<_> = read(&content::core()).into_iter().collect();
    for path in &args.with {
        known.push(other(path)?);
    }
    check(&args.path, &known, options)
}

/// Another pack, whose own findings are no affair of this one.
fn other(path: &Path) -> anyhow::Result<PackDefinition> {
    read(&from_path(path)?.files).map_err(|findings| {
        let place = path.display();
        let count = findings.len();
        let noun = if count == 1 { "finding" } else { "findings" };
        Fault::new(format!("the pack in {place} has {count} {noun} itself"))
            .hint(format!("attune pack lint {place} shows them"))
            .into()
    })
}

/// Tells what is wrong with the pack; `known` are those that it may refer to.
pub(super) fn check(path: &Path, known: &[PackDefinition], options: &Options) -> anyhow::Result<()> {
    options.refuse_server()?;
    let files = from_path(path)?.files;
    let (findings, pack) = match read_knowing(&files, known) {
        Ok(pack) => (Vec::new(), format!("{} {}", pack.manifest.r#ref, pack.manifest.version)),
        Err(findings) => (findings, String::new()),
    };
    if options.wants_sarif() {
        write(&json_text(&sarif(path, &findings))?)?;
    } else {
        tell(path, &files, &findings, options.format())?;
    }
    match findings.len() {
        0 => {
            say(format_args!("pack {pack} has no findings"));
            Ok(())
        }
        1 => Err(Fault::new(format!("1 finding in {}", path.display())).into()),
        count => Err(Fault::new(format!("{count} findings in {}", path.display())).into()),
    }
}

fn tell(path: &Path, files: &PackFiles, findings: &[Finding], format: Format) -> anyhow::Result<()> {
    let place = |finding: &Finding| {
        format!("{}:{}:{}", path.join(&finding.file).display(), finding.line, finding.column)
    };
    match format {
        Format::Table => {
            for finding in findings {
                let diagnostic = Diagnostic::of(finding, path.join(&finding.file).display().to_string());
                write(&(render(&diagnostic, text_of(files, &finding.file)) + "\n"))?;
            }
            Ok(())
        }
        Format::Json | Format::Yaml | Format::Name => {
            let columns = Columns { noun: "findings", header: &[], row: &|_| Vec::new(), name: &place };
            list(format, findings, &columns)
        }
    }
}

/// The findings as a SARIF 2.1.0 log, which code hosts show beside the lines. A rule of it is a kind of file.
fn sarif(path: &Path, findings: &[Finding]) -> Value {
    let rules: Vec<Value> = FileKind::ALL
        .iter()
        .map(|kind| {
            json!({
                "id": rule_id(*kind),
                "shortDescription": {"text": format!("What {} may say", kind.place())},
                "defaultConfiguration": {"level": "error"},
            })
        })
        .collect();
    let current = std::env::current_dir().unwrap_or_default();
    let result = |finding: &Finding| {
        let kind = kind_of(&finding.file);
        json!({
            "ruleId": rule_id(kind),
            "ruleIndex": FileKind::ALL.iter().position(|known| *known == kind),
            "level": "error",
            "message": {"text": text_for(finding)},
            "locations": [{"physicalLocation": {
                "artifactLocation": {"uri": uri(&shown(path, &current).join(&finding.file))},
                "region": region(finding),
            }}],
            "properties": {"pointer": finding.pointer},
        })
    };
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {"name": "attune pack lint", "semanticVersion": env!("CARGO_PKG_VERSION"), "rules": rules}},
            "columnKind": "unicodeCodePoints",
            "results": findings.iter().map(result).collect::<Vec<_>>(),
        }],
    })
}

fn region(finding: &Finding) -> Value {
    let mut region = json!({"startLine": finding.line, "startColumn": finding.column});
    if let Some(end) = finding.end {
        region["endLine"] = end.line.into();
        region["endColumn"] = end.column.into();
    }
    region
}

fn rule_id(kind: FileKind) -> String {
    format!("attune/{}", kind.as_str())
}

/// The kind of file that a finding is in.
fn kind_of(file: &str) -> FileKind {
    let directory = file.split_once('/').map(|(directory, _)| directory);
    let found = FileKind::ALL.iter().copied().find(|kind| kind.directory() == directory);
    found.unwrap_or(FileKind::Pack)
}

fn text_for(finding: &Finding) -> String {
    let mut text = finding.message.clone();
    if let Some(suggestion) = &finding.suggestion {
        text.push_str(&format!("; did you mean `{suggestion}`?"));
    } else if let Some(expected) = &finding.expected {
        text.push_str(&format!("; expected {expected}"));
    }
    text
}

/// The pack as it is named from the current directory, where code hosts take files to be; the pack's own paths for one that lies
/// elsewhere.
fn shown<'p>(path: &'p Path, current: &Path) -> &'p Path {
    match path.strip_prefix(current) {
        Ok(below) => below,
        Err(_) if path.is_absolute() => Path::new(""),
        Err(_) => path,
    }
}

/// A path as a relative URI reference: a log that is shown elsewhere knows no directory of this machine.
fn uri(path: &Path) -> String {
    let text = path.to_string_lossy();
    let text = text.strip_prefix("./").unwrap_or(&text);
    let mut uri = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                uri.push(char::from(byte));
            }
            other => uri.push_str(&format!("%{other:02X}")),
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use attune_pack::End;

    use super::*;

    #[test]
    fn test_a_log_points_to_rules_and_places() {
        let finding = Finding {
            file: "rules/page disk.yaml".to_owned(),
            line: 3,
            column: 7,
            end: Some(End { line: 3, column: 16 }),
            pointer: "/action".to_owned(),
            message: "there is no such action".to_owned(),
            expected: None,
            suggestion: Some("ops.page".to_owned()),
        };
        let log = sarif(Path::new("./ops"), &[finding]);
        let run = &log["runs"][0];
        let result = &run["results"][0];
        assert_eq!(log["version"], "2.1.0");
        assert_eq!(result["message"]["text"], "there is no such action; did you mean `ops.page`?");
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "ops/rules/page%20disk.yaml");
        assert_eq!(place["region"], json!({"startLine": 3, "startColumn": 7, "endLine": 3, "endColumn": 16}));
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(run["tool"]["driver"]["rules"][index]["id"], result["ruleId"]);
        assert_eq!(result["ruleId"], "attune/rule");
    }

    #[test]
    fn test_a_log_knows_no_directory_of_this_machine() {
        let shown = |path: &'static str| {
            uri(&super::shown(Path::new(path), Path::new("/home/me/packs")).join("rules/a.yaml"))
        };
        assert_eq!(shown("/home/me/packs/ops"), "ops/rules/a.yaml");
        assert_eq!(shown("/home/me/packs"), "rules/a.yaml");
        assert_eq!(shown("/srv/ops"), "rules/a.yaml");
        assert_eq!(shown("../ops"), "../ops/rules/a.yaml");
    }
}
