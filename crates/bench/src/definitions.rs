//! The pack that the loads need.

use anyhow::Context;
use attune_bench::archive::archive;
use attune_client::Client;

/// Paths of the webhooks that the benchmark sends to.
#[derive(Debug)]
pub(crate) struct Hooks {
    /// No rule listens.
    pub(crate) unmatched: String,
    /// A rule runs a native no-op.
    pub(crate) noop: String,
    /// A rule runs `/bin/true`.
    pub(crate) shell: String,
}

/// Rules on the trigger of the batches, of which each event matches one.
pub(crate) const RULES: usize = 1000;

const FILES: [(&str, &str); 13] = [
    ("pack.yaml", "ref: bench\nversion: 1.0.0\nlabel: Benchmark\n"),
    ("triggers/unmatched.yaml", "ref: bench.unmatched\nwebhook: {}\n"),
    ("triggers/noop.yaml", "ref: bench.noop\nwebhook: {}\n"),
    ("triggers/batch.yaml", "ref: bench.batch\n"),
    ("triggers/recorded.yaml", "ref: bench.recorded\n"),
    ("triggers/shell.yaml", "ref: bench.shell\nwebhook: {}\n"),
    ("triggers/limited.yaml", "ref: bench.limited\n"),
    ("triggers/sleep.yaml", "ref: bench.sleep\n"),
    (
        "rules/noop.yaml",
        "ref: bench.noop\ntrigger: bench.noop\nconditions:\n  - {field: event.payload.severity, operator: equals, value: critical}\naction: core.noop\n",
    ),
    (
        "rules/shell.yaml",
        "ref: bench.shell\ntrigger: bench.shell\naction: core.shell\naction_params: {command: \"/bin/true\"}\n",
    ),
    (
        "rules/sleep.yaml",
        "ref: bench.sleep\ntrigger: bench.sleep\naction: core.shell\naction_params: {command: \"exec sleep 20\"}\n",
    ),
    (
        "rules/limited.yaml",
        "ref: bench.limited\ntrigger: bench.limited\naction: core.sleep\naction_params: {seconds: \"{{ event.payload.seconds }}\"}\n",
    ),
    // One of each number of seconds at once: a lane for each.
    (
        "policies/limited.yaml",
        "ref: bench.limited\naction: core.sleep\nconcurrency: 1\nparameters: [seconds]\n",
    ),
];

/// Installs the pack.
pub(crate) async fn install(client: &Client) -> anyhow::Result<Hooks> {
    let rules: Vec<(String, String)> = (0..RULES)
        .map(|number| {
            let rule = format!(
                "ref: bench.batch_{number}\ntrigger: bench.batch\nconditions:\n  - {{field: event.payload.severity, operator: equals, value: critical}}\n  - {{field: event.payload.number, operator: equals, value: {number}}}\naction: core.noop\n"
            );
            (format!("rules/batch_{number}.yaml"), rule)
        })
        .collect();
    let rules = rules.iter().map(|(path, content)| (path.as_str(), content.as_str()));
    let archive = archive(&FILES.into_iter().chain(rules).collect::<Vec<_>>())?;
    let installed =
        client.install_pack(archive, "attune-bench").await.context("the pack cannot be installed")?;
    let path = |trigger: &str| {
        let hook = installed.webhooks.iter().find(|hook| hook.trigger == trigger);
        hook.map(|hook| hook.path.clone()).with_context(|| format!("{trigger} has no webhook"))
    };
    Ok(Hooks { unmatched: path("bench.unmatched")?, noop: path("bench.noop")?, shell: path("bench.shell")? })
}
