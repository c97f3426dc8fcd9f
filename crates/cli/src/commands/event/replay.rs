//! `attune event replay`: recorded events once more.
//!
//! Every batch is recorded by the server in one step, under the name of this run: a batch whose answer was lost is sent
//! again, and a run that was broken off is begun again, without an event being recorded twice.

use attune_client::types::{EventView, ReplayItem, ReplayRequest, ReplayView};
use chrono::{DateTime, SecondsFormat, Utc};
use clap::Args;
use serde::Serialize;
use serde_json::Value;

use crate::exit::Exit;
use crate::failure::Fault;
use crate::input::{self, Moment};
use crate::jq::Program;
use crate::output::{Details, Format, json_text, say, show, table, write};
use crate::session::{Options, Session};

const AFTER_HELP: &str = "\
The events are recorded again in their order, as new events of the same trigger with the same config and headers; rules
judge them as any others, and `attune event show` says of which event each is a replay. Replays themselves are left out.

Examples:
  attune event replay 17
  attune event replay --trigger ops.alert --since 2h --dry-run
  attune event replay --trigger ops.alert --since 2026-11-24T08:00:00Z --until 2026-11-24T09:00:00Z
  attune event replay --trigger ops.alert --since 1d --edit 'select(.severity == \"critical\") | .note = \"again\"'";

/// Events that are shown by a dry run.
const SHOWN: usize = 3;

/// What one request carries of changed payloads at most, in bytes; one that is larger goes alone.
const EDITED_BYTES: usize = 1 << 20;

/// How much of a payload fits a cell.
const CELL_CHARACTERS: usize = 100;

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct ReplayArgs {
    /// Ids of single events
    #[arg(value_name = "ID", required_unless_present = "trigger", conflicts_with_all = ["trigger", "since", "until", "limit"])]
    ids: Vec<i64>,
    /// Events of this trigger
    #[arg(long, value_name = "REF", requires = "since")]
    trigger: Option<String>,
    /// From this time on: a span back from now as 2h or 7d, a moment as 2026-11-24T12:00:00Z, or a date
    #[arg(long, value_name = "TIME", value_parser = input::past, requires = "trigger")]
    since: Option<Moment>,
    /// Before this time [default: now]
    #[arg(long, value_name = "TIME", value_parser = input::past, requires = "trigger")]
    until: Option<Moment>,
    /// How many at most, the oldest first
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), requires = "trigger")]
    limit: Option<u64>,
    /// A jq program that changes the payloads; an event for which it gives nothing is left out
    #[arg(long, value_name = "JQ")]
    edit: Option<String>,
    /// Say how many events it would be, and show a few
    #[arg(long)]
    dry_run: bool,
    /// Go on with the run of this name, which was broken off [default: a new name]
    #[arg(long, value_name = "NAME")]
    run: Option<String>,
}

/// What a replay did.
#[derive(Debug, Serialize)]
struct Outcome {
    run: String,
    /// New events.
    replayed: u64,
    /// Events that this run had recorded before.
    duplicates: u64,
    /// Events for which the program gave nothing.
    left_out: u64,
    #[serde(skip)]
    ids: Vec<i64>,
}

/// What a replay would do.
#[derive(Debug, Serialize)]
struct Preview {
    count: i64,
    examples: Vec<EventView>,
}

pub(crate) async fn run(args: ReplayArgs, options: &Options) -> anyhow::Result<Exit> {
    let program = args.edit.as_deref().map(|source| Program::compile("--edit", source)).transpose()?;
    let session = options.session()?;
    let now = Utc::now();
    let run = args
        .run
        .clone()
        .unwrap_or_else(|| format!("{}-{:x}", now.format("%Y%m%dT%H%M%S"), std::process::id()));
    let span = args.since.map(|since| (since.before(now), args.until.map_or(now, |until| until.before(now))));
    let request = ReplayRequest {
        run,
        trigger: args.trigger.clone(),
        since: span.map(|(since, _)| since),
        until: span.map(|(_, until)| until),
        ..ReplayRequest::default()
    };
    let mut replay = Replay { session: &session, program, request, ids: args.ids, left: args.limit };
    if args.dry_run {
        let preview = replay.preview().await?;
        return written(&session, &preview);
    }
    if let Some((since, until)) = span
        && args.run.is_none()
    {
        say(format_args!("run {}; if it is broken off, go on with", replay.request.run));
        say(format_args!("  {}", again(&replay.request, since, until, args.edit.as_deref(), args.limit)));
    }
    let outcome = replay.carry_out().await?;
    told(session.format, &outcome)?;
    Ok(Exit::Ok)
}

struct Replay<'s> {
    session: &'s Session,
    program: Option<Program>,
    request: ReplayRequest,
    ids: Vec<i64>,
    /// How many events may still be taken.
    left: Option<u64>,
}

impl Replay<'_> {
    /// What would be replayed, without recording anything.
    async fn preview(&mut self) -> anyhow::Result<Preview> {
        let batch = self.look(SHOWN as u64).await?;
        let count = batch.count.unwrap_or_default();
        let count = self.left.map_or(count, |left| count.min(i64::try_from(left).unwrap_or(i64::MAX)));
        let mut examples = Vec::new();
        for event in batch.would_replay.unwrap_or_default().into_iter().take(SHOWN) {
            if let Some(payload) = self.edited(&event)? {
                examples.push(EventView { payload, ..event });
            }
        }
        Ok(Preview { count, examples })
    }

    async fn carry_out(&mut self) -> anyhow::Result<Outcome> {
        let mut outcome = Outcome {
            run: self.request.run.clone(),
            replayed: 0,
            duplicates: 0,
            left_out: 0,
            ids: Vec::new(),
        };
        loop {
            let next = if self.program.is_some() || !self.ids.is_empty() {
                self.edit_batch(&mut outcome).await?
            } else {
                let limit = self.limit(500);
                let request = ReplayRequest { limit: Some(limit), ..self.request.clone() };
                let batch = self.session.client.replay_events(&request).await?;
                self.take(batch.replayed.len());
                outcome.add(&batch);
                batch.next_cursor
            };
            if next.is_none() || self.left == Some(0) {
                return Ok(outcome);
            }
            self.request.cursor = next;
        }
    }

    /// Looks at the next batch, changes it and has it recorded; gives the cursor of the one after it.
    async fn edit_batch(&mut self, outcome: &mut Outcome) -> anyhow::Result<Option<String>> {
        let batch = self.look(200).await?;
        let events = batch.would_replay.unwrap_or_default();
        self.take(events.len());
        let (mut items, mut bytes) = (Vec::new(), 0);
        for event in events {
            let Some(payload) = self.edited(&event)? else {
                outcome.left_out += 1;
                continue;
            };
            let payload = Some(payload).filter(|payload| *payload != event.payload);
            let size = payload.as_ref().map_or(0, |payload| payload.to_string().len());
            if !items.is_empty() && bytes + size > EDITED_BYTES {
                self.record(std::mem::take(&mut items), outcome).await?;
                bytes = 0;
            }
            bytes += size;
            items.push(ReplayItem { event: event.id, payload });
        }
        if !items.is_empty() {
            self.record(items, outcome).await?;
        }
        Ok(batch.next_cursor)
    }

    /// The events of the next batch as they are.
    async fn look(&mut self, most: u64) -> anyhow::Result<ReplayView> {
        let request = if self.ids.is_empty() {
            ReplayRequest { limit: Some(self.limit(most)), dry_run: true, ..self.request.clone() }
        } else {
            let items =
                std::mem::take(&mut self.ids).into_iter().map(|event| ReplayItem { event, payload: None });
            let run = self.request.run.clone();
            ReplayRequest { run, events: Some(items.collect()), dry_run: true, ..ReplayRequest::default() }
        };
        Ok(self.session.client.replay_events(&request).await?)
    }

    async fn record(&self, items: Vec<ReplayItem>, outcome: &mut Outcome) -> anyhow::Result<()> {
        let run = self.request.run.clone();
        let request = ReplayRequest { run, events: Some(items), ..ReplayRequest::default() };
        outcome.add(&self.session.client.replay_events(&request).await?);
        Ok(())
    }

    /// The payload as the program makes it; `None` for an event to leave out.
    fn edited(&self, event: &EventView) -> Result<Option<Value>, Fault> {
        let Some(program) = &self.program else { return Ok(Some(event.payload.clone())) };
        program.run(&event.payload).map_err(|error| {
            Fault::new(format!("--edit fails on the payload of event {}: {error}", event.id))
        })
    }

    fn limit(&self, most: u64) -> i64 {
        i64::try_from(self.left.map_or(most, |left| left.min(most))).unwrap_or(i64::MAX)
    }

    fn take(&mut self, count: usize) {
        self.left = self.left.map(|left| left.saturating_sub(count as u64));
    }
}

impl Outcome {
    fn add(&mut self, batch: &ReplayView) {
        for replayed in &batch.replayed {
            if replayed.duplicate {
                self.duplicates += 1;
            } else {
                self.replayed += 1;
            }
            self.ids.push(replayed.event);
        }
    }
}

/// The command that goes on with this run: its span of time does not move with the clock.
fn again(
    request: &ReplayRequest,
    since: DateTime<Utc>,
    until: DateTime<Utc>,
    edit: Option<&str>,
    limit: Option<u64>,
) -> String {
    let time = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::AutoSi, true);
    let trigger = request.trigger.as_deref().unwrap_or_default();
    let mut command = format!(
        "attune event replay --trigger {trigger} --since {} --until {} --run {}",
        time(since),
        time(until),
        request.run
    );
    if let Some(limit) = limit {
        command.push_str(&format!(" --limit {limit}"));
    }
    if let Some(edit) = edit {
        command.push_str(&format!(" --edit '{}'", edit.replace('\'', "'\\''")));
    }
    command
}

fn told(format: Format, outcome: &Outcome) -> anyhow::Result<()> {
    match format {
        Format::Name => Ok(write(&outcome.ids.iter().map(|id| format!("{id}\n")).collect::<String>())?),
        Format::Json => Ok(write(&json_text(outcome)?)?),
        Format::Yaml => Ok(write(&crate::output::yaml_text(outcome)?)?),
        Format::Table => {
            let Outcome { replayed, duplicates, left_out, ids, .. } = outcome;
            let events = if *replayed == 1 { "event" } else { "events" };
            let mut sentence = format!("{replayed} {events} replayed");
            if let ([id], 1) = (ids.as_slice(), *replayed) {
                sentence.push_str(&format!(" as event {id}"));
            }
            if *duplicates > 0 {
                sentence.push_str(&format!(", {duplicates} had been before"));
            }
            if *left_out > 0 {
                sentence.push_str(&format!(", {left_out} left out by --edit"));
            }
            say(sentence);
            Ok(())
        }
    }
}

fn written(session: &Session, preview: &Preview) -> anyhow::Result<Exit> {
    show(session.format, preview, &preview.count.to_string(), || {
        let rows = preview.examples.iter().map(|event| {
            let payload = event.payload.to_string();
            let cut = payload.char_indices().nth(CELL_CHARACTERS).map_or(payload.len(), |(end, _)| end);
            let more = if cut < payload.len() { "..." } else { "" };
            let time = event.created.to_rfc3339_opts(SecondsFormat::Secs, true);
            vec![event.id.to_string(), time, format!("{}{more}", &payload[..cut])]
        });
        Details::new()
            .field("events to replay", preview.count)
            .block("the first of them", &table(&["EVENT", "CREATED", "PAYLOAD"], rows))
    })?;
    Ok(Exit::Ok)
}
