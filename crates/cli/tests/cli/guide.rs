//! `docs/rules.md` does what it says: its files are written, its commands run, and what they print is what it shows. Its
//! table of operators is made from the code. With [`WRITE_VARIABLE`] the page is written instead of compared.

use std::path::Path;
use std::process::{Command, Stdio};

use attune_expr::operator::Operator;

use crate::support::User;

/// Set by `scripts/write-docs`.
const WRITE_VARIABLE: &str = "ATTUNE_WRITE_DOCS";

const TABLE_BEGINS: &str = "<!-- operators: made from the code -->\n";
const TABLE_ENDS: &str = "<!-- end of operators -->\n";

/// The page with its outputs and its table made anew.
fn made_anew(page: &str) -> String {
    let user = User::new();
    let mut made = String::new();
    let mut lines = with_table(page);
    while let Some((line, rest)) =
        lines.split_once('\n').map(|(line, rest)| (line.to_owned(), rest.to_owned()))
    {
        made.push_str(&line);
        made.push('\n');
        lines = rest;
        let Some(info) = line.strip_prefix("```").filter(|info| !info.is_empty()) else { continue };
        let end = lines.find("\n```\n").unwrap() + 1;
        let block = lines[..end].to_owned();
        lines = lines[end + 4..].to_owned();
        match info.split_once(' ') {
            // What needs a server is run by the tests of the whole system.
            Some(("console", "server")) => {}
            Some((_, file)) => {
                let file = user.home().join(file);
                std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                std::fs::write(file, &block).unwrap();
            }
            None => assert!(matches!(info, "console" | "sh"), "a block of {info} without a file"),
        }
        let shown = if info == "console" { with_outputs(&user, &block) } else { block };
        made.push_str(&shown);
        made.push_str("```\n");
    }
    made + &lines
}

/// The commands of a block, each with what it prints.
fn with_outputs(user: &User, block: &str) -> String {
    let mut shown = String::new();
    for line in block.lines().filter(|line| line.starts_with("$ ")) {
        let binary = Path::new(env!("CARGO_BIN_EXE_attune")).parent().unwrap();
        let output = Command::new("sh")
            .args(["-c", &format!("{{ {}; }} 2>&1", &line[2..])])
            .current_dir(user.home())
            .env_clear()
            .env("HOME", user.home())
            .env("PATH", format!("{}:/usr/bin:/bin", binary.display()))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        shown.push_str(line);
        shown.push('\n');
        shown.push_str(&String::from_utf8(output.stdout).unwrap());
    }
    shown
}

fn with_table(page: &str) -> String {
    let (before, rest) = page.split_once(TABLE_BEGINS).unwrap();
    let (_, after) = rest.split_once(TABLE_ENDS).unwrap();
    let mut table = String::from("| operator | also written | true when the field is |\n|---|---|---|\n");
    for operator in Operator::all() {
        let code = |text: &str| format!("`{}`", text.replace('|', "\\|"));
        let aliases: Vec<_> = operator.aliases().iter().map(|alias| code(alias)).collect();
        table.push_str(&format!(
            "| {} | {} | {} |\n",
            code(operator.name()),
            aliases.join(" "),
            operator.meaning()
        ));
    }
    format!("{before}{TABLE_BEGINS}{table}{TABLE_ENDS}{after}")
}

#[test]
fn test_the_guide_to_rules_does_what_it_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/rules.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let made = made_anew(&page);
    if std::env::var_os(WRITE_VARIABLE).is_some() {
        std::fs::write(&path, &made).unwrap();
        return;
    }
    let differs = page.lines().zip(made.lines()).find(|(page, made)| page != made);
    assert!(
        page == made,
        "docs/rules.md is not what the commands say; run ./scripts/write-docs: {differs:#?}"
    );
}
