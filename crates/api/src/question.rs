//! What a run asks, checked before anybody is asked, and what people answer, checked before the run reads it.

use std::time::Duration;

use attune_client::types::{InquiryRequest, ProblemItem};
use attune_common::models::inquiry::{Inquiry, NewInquiry};
use attune_common::repositories::{IdentityRepository, PermissionRepository};
use attune_expr::masking::Masker;
use attune_expr::schema::{ParameterSchema, SchemaProblem, check_parameters, to_json_schema};
use attune_expr::suggest::nearest;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::error::ApiError;
use crate::run_masking::has_secret;
use crate::webhook::{MAX_DEDUP_KEY, nul_fault};

/// The longest question, in characters.
const LONGEST_PROMPT: usize = 10_000;

/// The longest time that an answer is waited for, in seconds: ten years.
const LONGEST_TIMEOUT: f64 = 10.0 * 366.0 * 86_400.0;

/// The question of an execution, as it may be kept and shown; with every fault of it, if there are any.
pub(crate) async fn read(
    pool: &PgPool,
    execution: i64,
    request: InquiryRequest,
    masker: &Masker,
) -> Result<NewInquiry, ApiError> {
    let mut faults = faults_of_texts(&request);
    faults.extend(secrets_in(&request, masker));
    let timeout = match request.timeout_seconds {
        None => None,
        Some(seconds) if seconds > 0.0 && seconds <= LONGEST_TIMEOUT => {
            Some(Duration::from_secs_f64(seconds))
        }
        Some(seconds) => {
            let detail = format!("an answer cannot be waited for {seconds} seconds");
            faults.push(fault("/timeout_seconds", detail, "a number above 0, of ten years at most"));
            None
        }
    };
    let response_schema = match request.response_schema.as_ref().map(schema).transpose() {
        Ok(schema) => schema,
        Err(found) => {
            faults.extend(found);
            None
        }
    };
    let mut assigned_to = None;
    if let Some(login) = &request.assigned_to {
        match IdentityRepository::find_by_login(pool, login).await? {
            Some(identity) => assigned_to = Some(identity.id),
            None => {
                let logins: Vec<_> =
                    IdentityRepository::list(pool).await?.into_iter().map(|known| known.login).collect();
                faults.push(unknown(
                    "/assigned_to",
                    &format!("there is nobody called {login:?}"),
                    login,
                    &logins,
                ));
            }
        }
    }
    if let Some(role) = &request.assigned_role
        && PermissionRepository::find_by_ref(pool, role).await?.is_none()
    {
        let refs = PermissionRepository::refs(pool).await?;
        faults.push(unknown("/assigned_role", &format!("there is no permission set {role:?}"), role, &refs));
    }
    if !faults.is_empty() {
        return Err(ApiError::invalid("the question is not valid; nothing was asked", faults));
    }
    Ok(NewInquiry {
        execution,
        prompt: masker.text(&request.prompt),
        response_schema,
        assigned_to,
        assigned_role: request.assigned_role,
        allow_self_approval: request.allow_self_approval,
        timeout,
    })
}

/// Secrets where nothing else can stand in their place.
fn secrets_in(request: &InquiryRequest, masker: &Masker) -> Vec<ProblemItem> {
    let schema = request.response_schema.as_ref();
    let places = [
        ("/response_schema", schema.is_some_and(|schema| masker.value(schema.clone()) != *schema)),
        ("/dedup_key", request.dedup_key.as_deref().is_some_and(|key| has_secret(masker, key))),
    ];
    let found = places.into_iter().filter(|(_, has_secret)| *has_secret);
    found
        .map(|(at, _)| fault(at, "there is a secret in it, and questions are shown", "something else"))
        .collect()
}

fn faults_of_texts(request: &InquiryRequest) -> Vec<ProblemItem> {
    let mut faults = Vec::new();
    let length = request.prompt.chars().count();
    if request.prompt.trim().is_empty() {
        faults.push(fault("/prompt", "nothing is asked", "a text that says what is to be answered"));
    } else if length > LONGEST_PROMPT {
        let expected = format!("{LONGEST_PROMPT} characters at most");
        faults.push(fault("/prompt", format!("it has {length} characters"), &expected));
    }
    if let Some(key) = &request.dedup_key
        && (key.is_empty() || key.len() > MAX_DEDUP_KEY)
    {
        let detail = format!("the key has {} bytes", key.len());
        faults.push(fault("/dedup_key", detail, &format!("1 to {MAX_DEDUP_KEY} bytes")));
    }
    let texts = json!({
        "prompt": request.prompt,
        "response_schema": request.response_schema,
        "assigned_to": request.assigned_to,
        "assigned_role": request.assigned_role,
        "dedup_key": request.dedup_key,
    });
    if let Some((pointer, detail)) = nul_fault(&texts) {
        faults.push(fault(&pointer, detail, "a text without U+0000"));
    }
    faults
}

/// The JSON schema of an answer: as it is given, or made of a map of parameters, which has no type of its own.
fn schema(given: &Value) -> Result<Value, Vec<ProblemItem>> {
    const AT: &str = "/response_schema";
    let item = |problem: SchemaProblem| ProblemItem {
        detail: problem.message,
        pointer: Some(format!("{AT}{}", problem.pointer)),
        suggestion: problem.suggestion,
        ..ProblemItem::default()
    };
    let Value::Object(members) = given else {
        let expected = "a map from name to specification, or a JSON schema with a `type`";
        return Err(vec![fault(AT, "it is no object", expected)]);
    };
    if matches!(members.get("type"), Some(Value::String(_) | Value::Array(_))) {
        ParameterSchema::compile(given).map_err(|problem| vec![item(problem)])?;
        return Ok(given.clone());
    }
    let problems = check_parameters(members);
    if problems.is_empty() {
        Ok(to_json_schema(members))
    } else {
        Err(problems.into_iter().map(item).collect())
    }
}

/// An answer as it is kept, with the defaults of what was left out, when it is one that the inquiry asks for.
pub(crate) fn answer(inquiry: &Inquiry, given: Value) -> Result<Value, ApiError> {
    let schema = ParameterSchema::compile(&inquiry.response_schema).map_err(|problem| {
        ApiError::internal(format!("the schema of inquiry {} is broken: {problem}", inquiry.id))
    })?;
    let response = if given.is_object() { schema.with_defaults(given) } else { given };
    schema.validate(&response).map_err(|violations| {
        let items = violations.into_iter().map(|violation| ProblemItem {
            detail: violation.message,
            pointer: Some(format!("/response{}", violation.pointer)),
            ..ProblemItem::default()
        });
        let detail = format!("this is no answer to inquiry {}; it still waits for one", inquiry.id);
        ApiError::invalid(detail, items.collect())
    })?;
    Ok(response)
}

fn fault(pointer: &str, detail: impl Into<String>, expected: &str) -> ProblemItem {
    ProblemItem {
        detail: detail.into(),
        pointer: Some(pointer.to_owned()),
        expected: Some(expected.to_owned()),
        ..ProblemItem::default()
    }
}

fn unknown(pointer: &str, detail: &str, given: &str, known: &[String]) -> ProblemItem {
    ProblemItem {
        detail: detail.to_owned(),
        pointer: Some(pointer.to_owned()),
        suggestion: nearest(given, known.iter().map(String::as_str)).map(str::to_owned),
        ..ProblemItem::default()
    }
}
