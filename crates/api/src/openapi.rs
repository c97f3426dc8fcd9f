//! The routes, each with its part of the OpenAPI document: one cannot be there without the other.

use attune_client::types::{Problem, ProblemEnd, ProblemItem};
use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::http::header;
use axum::routing::get;
use utoipa::openapi::schema::ComponentsBuilder;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::tag::{Tag, TagBuilder};
use utoipa::openapi::{InfoBuilder, License, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::AppState;
use crate::{Settings, handlers, webhook};

/// The name of the one security scheme.
const BEARER: &str = "bearer";

const TAGS: &[(&str, &str)] = &[
    ("auth", "Signing in and out."),
    ("packs", "Bundles of definitions and the files they need."),
    ("triggers", "Kinds of things that can happen."),
    ("sensors", "Programs that watch something and report events."),
    ("rules", "Which events lead to which action."),
    ("actions", "What can be done."),
    ("webhooks", "Where other systems send what happened."),
    ("events", "What happened."),
    ("enforcements", "What rules decided about events."),
    ("executions", "Runs of actions."),
    ("inquiries", "Questions that runs put to people."),
    ("artifacts", "What runs leave: files, tables and links, in versions."),
    ("policies", "What holds executions back."),
    ("queues", "Items that actions work off in portions."),
    ("pauses", "What does not run for now."),
    ("workers", "Processes that run actions."),
    ("keys", "Values by name. Those that are secrets go in and never come out; the others can be read."),
    ("database", "The space that everything takes."),
    ("server", "Health and metrics; needs no token."),
];

/// Every route of the API.
pub(crate) fn router(state: &AppState) -> Router {
    let (router, document) = routes(&state.settings).split_for_parts();
    // A document that was built by code is always serialisable; were it not, the test of it would say so.
    let document = Bytes::from(serde_json::to_vec(&finish(document)).unwrap_or_default());
    let serve = move || async move { ([(header::CONTENT_TYPE, "application/json")], document) };
    router.route("/api/openapi.json", get(serve)).with_state(state.clone())
}

/// The OpenAPI document, as `/api/openapi.json` serves it.
pub fn document() -> OpenApi {
    finish(routes(&Settings::default()).into_openapi())
}

fn routes(settings: &Settings) -> OpenApiRouter<AppState> {
    let webhooks = OpenApiRouter::new()
        .routes(routes!(webhook::receive))
        .routes(routes!(webhook::receive_hook))
        .layer(DefaultBodyLimit::max(settings.max_webhook_bytes));
    OpenApiRouter::new().merge(webhooks).merge(handlers::routes(settings))
}

/// Adds what stands above the single operations.
fn finish(mut document: OpenApi) -> OpenApi {
    // A parameter that may have several parts is spelt otherwise by the router.
    let paths = std::mem::take(&mut document.paths.paths);
    document.paths.paths = paths.into_iter().map(|(path, item)| (path.replace("{*", "{"), item)).collect();
    document.info = InfoBuilder::new()
        .title("Attune")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Event-driven automation: triggers, rules, actions and what came of them. Errors are \
             `application/problem+json` (RFC 9457). Sign in at `/api/v1/auth/login` and send the token as \
             `Authorization: Bearer ...`.",
        ))
        .license(Some(License::new("Apache-2.0")))
        .build();
    let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    let components = document.components.take().unwrap_or_default();
    let components = ComponentsBuilder::from(components)
        .schema_from::<Problem>()
        .schema_from::<ProblemItem>()
        .schema_from::<ProblemEnd>()
        .security_scheme(BEARER, scheme)
        .build();
    document.components = Some(components);
    document.security = Some(vec![SecurityRequirement::new(BEARER, Vec::<String>::new())]);
    document.tags = Some(TAGS.iter().map(|(name, description)| tag(name, description)).collect());
    document
}

fn tag(name: &str, description: &str) -> Tag {
    TagBuilder::new().name(name).description(Some(description)).build()
}
