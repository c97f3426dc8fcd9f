//! `attune rule backtest`: what a rule would have made of recorded events, judged by the server next to its database.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use attune_client::types::{
    BacktestBar, BacktestComparison, BacktestDifference, BacktestExample, BacktestProgress, BacktestReport,
    BacktestRequest,
};
use chrono::{DateTime, SecondsFormat, Utc};
use clap::Args;

use super::rule_file;
use crate::exit::Exit;
use crate::input::{self, Moment};
use crate::output::{Details, duration, or_dash, say, show, table};
use crate::session::Options;
use crate::settings;

const AFTER_HELP: &str = "\
A draft is compared with the rule of the same ref that the server has, and --version with the present version: both are
judged over the same events. Nothing is executed and nothing is written.

Exit code: 0; 2 when the versions differ in when they fire or in the parameters that they give; 1 for every error.

Examples:
  attune rule backtest -f rules/page_disk.yaml --since 7d
  attune rule backtest ops.page_disk --since 2026-11-01 --until 2026-11-08
  attune rule backtest ops.page_disk --version 3 --since 7d -o json";

/// The longest bar of the histogram.
const BAR_WIDTH: u64 = 50;

/// Bars without anything that are shown in a row.
const EMPTY_BARS: usize = 3;

/// How much of a value fits a cell; the other formats have all of it.
const CELL_CHARACTERS: usize = 100;

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct BacktestArgs {
    /// Ref of a rule that the server has
    #[arg(value_name = "REF", required_unless_present = "file", conflicts_with = "file")]
    rule_ref: Option<String>,
    /// File of a draft, as in the directory `rules` of a pack; `-` for standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<String>,
    /// File with settings for the draft, in the place of those of its pack, in YAML or JSON
    #[arg(long, value_name = "FILE", requires = "file")]
    config: Option<PathBuf>,
    /// An old version of the rule
    #[arg(long, value_name = "N", conflicts_with = "file")]
    version: Option<i32>,
    /// Events from this time on: a span back from now as 2h or 7d, a moment as 2026-11-24T12:00:00Z, or a date
    #[arg(long, value_name = "TIME", value_parser = input::past)]
    since: Moment,
    /// Events before this time [default: now]
    #[arg(long, value_name = "TIME", value_parser = input::past)]
    until: Option<Moment>,
    /// How many events to show of each kind
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(..=100))]
    limit_examples: u16,
}

pub(crate) async fn run(args: BacktestArgs, options: &Options) -> anyhow::Result<Exit> {
    let file = args.file.as_deref().map(rule_file::read).transpose()?;
    let config = args.config.as_deref().map(settings::read).transpose()?;
    if let (Some(file), Some(path)) = (&file, &args.config)
        && !settings::are_used_by(&file.entry.definition)
    {
        return Err(settings::without_effect(path).into());
    }
    let rule = file.map(|file| file.request()).transpose()?;
    let session = options.session()?;
    let now = Utc::now();
    let request = BacktestRequest {
        rule,
        config,
        rule_ref: args.rule_ref,
        version: args.version,
        until: args.until.map(|until| until.before(now)),
        examples: Some(usize::from(args.limit_examples)),
        ..BacktestRequest::since(args.since.before(now))
    };
    let mut line = ProgressLine::new();
    let answer = session.client.backtest(&request, |progress| line.show(progress)).await;
    line.clear();
    let report = answer?;
    for note in &report.notes {
        say(format_args!("note: {note}"));
    }
    show(session.format, &report, &report.rule, || details(&report))?;
    Ok(if report.comparison.as_ref().is_some_and(differs) { Exit::Differs } else { Exit::Ok })
}

fn differs(comparison: &BacktestComparison) -> bool {
    comparison.changed.count + comparison.only_draft.count + comparison.only_live.count > 0
}

/// Progress for somebody who watches.
struct ProgressLine {
    is_watched: bool,
    is_shown: bool,
}

impl ProgressLine {
    fn new() -> Self {
        Self { is_watched: std::io::stderr().is_terminal(), is_shown: false }
    }

    fn show(&mut self, progress: BacktestProgress) {
        if self.is_watched {
            self.is_shown = true;
            let BacktestProgress { events, percent } = progress;
            // Where it cannot be seen, nothing is lost.
            drop(write!(std::io::stderr().lock(), "\r\x1b[K{percent:3.0} %  {} events", grouped(events)));
        }
    }

    fn clear(&self) {
        if self.is_shown {
            drop(write!(std::io::stderr().lock(), "\r\x1b[K"));
        }
    }
}

fn details(report: &BacktestReport) -> Details {
    let counts = &report.counts;
    let heard = report.events - counts.unheard;
    let share = |count: u64| {
        let percent = if heard == 0 { 0.0 } else { count as f64 * 100.0 / heard as f64 };
        format!("{} ({percent:.1} %)", grouped(count))
    };
    let judged = match report.version {
        Some(version) => format!("{} version {version}", report.rule),
        None => format!("{} as in the file", report.rule),
    };
    let took = duration(chrono::TimeDelta::milliseconds((report.seconds * 1000.0) as i64));
    let details = Details::new()
        .field("rule", judged)
        .field("events", format_args!("{} of {}, judged in {took}", grouped(report.events), report.trigger))
        .field("from", time(report.since))
        .field("until", time(report.until))
        .field("fires", share(counts.fired))
        .field("false", share(counts.r#false))
        .field("missing", share(counts.missing))
        .field("fails", share(counts.failed));
    let details = match counts.held {
        0 => details,
        held => details.field("held", format_args!("{} by the window", share(held))),
    };
    let details = match counts.unheard {
        0 => details,
        unheard => {
            details.field("other config", format_args!("{} that it does not listen to", grouped(unheard)))
        }
    };
    let details = match &report.comparison {
        Some(comparison) => details
            .block(&format!("compared with version {}", comparison.version), &comparison_table(comparison)),
        None => details,
    };
    let details = details.block("when", &histogram(report)).block("conditions", &conditions(report));
    details
        .block("fires on", &examples(&report.fired_examples, "PARAMETERS"))
        .block("fails on", &examples(&report.failed_examples, "WHY"))
}

fn comparison_table(comparison: &BacktestComparison) -> String {
    let row = |what: &str, difference: &BacktestDifference| {
        let events: Vec<_> = difference.events.iter().map(i64::to_string).collect();
        let more = if difference.count > difference.events.len() as u64 { ", ..." } else { "" };
        let events = if events.is_empty() { "-".to_owned() } else { events.join(", ") + more };
        vec![what.to_owned(), grouped(difference.count), events]
    };
    let rows = [
        row("both fire", &comparison.both),
        row("with other parameters", &comparison.changed),
        row("only this one fires", &comparison.only_draft),
        row(&format!("only version {} fires", comparison.version), &comparison.only_live),
    ];
    table(&["", "COUNT", "EVENTS"], rows)
}

fn conditions(report: &BacktestReport) -> String {
    let rows = report.conditions.iter().map(|condition| {
        let mut row = vec![condition.pointer.clone(), condition.field.clone(), condition.operator.clone()];
        row.extend([condition.r#true, condition.r#false, condition.missing, condition.error].map(grouped));
        row
    });
    let header = ["CONDITION", "FIELD", "OPERATOR", "TRUE", "FALSE", "MISSING", "ERROR"];
    if report.conditions.is_empty() { String::new() } else { table(&header, rows) }
}

fn examples(examples: &[BacktestExample], outcome: &str) -> String {
    let rows = examples.iter().map(|example| {
        let parameters = example.parameters.as_ref().map(|parameters| cut(&parameters.to_string()));
        let told = example.error.clone().or(parameters);
        vec![example.event.to_string(), time(example.at), or_dash(told)]
    });
    if examples.is_empty() { String::new() } else { table(&["EVENT", "TIME", outcome], rows) }
}

/// A line for each span of time, from the first in which something happened to the last.
fn histogram(report: &BacktestReport) -> String {
    let (Some(first), Some(last)) = (report.bars.first(), report.bars.last()) else { return String::new() };
    let most = report.bars.iter().map(|bar| bar.fired).max().unwrap_or(0).max(1);
    let mut lines = String::new();
    let mut bars = report.bars.iter().peekable();
    let mut empty = Vec::new();
    let (mut begins, step) = (first.begins.timestamp(), report.bar_seconds.max(1));
    while begins <= last.begins.timestamp() {
        let found = bars.next_if(|bar| bar.begins.timestamp() <= begins);
        let at = DateTime::from_timestamp(begins, 0).unwrap_or_default();
        match found {
            Some(bar) => {
                if empty.len() > EMPTY_BARS {
                    lines.push_str("...\n");
                } else {
                    empty.iter().for_each(|at| lines.push_str(&format!("{}\n", short_time(*at))));
                }
                empty.clear();
                lines.push_str(&bar_line(bar, at, most));
            }
            None => empty.push(at),
        }
        begins += step;
    }
    lines
}

fn bar_line(bar: &BacktestBar, at: DateTime<Utc>, most: u64) -> String {
    let width = usize::try_from((bar.fired * BAR_WIDTH).div_ceil(most)).unwrap_or_default();
    let mut told = format!("{}  {} {}", short_time(at), "#".repeat(width), grouped(bar.fired));
    if bar.failed > 0 {
        told.push_str(&format!(", {} fail", grouped(bar.failed)));
    }
    match bar.live {
        Some(live) if live != bar.fired => told.push_str(&format!(" (in force: {})", grouped(live))),
        _ => {}
    }
    told + "\n"
}

fn short_time(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S").to_string()
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(CELL_CHARACTERS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use attune_client::types::BacktestCounts;

    use super::*;

    fn report(bars: &[(i64, u64, u64)]) -> BacktestReport {
        let bar = |(begins, fired, failed): &(i64, u64, u64)| BacktestBar {
            begins: DateTime::from_timestamp(*begins, 0).unwrap(),
            fired: *fired,
            failed: *failed,
            live: Some(1),
        };
        BacktestReport {
            rule: "ops.page".to_owned(),
            trigger: "ops.alert".to_owned(),
            version: None,
            since: DateTime::UNIX_EPOCH,
            until: DateTime::UNIX_EPOCH,
            events: 0,
            seconds: 0.5,
            counts: BacktestCounts::default(),
            conditions: Vec::new(),
            bar_seconds: 60,
            bars: bars.iter().map(bar).collect(),
            fired_examples: Vec::new(),
            failed_examples: Vec::new(),
            comparison: None,
            notes: Vec::new(),
        }
    }

    #[test]
    fn test_histograms_leave_out_long_silence() {
        let lines = histogram(&report(&[(0, 1, 0), (120, 50, 2), (6_000, 2_000, 0)]));
        let expected = [
            "1970-01-01 00:00:00  # 1",
            "1970-01-01 00:01:00",
            "1970-01-01 00:02:00  ## 50, 2 fail (in force: 1)",
            "...",
            &format!("1970-01-01 01:40:00  {} 2,000 (in force: 1)", "#".repeat(50)),
        ];
        assert_eq!(lines.lines().collect::<Vec<_>>(), expected);
        assert_eq!(histogram(&report(&[])), "");
    }

    #[test]
    fn test_thousands_stand_apart() {
        let check = |number: u64, expect: &str| assert_eq!(grouped(number), expect);
        check(0, "0");
        check(999, "999");
        check(1_000, "1,000");
        check(12_345_678, "12,345,678");
    }
}
