//! Staying with an execution or an inquiry until it ends: waiting at the server, or following what an execution writes.
//!
//! A server that restarts meanwhile is no reason to give up: the execution goes on, so the command looks for it again
//! for a while.

use std::io;
use std::time::Duration;

use anyhow::Context;
use attune_client::types::{
    ExecutionDetail, ExecutionView, InquiryView, OutputPiece, ProgressView, WorkerView,
};
use attune_client::{Client, ClientError, FollowOptions, OutputEvent};
use futures::StreamExt;
use tokio::time::{Instant, sleep, timeout_at};

use crate::exit::Exit;
use crate::failure::Fault;
use crate::output::{printable, say};

/// How long one request waits at the server; shorter than the patience of common proxies.
const ONE_WAIT: u32 = 30;
/// How much longer than that its answer may take before the connection counts as dead.
const GRACE: Duration = Duration::from_secs(15);
/// How often in a row the server may be out of reach, and the pause between.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_secs(1);

/// Waits for the execution to end. Past the deadline the wait fails with exit code 6; the execution goes on.
pub(crate) async fn wait(
    client: &Client,
    id: i64,
    deadline: Option<Instant>,
) -> anyhow::Result<ExecutionDetail> {
    let ask = async |seconds| client.wait_for_execution(id, seconds).await;
    until(deadline, id, over(false, ask, |detail| detail.execution.is_finished())).await
}

/// Waits for an inquiry, which the server knows, to end.
pub(crate) async fn wait_for_inquiry(client: &Client, id: i64) -> anyhow::Result<InquiryView> {
    let ask = async |seconds| client.wait_for_inquiry(id, seconds).await;
    over(true, ask, |inquiry| !inquiry.is_pending()).await
}

/// Waits until a worker, which the server knows, runs nothing. Past the deadline the wait fails with exit code 6.
pub(crate) async fn wait_for_worker(
    client: &Client,
    name: &str,
    deadline: Option<Instant>,
) -> anyhow::Result<WorkerView> {
    let ask = async |_at_once| {
        let workers = client.workers().await?.items;
        Ok(workers.into_iter().find(|worker| worker.name == name))
    };
    let is_over = |worker: &Option<WorkerView>| worker.as_ref().is_none_or(|worker| worker.running == 0);
    let drained = over(true, ask, is_over);
    let worker = match deadline {
        None => drained.await?,
        Some(deadline) => timeout_at(deadline, drained).await.unwrap_or_else(|_| {
            Err(Fault::new(format!("worker {name} still runs something; it stays cordoned"))
                .hint(format!(
                    "`attune worker drain {name} --wait` waits on, `attune worker uncordon {name}` gives it work again"
                ))
                .exit(Exit::TimedOut)
                .into())
        })?,
    };
    worker
        .ok_or_else(|| Fault::new(format!("worker {name} was removed meanwhile")).exit(Exit::NotFound).into())
}

/// Asks for something, which each time waits at the server for so many seconds, until it is over. `reached` says whether the
/// server was reached before: at the first time a failure is an ordinary mistake, such as a wrong address.
async fn over<T>(
    mut reached: bool,
    ask: impl AsyncFn(u32) -> Result<T, ClientError>,
    is_over: impl Fn(&T) -> bool,
) -> anyhow::Result<T> {
    let mut failures = 0;
    loop {
        let asked = Instant::now();
        let answer = timeout_at(asked + Duration::from_secs(ONE_WAIT.into()) + GRACE, ask(ONE_WAIT)).await;
        match answer {
            Ok(Ok(found)) if is_over(&found) => return Ok(found),
            Ok(Ok(_)) => {
                reached = true;
                failures = 0;
            }
            Ok(Err(error)) if !reached => return Err(error.into()),
            Ok(Err(error)) => pardon(error, &mut failures)?,
            // A connection that died without a word; the next request finds out.
            Err(_) => {}
        }
        // Also keeps a server that does not wait from being asked without pause.
        if asked.elapsed() < PAUSE {
            sleep(PAUSE).await;
        }
    }
}

/// What is followed, and how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Followed {
    pub(crate) id: i64,
    /// Only this attempt.
    pub(crate) attempt: Option<i32>,
    pub(crate) deadline: Option<Instant>,
}

/// Hands over every piece of output, each once and in order, until the execution ends; gives it back as it is then.
pub(crate) async fn follow(
    client: &Client,
    Followed { id, attempt, deadline }: Followed,
    mut piece: impl FnMut(&OutputPiece) -> io::Result<()>,
) -> anyhow::Result<ExecutionDetail> {
    until(deadline, id, async {
        let mut last: Option<(i32, i32)> = None;
        let mut told = None;
        let mut failures = 0;
        loop {
            let options = FollowOptions { attempt, after: last };
            match client.follow_output_after(id, options).await {
                Ok(stream) => {
                    let mut stream = std::pin::pin!(stream);
                    while let Some(event) = stream.next().await {
                        match event {
                            Ok(OutputEvent::Piece(output)) => {
                                failures = 0;
                                // After a lost connection it goes on behind what was seen.
                                let place = Some((output.attempt, output.seq));
                                if place > last {
                                    last = place;
                                    piece(&output).context("cannot print the output")?;
                                }
                            }
                            Ok(OutputEvent::Progress(progress)) => {
                                failures = 0;
                                let text = format!("progress: {}", progress_text(&progress));
                                if told.as_ref() != Some(&text) {
                                    say(&text);
                                    told = Some(text);
                                }
                            }
                            Ok(OutputEvent::End { .. }) => return Ok(client.execution(id).await?),
                            Err(error) => pardon(error, &mut failures)?,
                        }
                    }
                }
                Err(error) if failures == 0 && last.is_none() => return Err(error.into()),
                Err(error) => pardon(error, &mut failures)?,
            }
            failures += 1;
            if failures > ATTEMPTS {
                return Err(Fault::new(format!(
                    "the server ends the output of execution {id} before its end"
                ))
                .hint(format!("`attune execution show {id}` tells how it stands"))
                .into());
            }
            sleep(PAUSE).await;
        }
    })
    .await
}

/// Counts a loss of the server; everything else, and too many losses, are errors.
fn pardon(error: ClientError, failures: &mut u32) -> Result<(), ClientError> {
    let is_loss = match &error {
        ClientError::Unreachable { .. } | ClientError::Ended { .. } | ClientError::Malformed { .. } => true,
        // What a proxy or a server says while it restarts.
        ClientError::Problem(_) | ClientError::Unexpected { .. } => matches!(error.status(), Some(502..=504)),
        ClientError::InvalidUrl { .. } => false,
    };
    *failures += 1;
    if is_loss && *failures <= ATTEMPTS { Ok(()) } else { Err(error) }
}

async fn until<T>(
    deadline: Option<Instant>,
    id: i64,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    match deadline {
        None => work.await,
        Some(deadline) => timeout_at(deadline, work).await.unwrap_or_else(|_| {
            Err(Fault::new(format!("execution {id} has not ended in time; it goes on"))
                .hint(format!(
                    "`attune execution wait {id}` waits on, `attune execution cancel {id}` ends it"
                ))
                .exit(Exit::TimedOut)
                .into())
        }),
    }
}

/// How far a run says that it has come, in one line.
pub(crate) fn progress_text(progress: &ProgressView) -> String {
    let percent = progress.percent.map(|percent| format!("{percent:.0} %"));
    let running = progress.steps.iter().find(|step| step.status == "running").map(|step| step.name.clone());
    let parts = [percent, running, progress.message.clone()];
    let text = parts.into_iter().flatten().collect::<Vec<_>>().join(", ");
    printable(&text).replace('\n', " ")
}

/// How an execution ended, as a sentence.
pub(crate) fn outcome(execution: &ExecutionView) -> String {
    let mut text = format!("execution {} {}", execution.id, execution.status);
    if let (Some(started), Some(finished)) = (execution.started, execution.finished) {
        text.push_str(&format!(" after {}", crate::output::duration(finished - started)));
    }
    match (execution.exit_code, execution.signal) {
        (_, Some(signal)) => text.push_str(&format!(", ended by signal {signal}")),
        (Some(code), None) if code != 0 => text.push_str(&format!(", exit code {code}")),
        (Some(_) | None, None) => {}
    }
    if let Some(error) = &execution.error {
        text.push_str(&format!(": {}", crate::output::printable(error)));
    }
    text
}
