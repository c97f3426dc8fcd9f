//! The handlers, one module per noun. A handler looks at the caller's permissions, calls what does the work, and maps the
//! outcome to a view.

pub(crate) mod actions;
pub(crate) mod auth;
pub(crate) mod enforcements;
pub(crate) mod events;
pub(crate) mod executions;
pub(crate) mod explanations;
pub(crate) mod keys;
pub(crate) mod meta;
mod output;
pub(crate) mod packs;
pub(crate) mod rules;
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
        .layer(DefaultBodyLimit::max(settings.max_pack_bytes));
    OpenApiRouter::new()
        .routes(routes!(auth::login))
        .routes(routes!(auth::logout))
        .routes(routes!(auth::whoami))
        .routes(routes!(packs::list))
        .merge(install)
        .routes(routes!(packs::show, packs::remove))
        .routes(routes!(actions::list))
        .routes(routes!(actions::show))
        .routes(routes!(triggers::list))
        .routes(routes!(triggers::show))
        .routes(routes!(rules::list, rules::create))
        .routes(routes!(rules::show, rules::change, rules::replace, rules::delete))
        .routes(routes!(rules::versions))
        .routes(routes!(events::list, events::create))
        .routes(routes!(events::show))
        .routes(routes!(explanations::explain))
        .routes(routes!(enforcements::list))
        .routes(routes!(enforcements::show))
        .routes(routes!(executions::list, executions::create))
        .routes(routes!(executions::show))
        .routes(routes!(executions::cancel))
        .routes(routes!(output::output))
        .routes(routes!(workers::list))
        .routes(routes!(keys::list))
        .routes(routes!(keys::put, keys::delete))
        .routes(routes!(meta::healthz))
        .routes(routes!(meta::readyz))
        .routes(routes!(meta::metrics))
}
