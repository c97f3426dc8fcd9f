//! Who may do what, for every operation that the document has.

use std::collections::{BTreeMap, BTreeSet};

use attune_common::models::identity::Grant;
use attune_pack::limits::{LIMITED, RESOURCES};
use reqwest::Method;
use serde_json::{Value, json};

use crate::app::{TestApp, grant, token};

/// What needs no token.
const PUBLIC: &[&str] = &[
    "GET /healthz",
    "GET /metrics",
    "GET /readyz",
    "POST /api/v1/auth/login",
    "POST /api/v1/webhooks/{key}",
];

/// What needs a signature or a token, as the rules say that are asked: without any there is nothing to be guarded.
const AS_RULES_SAY: &[&str] = &["POST /api/v1/hooks/{path}"];

/// What needs a token and nothing else: it is about the token itself.
const TOKEN_ONLY: &[&str] = &["GET /api/v1/whoami", "POST /api/v1/auth/logout"];

/// What every other operation needs; where it stands several times, all of it.
pub(crate) const GUARDED: &[(&str, &str, &str)] = &[
    ("GET /api/v1/packs", "pack", "read"),
    ("POST /api/v1/packs", "pack", "create"),
    ("POST /api/v1/packs/plan", "pack", "plan"),
    ("GET /api/v1/packs/{ref}/config", "pack", "read"),
    ("PATCH /api/v1/packs/{ref}/config", "pack", "configure"),
    ("GET /api/v1/packs/{ref}/files", "pack", "export"),
    ("GET /api/v1/packs/{ref}", "pack", "read"),
    ("DELETE /api/v1/packs/{ref}", "pack", "delete"),
    ("GET /api/v1/actions", "action", "read"),
    ("GET /api/v1/actions/{ref}", "action", "read"),
    ("PATCH /api/v1/actions/{ref}", "action", "update"),
    ("GET /api/v1/sensors", "sensor", "read"),
    ("GET /api/v1/sensors/{ref}", "sensor", "read"),
    ("PATCH /api/v1/sensors/{ref}", "sensor", "update"),
    ("GET /api/v1/triggers", "trigger", "read"),
    ("GET /api/v1/triggers/{ref}", "trigger", "read"),
    ("GET /api/v1/rules", "rule", "read"),
    ("POST /api/v1/rules", "rule", "create"),
    ("GET /api/v1/rules/{ref}", "rule", "read"),
    ("PATCH /api/v1/rules/{ref}", "rule", "update"),
    ("POST /api/v1/rules/backtest", "rule", "read"),
    ("POST /api/v1/rules/backtest", "event", "read"),
    ("PUT /api/v1/rules/{ref}", "rule", "update"),
    ("DELETE /api/v1/rules/{ref}", "rule", "delete"),
    ("GET /api/v1/rules/{ref}/versions", "rule", "read"),
    ("GET /api/v1/events", "event", "read"),
    ("POST /api/v1/events", "event", "create"),
    ("POST /api/v1/events/batch", "event", "create"),
    ("GET /api/v1/events/{id}", "event", "read"),
    ("POST /api/v1/events/replay", "event", "create"),
    ("POST /api/v1/events/replay", "event", "read"),
    ("GET /api/v1/events/{id}/explanation", "event", "read"),
    ("GET /api/v1/enforcements", "enforcement", "read"),
    ("GET /api/v1/enforcements/{id}", "enforcement", "read"),
    ("GET /api/v1/executions", "execution", "read"),
    ("POST /api/v1/executions", "execution", "create"),
    ("GET /api/v1/executions/{id}", "execution", "read"),
    ("POST /api/v1/executions/{id}/cancel", "execution", "cancel"),
    ("GET /api/v1/executions/{id}/history", "execution", "read"),
    ("GET /api/v1/executions/{id}/output", "execution", "read"),
    ("PUT /api/v1/executions/{id}/progress", "execution", "update"),
    ("GET /api/v1/executions/{id}/artifacts", "artifact", "read"),
    ("POST /api/v1/executions/{id}/artifacts/{name}", "artifact", "create"),
    ("GET /api/v1/artifacts", "artifact", "read"),
    ("GET /api/v1/artifacts/{ref}", "artifact", "read"),
    ("DELETE /api/v1/artifacts/{ref}", "artifact", "delete"),
    ("POST /api/v1/artifacts/{ref}/versions", "artifact", "create"),
    ("GET /api/v1/artifacts/{ref}/versions/{version}", "artifact", "read"),
    ("DELETE /api/v1/artifacts/{ref}/versions/{version}", "artifact", "delete"),
    ("GET /api/v1/inquiries", "inquiry", "read"),
    ("POST /api/v1/inquiries", "inquiry", "create"),
    ("GET /api/v1/inquiries/{id}", "inquiry", "read"),
    ("POST /api/v1/inquiries/{id}/respond", "inquiry", "respond"),
    ("POST /api/v1/inquiries/{id}/cancel", "inquiry", "cancel"),
    ("GET /api/v1/pauses", "pause", "read"),
    ("POST /api/v1/pauses", "pause", "create"),
    ("GET /api/v1/pauses/{id}", "pause", "read"),
    ("DELETE /api/v1/pauses/{id}", "pause", "delete"),
    ("POST /api/v1/workers/{name}/cordon", "worker", "update"),
    ("POST /api/v1/workers/{name}/uncordon", "worker", "update"),
    ("GET /api/v1/workers", "worker", "read"),
    ("GET /api/v1/policies", "policy", "read"),
    ("GET /api/v1/policies/{ref}", "policy", "read"),
    ("GET /api/v1/queues", "queue", "read"),
    ("GET /api/v1/queues/{ref}", "queue", "read"),
    ("GET /api/v1/queues/{ref}/items", "work_item", "read"),
    ("POST /api/v1/queues/{ref}/items", "work_item", "create"),
    ("POST /api/v1/queues/{ref}/retry", "work_item", "update"),
    ("GET /api/v1/database/size", "database", "read"),
    ("GET /api/v1/keys", "key", "read"),
    ("GET /api/v1/keys/{ref}", "key", "read"),
    ("PUT /api/v1/keys/{ref}", "key", "create"),
    ("DELETE /api/v1/keys/{ref}", "key", "delete"),
];

const ACTIONS: &[&str] = &["read", "create", "update", "delete", "cancel", "respond"];

/// The operations of the document, as `METHOD path`.
fn operations() -> BTreeMap<String, Value> {
    let document = serde_json::to_value(attune_api::openapi_document()).unwrap();
    let paths = document["paths"].as_object().unwrap().clone();
    let mut operations = BTreeMap::new();
    for (path, methods) in paths {
        for (method, operation) in methods.as_object().unwrap() {
            operations.insert(format!("{} {path}", method.to_uppercase()), operation.clone());
        }
    }
    operations
}

/// Sends an operation with something in the place of its path parameters, and without a body.
pub(crate) async fn send(app: &TestApp, operation: &str, token: Option<&str>) -> u16 {
    let (method, path) = operation.split_once(' ').unwrap();
    let path = path
        .replace("{id}", "1")
        .replace("{ref}", "no.such")
        .replace("{key}", "none")
        .replace("{path}", "none")
        .replace("{version}", "1")
        .replace("{name}", "no");
    let request = app.request(Method::from_bytes(method.as_bytes()).unwrap(), &path);
    let request = match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    };
    request.send().await.unwrap().status().as_u16()
}

#[test]
fn test_packs_can_grant_each_permission_and_limit_only_such() {
    let of_operations = GUARDED.iter().map(|(_, resource, _)| *resource);
    let used: BTreeSet<&str> = of_operations.chain(LIMITED.iter().map(|limited| limited.resource)).collect();
    assert_eq!(
        used.into_iter().filter(|resource| !RESOURCES.contains(resource)).collect::<Vec<_>>(),
        [""; 0]
    );
}

#[test]
fn test_every_operation_has_a_permission() {
    let listed = PUBLIC
        .iter()
        .chain(AS_RULES_SAY)
        .chain(TOKEN_ONLY)
        .copied()
        .chain(GUARDED.iter().map(|(operation, ..)| *operation));
    let listed: BTreeSet<String> = listed.map(str::to_owned).collect();
    let present: BTreeSet<String> = operations().into_keys().collect();
    assert_eq!(listed, present);
}

#[test]
fn test_every_operation_documents_its_security_and_errors() {
    for (name, operation) in operations() {
        let public = PUBLIC.contains(&name.as_str());
        let security = match () {
            () if public => Some(json!([{}])),
            () if AS_RULES_SAY.contains(&name.as_str()) => Some(json!([{}, {"bearer": []}])),
            () => None,
        };
        assert_eq!(operation.get("security"), security.as_ref(), "{name}");
        let expected: &[&str] = match () {
            () if name == "GET /healthz" || name == "GET /metrics" => &[],
            () if name == "GET /readyz" => &["503"],
            () if public || TOKEN_ONLY.contains(&name.as_str()) => &["400", "401", "503"],
            () if name.contains('{') => &["400", "401", "403", "503"],
            () => &["400", "401", "403", "503"],
        };
        for status in expected {
            let content = &operation["responses"][status]["content"];
            assert!(content.get("application/problem+json").is_some(), "{name} does not document {status}");
        }
        let takes_body = operation.get("requestBody").is_some();
        assert!(!takes_body || operation["responses"].get("413").is_some() || public, "{name}");
    }
}

#[tokio::test]
async fn test_without_a_token_only_public_operations_answer() {
    let app = TestApp::start().await;
    for operation in operations().into_keys() {
        let status = send(&app, &operation, None).await;
        let unknown = send(&app, &operation, Some("attune_unknown")).await;
        if PUBLIC.contains(&operation.as_str()) {
            assert_ne!((status, unknown), (401, 401), "{operation}");
        } else if AS_RULES_SAY.contains(&operation.as_str()) {
            assert_eq!((status, unknown), (404, 404), "{operation}");
        } else {
            assert_eq!((status, unknown), (401, 401), "{operation}");
        }
    }
    app.stop().await;
}

#[tokio::test]
async fn test_each_operation_needs_its_own_grant_and_no_other() {
    let app = TestApp::start().await;
    let nothing = token(app.pool(), "nothing", Vec::new()).await;
    for (index, (operation, resource, action)) in GUARDED.iter().enumerate() {
        assert_eq!(send(&app, operation, Some(&nothing)).await, 403, "{operation} without grants");
        let others: Vec<Grant> = RESOURCES
            .iter()
            .map(|other| {
                let actions: Vec<&str> =
                    ACTIONS.iter().copied().filter(|a| (other, a) != (resource, action)).collect();
                grant(other, &actions)
            })
            .collect();
        let others = token(app.pool(), &format!("others{index}"), others).await;
        assert_eq!(send(&app, operation, Some(&others)).await, 403, "{operation} with every other grant");
        let needed = GUARDED.iter().filter(|(other, ..)| other == operation);
        let needed = needed.map(|(_, resource, action)| grant(resource, &[action])).collect();
        let own = token(app.pool(), &format!("own{index}"), needed).await;
        let status = send(&app, operation, Some(&own)).await;
        assert!(!matches!(status, 401 | 403 | 405 | 500..), "{operation} with its grant: {status}");
    }
    let token_only = token(app.pool(), "token-only", Vec::new()).await;
    for operation in TOKEN_ONLY {
        let status = send(&app, operation, Some(&token_only)).await;
        assert!((200..300).contains(&status), "{operation}: {status}");
    }
    app.stop().await;
}
