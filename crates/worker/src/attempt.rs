//! One attempt: from a claimed execution to its reported end.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use attune_common::error::StoreError;
use attune_common::models::action::{OutputFormat, ParameterDelivery, ParameterFormat};
use attune_common::models::execution::{Claimed, Completion, ExecutionStatus, OutputChunk, OutputStream};
use attune_common::pack_cache::{OpenPack, PackCacheError};
use attune_common::repositories::{ExecutionRepository, PackRepository};
use attune_expr::key_marks::MASK;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::command::{self, CommandError, Given, Slot, Subject};
use crate::environment::{self, Attempt, KEYS, PYTHONPATH};
use crate::lease::{self, Lost};
use crate::native::{self, NativeOutcome, Platform};
use crate::output_log::OutputLog;
use crate::patience::patiently;
use crate::process::{self, Ending, Exit, Finished, Launch, LaunchError, OutputSink};
use crate::secrets::Resolved;
use crate::{Shared, artifacts, orphans, output, parameters, reasons};
use attune_runtime::pack_config::{self, PACK_CONFIG, PackConfig};

/// Begins attempts, each with the slot that it was claimed for; none for what was assigned. What waits for nothing is over when
/// this returns.
pub(crate) fn begin(
    shared: &Arc<Shared>,
    attempts: &TaskTracker,
    executions: impl Iterator<Item = (Claimed, Option<OwnedSemaphorePermit>)>,
) {
    for (execution, slot) in executions {
        if let Some(ended) = at_once(shared, &execution) {
            if slot.is_some() {
                shared.running.note((execution.id, execution.attempt));
            }
            if let Err(completion) = shared.completions.try_report(completion(&execution, ended)) {
                let shared = shared.clone();
                attempts.spawn(async move {
                    shared.completions.report(completion).await;
                    drop(slot);
                });
            }
            continue;
        }
        let cancel = shared.running.begin((execution.id, execution.attempt));
        if execution.canceling {
            cancel.cancel();
        }
        attempts.spawn(run(shared.clone(), execution, cancel, slot));
    }
}

/// The end of a native action that waits for nothing, if the execution is of such a one and may begin now. All others go the
/// long way.
fn at_once(shared: &Shared, execution: &Claimed) -> Option<Ended> {
    let handler =
        plain_handler(execution).filter(|_| !shared.running.is_given_up() && shared.lease.holds())?;
    native::run_at_once(handler, &execution.config).map(native_end)
}

/// The native handler that an execution needs nothing but its parameters for.
fn plain_handler(execution: &Claimed) -> Option<&str> {
    let how = &execution.how;
    // An action that says nothing of its output has an empty schema.
    let is_checked =
        how.out_schema.as_ref().is_some_and(|schema| schema.as_object().is_none_or(|map| !map.is_empty()));
    let is_plain = how.native == Some(true)
        && execution.keyed.is_none()
        && !execution.canceling
        && how.timeout_seconds.is_some()
        // What is secret has to be hidden in what it says.
        && how.secret_schema.is_none()
        && !is_checked;
    how.entrypoint.as_deref().filter(|_| is_plain)
}

/// Runs the attempt and reports its end; the slot is free afterwards.
async fn run(
    shared: Arc<Shared>,
    execution: Claimed,
    cancel: CancellationToken,
    slot: Option<OwnedSemaphorePermit>,
) {
    let needs_process = execution.how.native != Some(true);
    let mut slot = match slot.filter(|_| execution.is_native != needs_process) {
        Some(slot) => Some(slot),
        // Its action is not any more what it was when the execution was made.
        None if needs_process => tokio::select! {
            slot = shared.slots.clone().acquire_owned() => slot.ok(),
            () = cancel.cancelled() => None,
        },
        None => None,
    };
    let ended = match perform(&shared, &execution, &cancel, &mut slot).await {
        Ok(ended) => ended,
        Err(lost) => {
            tracing::warn!(execution = execution.id, attempt = execution.attempt, "{lost}");
            let attempt = (execution.id, execution.attempt);
            shared.running.end(attempt);
            shared.offers.end(&[attempt]);
            shared.offers.doubt();
            return;
        }
    };
    if shared.running.is_given_up() && ended.status == ExecutionStatus::Cancelled {
        // Nobody cancelled it: this worker goes, and whoever rescues it decides as its action says.
        return;
    }
    shared.completions.report(completion(&execution, ended)).await;
    drop(slot);
}

fn completion(execution: &Claimed, ended: Ended) -> Completion {
    Completion {
        execution: execution.id,
        attempt: execution.attempt,
        status: ended.status,
        exit_code: ended.exit_code,
        signal: ended.signal,
        result: ended.result,
        error: ended.error.map(|error| error.replace('\0', "\u{fffd}")),
        stdout_bytes: ended.stdout_bytes,
        stderr_bytes: ended.stderr_bytes,
    }
}

const RUNNER_LOST: &str = "the warm Python interpreter that had forked this process was killed, and the process with it: \
                           run it again, with `warm: false` in the action if that is what kills it";

/// What an attempt waits for its environment at least until that is noted: any other one begins as it is claimed.
const NOTED_WAIT: Duration = Duration::from_secs(1);

/// How an attempt ended.
#[derive(Debug)]
struct Ended {
    status: ExecutionStatus,
    exit_code: Option<i32>,
    signal: Option<i32>,
    result: Option<Value>,
    error: Option<String>,
    stdout_bytes: i64,
    stderr_bytes: i64,
}

impl Ended {
    fn of(status: ExecutionStatus) -> Self {
        Self {
            status,
            exit_code: None,
            signal: None,
            result: None,
            error: None,
            stdout_bytes: 0,
            stderr_bytes: 0,
        }
    }

    fn failed(error: impl Into<String>) -> Self {
        Self { error: Some(error.into()), ..Self::of(ExecutionStatus::Failed) }
    }

    fn timeout(limit: Duration) -> Self {
        let error = format!("ran past its timeout of {} s and was ended", limit.as_secs_f64());
        Self { error: Some(error), ..Self::of(ExecutionStatus::Timeout) }
    }
}

async fn perform(
    shared: &Shared,
    execution: &Claimed,
    cancel: &CancellationToken,
    slot: &mut Slot,
) -> Result<Ended, Lost> {
    let (Some(entrypoint), Some(timeout)) =
        (execution.how.entrypoint.as_deref(), execution.how.timeout_seconds)
    else {
        let error = format!("the action {} was removed before it ran", execution.action_ref);
        return Ok(Ended::failed(error));
    };
    let timeout = within(execution, Duration::try_from_secs_f64(timeout).unwrap_or(Duration::MAX));
    let asked = || shared.secrets.resolve(&shared.pool, execution);
    let mut resolved = match patiently(shared, execution, cancel, asked).await? {
        Ok(resolved) => resolved,
        Err(_) if cancel.is_cancelled() => return Ok(Ended::of(ExecutionStatus::Cancelled)),
        Err(error) => return Ok(Ended::failed(with_causes(&error))),
    };
    let pack = execution.how.pack.filter(|_| execution.how.has_settings == Some(true));
    let config = match (execution.how.native, pack) {
        (Some(false), Some(pack)) => {
            let asked = || pack_config::read(&shared.pool, &shared.secrets.keys, pack);
            match patiently(shared, execution, cancel, asked).await? {
                Ok(config) => config,
                Err(_) if cancel.is_cancelled() => return Ok(Ended::of(ExecutionStatus::Cancelled)),
                Err(error) => return Ok(Ended::failed(with_causes(&error))),
            }
        }
        _ => None,
    };
    if let Some(config) = &config {
        resolved.masker = resolved.masker.and(config.secrets.iter().map(String::as_str));
    }
    let ended = match execution.how.native {
        Some(true) => {
            lease::confirm(shared, execution, cancel).await?;
            let platform = Platform {
                pool: &shared.pool,
                packs: &shared.packs,
                bus: &shared.bus,
                secrets: &shared.secrets,
                execution,
                masker: &resolved.masker,
                of_keys: &resolved.of_keys,
            };
            let context = native::Context::new(&resolved.parameters, &shared.http).within(platform);
            run_native(entrypoint, context, timeout, cancel).await
        }
        Some(false) => {
            let run =
                Run { execution, entrypoint, timeout, resolved: &mut resolved, config: config.as_ref() };
            run_process(shared, run, cancel, slot).await?
        }
        None => Ended::failed(format!(
            "the runtime {} of {} does not exist; install the pack that defines it",
            execution.how.runtime_ref.as_deref().unwrap_or_default(),
            execution.action_ref
        )),
    };
    let ended = fits(execution, ended);
    Ok(Ended {
        result: ended.result.map(|result| resolved.masker.value(result)),
        error: ended.error.map(|error| resolved.masker.text(&error)),
        ..ended
    })
}

/// How long an execution may run: as long as its action may, or shorter where the parameter that its action names says so.
fn within(execution: &Claimed, timeout: Duration) -> Duration {
    let named =
        execution.how.isolation.as_ref().and_then(|isolation| isolation.get("timeout_parameter")?.as_str());
    let given = named.and_then(|name| execution.config.get(name)?.as_f64());
    // More than there is no end to is no bound.
    let given = given.map(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX));
    given.map_or(timeout, |given| given.min(timeout))
}

async fn run_native(
    handler: &str,
    context: native::Context<'_>,
    timeout: Duration,
    cancel: &CancellationToken,
) -> Ended {
    match tokio::time::timeout(timeout, native::run(handler, context, cancel)).await {
        Ok(outcome) => native_end(outcome),
        Err(_elapsed) => Ended::timeout(timeout),
    }
}

fn native_end(outcome: NativeOutcome) -> Ended {
    match outcome {
        NativeOutcome::Succeeded(result) => {
            Ended { result: Some(result), ..Ended::of(ExecutionStatus::Completed) }
        }
        NativeOutcome::Failed(failure) => {
            Ended { result: failure.result.clone(), ..Ended::failed(failure.to_string()) }
        }
        NativeOutcome::Cancelled => Ended::of(ExecutionStatus::Cancelled),
    }
}

/// Why a process could not be prepared or started.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("the action {action} belongs to no installed pack")]
    NoPack { action: String },
    #[error(transparent)]
    Cache(#[from] PackCacheError),
    #[error("the files of the pack cannot be read")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error("no working directory below {path}", path = path.display())]
    Directory { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Parameters(#[from] parameters::ParameterError),
    #[error(transparent)]
    Launch(#[from] LaunchError),
    #[error(transparent)]
    Lost(#[from] Lost),
}

/// An attempt that needs a process.
#[derive(Debug)]
struct Run<'a> {
    execution: &'a Claimed,
    entrypoint: &'a str,
    timeout: Duration,
    /// Its token is added to what is hidden, once it has one.
    resolved: &'a mut Resolved,
    config: Option<&'a PackConfig>,
}

async fn run_process(
    shared: &Shared,
    run: Run<'_>,
    cancel: &CancellationToken,
    slot: &mut Slot,
) -> Result<Ended, Lost> {
    let (execution, timeout) = (run.execution, run.timeout);
    match launch(shared, run, cancel, slot).await {
        Ok((finished, reason)) => {
            let mut ended = ended(execution, timeout, &finished);
            if let (ExecutionStatus::Failed, Some(error), Some(reason)) =
                (ended.status, &mut ended.error, reason)
            {
                error.push_str("; ");
                error.push_str(&reason);
            }
            Ok(ended)
        }
        Err(StartError::Command(error)) if error.is_cancelled() => Ok(Ended::of(ExecutionStatus::Cancelled)),
        Err(StartError::Launch(LaunchError::Cancelled)) => Ok(Ended::of(ExecutionStatus::Cancelled)),
        Err(StartError::Lost(lost)) => Err(lost),
        // Without its database, say.
        Err(_) if cancel.is_cancelled() => Ok(Ended::of(ExecutionStatus::Cancelled)),
        Err(error) => {
            let mut text = with_causes(&error);
            if reasons::tells_of_full_disk(&text) {
                text.push_str("; free space on the worker");
            }
            Ok(Ended::failed(text))
        }
    }
}

async fn launch(
    shared: &Shared,
    Run { execution, entrypoint, timeout, resolved, config }: Run<'_>,
    cancel: &CancellationToken,
    slot: &mut Slot,
) -> Result<(Finished, Option<String>), StartError> {
    let how = &execution.how;
    let (Some(pack), Some(pack_ref)) = (how.pack, how.pack_ref.as_deref()) else {
        return Err(StartError::NoPack { action: execution.action_ref.clone() });
    };
    // Held until the process has ended: a pack in use is not removed from the cache.
    let entrypoint = format!("actions/{entrypoint}");
    let wanted =
        WantedFiles { pack, pack_ref, checksum: how.pack_checksum.as_deref(), entrypoint: &entrypoint };
    let files = patiently(shared, execution, cancel, || materialise(shared, wanted)).await??;
    let entrypoint = files.file(&entrypoint)?;
    let subject = Subject { shared, execution, files: &files };
    let prepared_from = Instant::now();
    let command = command::prepare(subject, entrypoint, cancel, slot).await?;
    let waited = prepared_from.elapsed();
    // What is built may take longer than a token is valid.
    let api = shared.run_tokens.api_for(execution, timeout);
    if let Some(api) = &api {
        resolved.masker = resolved.masker.and([api.token.as_str()]);
    }
    let directory = private_directory(shared, execution, "")?;
    let artifacts = private_directory(shared, execution, "artifacts-")?;
    let delivery = how.parameter_delivery.unwrap_or(ParameterDelivery::Stdin);
    let format = how.parameter_format.unwrap_or(ParameterFormat::Json);
    let delivered = parameters::deliver(&resolved.parameters, delivery, format, directory.path()).await?;
    let traceparent = execution.trace_id.as_ref().map(|trace| format!("00-{trace}-{:016x}-01", execution.id));
    let mut env = shared.environment.for_attempt(&Attempt {
        execution: execution.id,
        attempt: execution.attempt,
        action_ref: &execution.action_ref,
        run: &orphans::mark(shared.own.name(), execution.id),
        pack_dir: Some(command.pack()),
        traceparent: traceparent.as_deref(),
        api: api.as_ref(),
        artifacts: Some(artifacts.path()),
    });
    env.extend(delivered.env);
    let output_format = how.output_format.unwrap_or(OutputFormat::Text);
    env.extend(environment::dialect(delivery, format, output_format));
    if let Some(sdk) = &shared.python_sdk {
        env.insert(PYTHONPATH.into(), sdk.into());
    }
    if let Some(config) = config {
        env.insert(PACK_CONFIG.into(), config.json.as_str().into());
    }
    if let Some(keys) = &resolved.keys {
        env.insert(KEYS.into(), keys.into());
    }
    let with_stdin = !delivered.stdin.is_empty();
    let given = Given { directory: directory.path(), artifacts: artifacts.path(), env, with_stdin };
    let start = command.start(subject, given)?;
    let launch = Launch {
        args: start.args,
        env: start.env,
        stdin: delivered.stdin,
        timeout,
        grace: shared.settings.grace,
        masker: resolved.masker.clone(),
        confinement: start.confinement,
        warm: command.may_be_warm().then(|| shared.warm.clone()).flatten(),
        ..Launch::of(start.program, directory.path())
    };
    let mut log = OutputLog::new(&shared.output, execution, launch.limits);
    let (sink, chunks) = OutputSink::channel(16);
    lease::confirm(shared, execution, cancel).await?;
    if waited >= NOTED_WAIT {
        note_start(shared, execution).await;
    }
    let (finished, ()) = tokio::join!(process::run(launch, cancel.clone(), sink), log.follow(chunks));
    let finished = finished?;
    let reason = command.conclude(shared, execution, &finished).await;
    let next = log.finish(&finished.stdout, &finished.stderr).await;
    let notes = artifacts::collect(shared, execution, cancel, (artifacts.path(), &resolved.masker)).await?;
    if !notes.is_empty() {
        let text: String = notes.iter().map(|note| format!("[attune: artifact {note}]\n")).collect();
        let text = resolved.masker.text(&text);
        shared.output.append(piece(execution, next, OutputStream::Stderr, text.into_bytes())).await;
    }
    shared.output.flush().await;
    Ok((finished, reason))
}

/// Lets the attempt count from now on: should this worker be lost, what was built before is no part of its timeout.
async fn note_start(shared: &Shared, execution: &Claimed) {
    let attempt = (execution.id, execution.attempt);
    if let Err(error) = ExecutionRepository::note_start(&shared.pool, shared.id, attempt).await {
        tracing::warn!(execution = execution.id, %error, "cannot note when an attempt began after its environment was built");
    }
}

/// A directory that is removed after the attempt.
fn private_directory(shared: &Shared, execution: &Claimed, purpose: &str) -> Result<TempDir, StartError> {
    let runs = shared.own.runs();
    tempfile::Builder::new()
        .prefix(&format!("{}-{}-{purpose}", execution.id, execution.attempt))
        .tempdir_in(runs)
        .map_err(|source| StartError::Directory { path: runs.to_owned(), source })
}

fn piece(execution: &Claimed, seq: i32, stream: OutputStream, content: Vec<u8>) -> OutputChunk {
    OutputChunk { execution: execution.id, attempt: execution.attempt, seq, stream, content }
}

/// The files that an attempt needs.
#[derive(Debug, Clone, Copy)]
struct WantedFiles<'a> {
    pack: i64,
    pack_ref: &'a str,
    checksum: Option<&'a str>,
    /// The one that is started.
    entrypoint: &'a str,
}

/// The pack's files on disk, taken into use; read from the database when they are not there.
async fn materialise(
    shared: &Shared,
    WantedFiles { pack, pack_ref, checksum, entrypoint }: WantedFiles<'_>,
) -> Result<OpenPack, StartError> {
    let open = |checksum: String| {
        let (cache, pack_ref, file) = (shared.cache.clone(), pack_ref.to_owned(), entrypoint.to_owned());
        async move {
            let opened =
                tokio::task::spawn_blocking(move || cache.open_for(&pack_ref, &checksum, &file)).await;
            opened.unwrap_or(Ok(None))
        }
    };
    if let Some(checksum) = checksum
        && let Some(files) = open(checksum.to_owned()).await?
    {
        return Ok(files);
    }
    let _one_at_a_time = shared.materialise.lock().await;
    loop {
        let mut connection = shared.pool.acquire().await.map_err(StoreError::from)?;
        // What is installed now: the pack may have been upgraded since the claim.
        let (current, files) = PackRepository::files(&mut connection, pack).await?;
        drop(connection);
        let current = current.ok_or_else(|| StartError::NoPack { action: pack_ref.to_owned() })?;
        let (cache, name, key) = (shared.cache.clone(), pack_ref.to_owned(), current.clone());
        let stored = tokio::task::spawn_blocking(move || {
            cache.store(&name, &key, files.into_iter().map(|file| (file.path, file.content, file.executable)))
        });
        if let Ok(stored) = stored.await {
            stored?;
        }
        if let Some(files) = open(current).await? {
            return Ok(files);
        }
    }
}

/// What became of an attempt whose result may not be what its action declared.
fn fits(execution: &Claimed, ended: Ended) -> Ended {
    let (ExecutionStatus::Completed, Some(schema), Some(result)) =
        (ended.status, &execution.how.out_schema, &ended.result)
    else {
        return ended;
    };
    match output::check(schema, result) {
        Ok(()) => ended,
        // What was written in the place of a secret is not what the action gave.
        Err(_) if result.to_string().contains(MASK) => ended,
        Err(error) => Ended { status: ExecutionStatus::Failed, error: Some(error.to_string()), ..ended },
    }
}

/// What the end of a process means for its execution.
fn ended(execution: &Claimed, timeout: Duration, finished: &Finished) -> Ended {
    let format = execution.how.output_format.unwrap_or(OutputFormat::Text);
    let parsed = output::parse(format, &finished.stdout);
    let (exit_code, signal) = match finished.exit {
        Exit::Code(code) => (Some(code), None),
        Exit::Signal(signal) => (None, Some(signal)),
    };
    let (status, error) = match (finished.ending, finished.exit, &parsed) {
        (Ending::TimedOut, _, _) => (ExecutionStatus::Timeout, Ended::timeout(timeout).error),
        (Ending::Cancelled, _, _) => (ExecutionStatus::Cancelled, None),
        (Ending::RunnerLost, _, _) => (ExecutionStatus::Failed, Some(RUNNER_LOST.to_owned())),
        (Ending::Exited, Exit::Code(0), Ok(_)) => (ExecutionStatus::Completed, None),
        (Ending::Exited, Exit::Code(0), Err(error)) => (ExecutionStatus::Failed, Some(error.to_string())),
        (Ending::Exited, Exit::Code(code), _) => {
            (ExecutionStatus::Failed, Some(format!("the process exited with code {code}")))
        }
        (Ending::Exited, Exit::Signal(signal), _) => {
            (ExecutionStatus::Failed, Some(format!("the process was killed by signal {signal}")))
        }
    };
    let bytes = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    Ended {
        status,
        exit_code,
        signal,
        result: parsed.ok(),
        error,
        stdout_bytes: bytes(finished.stdout.total_bytes),
        stderr_bytes: bytes(finished.stderr.total_bytes),
    }
}

pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use attune_common::models::execution::ClaimedAction;
    use serde_json::json;

    use super::*;

    fn noop() -> Claimed {
        let how = ClaimedAction {
            entrypoint: Some("noop".to_owned()),
            native: Some(true),
            timeout_seconds: Some(60.0),
            // As the database has it for an action that says nothing of its output.
            out_schema: Some(json!({})),
            ..ClaimedAction::default()
        };
        Claimed {
            id: 1,
            attempt: 1,
            action_ref: "core.noop".to_owned(),
            trace_id: None,
            config: json!({}),
            keyed: None,
            canceling: false,
            is_native: true,
            how: Arc::new(how),
        }
    }

    #[test]
    fn test_a_parameter_shortens_the_timeout() {
        let limit = Duration::from_secs(60);
        let how = ClaimedAction {
            isolation: Some(json!({"timeout_parameter": "within"})),
            ..ClaimedAction::default()
        };
        let given = |config| within(&Claimed { config, how: Arc::new(how.clone()), ..noop() }, limit);
        assert_eq!(given(json!({"within": 0.5})), Duration::from_millis(500));
        assert_eq!(given(json!({"within": -1})), Duration::ZERO);
        for longer in [json!({"within": 61}), json!({"within": 1e300}), json!({"within": null}), json!({})] {
            assert_eq!(given(longer.clone()), limit, "{longer}");
        }
        assert_eq!(
            within(&Claimed { config: json!({"within": 1}), ..noop() }, limit),
            limit,
            "nothing names it"
        );
    }

    #[test]
    fn test_what_needs_its_parameters_alone_is_plain() {
        assert_eq!(plain_handler(&noop()), Some("noop"));
        assert_eq!(plain_handler(&Claimed { canceling: true, ..noop() }), None);
        let with = |change: fn(&mut ClaimedAction)| {
            let mut how = (*noop().how).clone();
            change(&mut how);
            Claimed { how: Arc::new(how), ..noop() }
        };
        assert_eq!(plain_handler(&with(|how| how.native = Some(false))), None);
        assert_eq!(plain_handler(&with(|how| how.native = None)), None, "its runtime was removed");
        assert_eq!(plain_handler(&with(|how| how.entrypoint = None)), None, "its action was removed");
        let checked = with(|how| how.out_schema = Some(json!({"ok": {"type": "boolean"}})));
        assert_eq!(plain_handler(&checked), None, "its output is checked");
        let secret =
            with(|how| how.secret_schema = Some(json!({"properties": {"message": {"secret": true}}})));
        assert_eq!(plain_handler(&secret), None, "what it says is masked");
    }
}
