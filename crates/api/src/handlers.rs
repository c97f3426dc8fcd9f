//! The handlers, one module per noun. A handler looks at the caller's permissions, calls what does the work, and maps the
//! outcome to a view.

pub(crate) mod actions;
pub(crate) mod artifacts;
pub(crate) mod auth;
pub(crate) mod backtest;
pub(crate) mod database;
pub(crate) mod enforcements;
pub(crate) mod events;
pub(crate) mod executions;
pub(crate) mod explanations;
pub(crate) mod inquiries;
pub(crate) mod keys;
pub(crate) mod meta;
mod output;
pub(crate) mod pack_config;
pub(crate) mod packs;
pub(crate) mod pauses;
pub(crate) mod policies;
pub(crate) mod progress;
pub(crate) mod queues;
pub(crate) mod replay;
pub(crate) mod rules;
pub(crate) mod sensors;
pub(crate) mod triggers;
pub(crate) mod workers;

use axum::extract::DefaultBodyLimit;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Settings;
use crate::state::AppState;

/// Every route but the webhooks.
pub(crate) fn routes(settings: &Settings) -> OpenApiRouter<AppState> {
    let install = OpenApiRouter::new()
        .routes(routes!(packs::install))
        .routes(routes!(packs::plan))
        .layer(DefaultBodyLimit::max(settings.max_pack_bytes));
    let batch = OpenApiRouter::new()
        .routes(routes!(events::create_batch))
        .layer(DefaultBodyLimit::max(settings.max_batch_bytes));
    // A changed payload may be as large as the event that it replaces.
    let replay = OpenApiRouter::new()
        .routes(routes!(replay::replay))
        .layer(DefaultBodyLimit::max(settings.max_webhook_bytes + (2 << 20)));
    // Read piece by piece, and bounded by whoever reads.
    let contents = OpenApiRouter::new()
        .routes(routes!(artifacts::list_of_execution))
        .routes(routes!(artifacts::leave))
        .routes(routes!(artifacts::add_version))
        .layer(DefaultBodyLimit::disable());
    OpenApiRouter::new()
        .routes(routes!(auth::login))
        .routes(routes!(auth::logout))
        .routes(routes!(auth::whoami))
        .routes(routes!(packs::list))
        .merge(install)
        .routes(routes!(packs::show, packs::remove))
        .routes(routes!(packs::export))
        .routes(routes!(pack_config::show, pack_config::change))
        .routes(routes!(actions::list))
        .routes(routes!(actions::show, actions::switch))
        .routes(routes!(triggers::list))
        .routes(routes!(triggers::show))
        .routes(routes!(sensors::list))
        .routes(routes!(sensors::show, sensors::switch))
        .routes(routes!(rules::list, rules::create))
        .routes(routes!(rules::show, rules::change, rules::replace, rules::delete))
        .routes(routes!(rules::versions))
        .routes(routes!(backtest::backtest))
        .routes(routes!(events::list, events::create))
        .routes(routes!(events::show))
        .routes(routes!(explanations::explain))
        .merge(batch)
        .merge(replay)
        .merge(contents)
        .routes(routes!(artifacts::list))
        .routes(routes!(artifacts::show, artifacts::delete))
        .routes(routes!(artifacts::download, artifacts::delete_version))
        .routes(routes!(enforcements::list))
        .routes(routes!(enforcements::show))
        .routes(routes!(executions::list, executions::create))
        .routes(routes!(executions::show))
        .routes(routes!(executions::cancel))
        .routes(routes!(executions::history))
        .routes(routes!(output::output))
        .routes(routes!(progress::put))
        .routes(routes!(inquiries::list, inquiries::create))
        .routes(routes!(inquiries::show))
        .routes(routes!(inquiries::respond))
        .routes(routes!(inquiries::cancel))
        .routes(routes!(workers::list))
        .routes(routes!(policies::list))
        .routes(routes!(policies::show))
        .routes(routes!(queues::list))
        .routes(routes!(queues::show))
        .routes(routes!(queues::items, queues::push))
        .routes(routes!(queues::retry))
        .routes(routes!(database::size))
        .routes(routes!(workers::cordon))
        .routes(routes!(workers::uncordon))
        .routes(routes!(pauses::list, pauses::create))
        .routes(routes!(pauses::show, pauses::delete))
        .routes(routes!(keys::list))
        .routes(routes!(keys::get, keys::put, keys::delete))
        .routes(routes!(meta::healthz))
        .routes(routes!(meta::readyz))
        .routes(routes!(meta::metrics))
}
