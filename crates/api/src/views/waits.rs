//! What executions wait for besides a free worker, in words.

use std::collections::HashMap;

use attune_common::error::Result;
use attune_common::models::execution::{Execution, ExecutionStatus};
use attune_common::models::pause::Pause;
use attune_common::repositories::{PauseRepository, PlacementRepository, WorkerRepository};
use sqlx::PgPool;

/// What is known of it for some executions.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    pauses: Vec<Pause>,
    /// By placement.
    obstacles: HashMap<i64, String>,
    /// Environments that are built, by the execution that waits for one.
    preparing: HashMap<i64, String>,
}

impl Waits {
    /// Reads what the waiting ones of these executions can wait for; nothing where none of them waits.
    pub(crate) async fn of_executions(pool: &PgPool, executions: &[Execution]) -> Result<Self> {
        let preparing = preparing(pool, executions).await?;
        let can_wait = |execution: &&Execution| {
            matches!(execution.status, ExecutionStatus::Scheduled | ExecutionStatus::Requested)
        };
        let waiting = executions.iter().filter(can_wait);
        let mut placements: Vec<i64> = waiting.map(|execution| execution.placement).collect();
        if placements.is_empty() {
            return Ok(Self { preparing, ..Self::default() });
        }
        placements.sort_unstable();
        placements.dedup();
        let pauses = PauseRepository::list(pool).await?;
        let services = PlacementRepository::services(pool, &placements).await?;
        let obstacles =
            services.into_iter().filter_map(|service| Some((service.placement, service.obstacle()?)));
        Ok(Self { pauses, obstacles: obstacles.collect(), preparing })
    }

    /// What the execution waits for; a pause first, since it can be ended.
    pub(crate) fn of(&self, execution: &Execution) -> Option<String> {
        if execution.status == ExecutionStatus::Running {
            return self.preparing.get(&execution.id).cloned();
        }
        if !matches!(execution.status, ExecutionStatus::Scheduled | ExecutionStatus::Requested) {
            return None;
        }
        let pause = self.pauses.iter().find(|pause| pause.scope().covers(&execution.action_ref));
        if let Some(pause) = pause {
            let by = pause.login.as_ref().map(|login| format!(" by {login}")).unwrap_or_default();
            let reason = pause.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            let since = pause.created.format("%Y-%m-%dT%H:%M:%SZ");
            return Some(format!("{} is paused{by} since {since}{reason}", pause.scope()));
        }
        if execution.status == ExecutionStatus::Requested {
            return None;
        }
        if let Some(due) = execution.not_before {
            let due = due.format("%Y-%m-%dT%H:%M:%SZ");
            return Some(format!("attempt {} begins at {due}", execution.attempt + 1));
        }
        self.obstacles.get(&execution.placement).cloned()
    }
}

/// What running executions wait for before their actions begin: the environment of their pack.
async fn preparing(pool: &PgPool, executions: &[Execution]) -> Result<HashMap<i64, String>> {
    let running = executions.iter().filter(|execution| execution.status == ExecutionStatus::Running);
    let mut workers: Vec<i64> = running.filter_map(|execution| execution.worker).collect();
    if workers.is_empty() {
        return Ok(HashMap::new());
    }
    workers.sort_unstable();
    workers.dedup();
    let mut waits = HashMap::new();
    for (_, worker, preparing) in WorkerRepository::list_preparing(pool, &workers).await? {
        for entry in preparing.as_array().into_iter().flatten() {
            let text = |key: &str| entry[key].as_str().unwrap_or_default();
            let since = text("since").parse::<chrono::DateTime<chrono::Utc>>().ok();
            let since = since.map(|since| since.format(" since %Y-%m-%dT%H:%M:%SZ").to_string());
            let step = entry["step"].as_str().map(|step| format!(": {step}"));
            let what = match text("what") {
                "image" => "an image is being fetched".to_owned(),
                language => format!("the {language} environment is being built"),
            };
            let sentence = format!(
                "{what} for pack {} on {worker}{}{}",
                text("pack"),
                since.unwrap_or_default(),
                step.unwrap_or_default(),
            );
            let executions = entry["executions"].as_array().into_iter().flatten();
            waits.extend(executions.filter_map(|id| Some((id.as_i64()?, sentence.clone()))));
        }
    }
    Ok(waits)
}
