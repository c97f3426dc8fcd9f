//! Who asks: bearer tokens to principals.
//!
//! Three kinds of token: those of identities, whose hashes are in the database; those of runs, which say themselves which
//! attempt they belong to ([`attune_common::run_token`]) and are valid while it runs; and those of sensors, which say which of
//! their processes they belong to ([`attune_common::sensor_token`]). A run may do what its action declares, and what is about
//! itself ([`Caller::require_own`]); a sensor what it declares.

use attune_common::auth::token_hash;
use attune_common::models::acting_run::ActingRun;
use attune_common::models::acting_sensor::ActingSensor;
use attune_common::models::identity::{Principal, Scope, Subject};
use attune_common::repositories::{ActingRunRepository, SensorRepository, TokenRepository};
use attune_common::{run_token, sensor_token};
use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use chrono::Utc;

use crate::error::ApiError;
use crate::state::AppState;

/// The one who sent the request, signed in.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) principal: Principal,
    pub(crate) credential: Credential,
}

/// What the caller signed in with.
#[derive(Debug, Clone)]
pub(crate) enum Credential {
    /// The hash of the token of an identity.
    Token(Vec<u8>),
    /// The token of a run.
    Run(ActingRun),
    /// The token of a sensor.
    Sensor(ActingSensor),
}

impl Caller {
    /// Refuses with 403 unless the action is granted on everything of the resource.
    pub(crate) fn require(&self, resource: &str, action: &str) -> Result<(), ApiError> {
        match self.principal.scope(resource, action) {
            Some(Scope::Everything) => Ok(()),
            Some(Scope::Some(..)) => Err(ApiError::out_of_reach(resource, action, None)),
            None => Err(self.refusal(resource, action)),
        }
    }

    /// Refuses with 403 unless the action is granted on something of the resource at least, and gives what that is: for what
    /// the request is about has to be found first, or a list narrowed.
    pub(crate) fn require_some(&self, resource: &str, action: &str) -> Result<Scope, ApiError> {
        self.principal.scope(resource, action).ok_or_else(|| self.refusal(resource, action))
    }

    /// Refuses with 403 unless the action is granted on this.
    pub(crate) fn require_for(
        &self,
        resource: &str,
        action: &str,
        subject: &Subject<'_>,
    ) -> Result<(), ApiError> {
        if self.require_some(resource, action)?.holds(subject) {
            return Ok(());
        }
        Err(ApiError::out_of_reach(resource, action, Some(subject.r#ref)))
    }

    fn refusal(&self, resource: &str, action: &str) -> ApiError {
        match &self.credential {
            Credential::Token(_) => ApiError::forbidden(resource, action),
            Credential::Run(run) => {
                ApiError::not_declared(&format!("runs of {}", run.action_ref), resource, action)
            }
            Credential::Sensor(sensor) => {
                ApiError::not_declared(&format!("the {}", sensor.name()), resource, action)
            }
        }
    }

    /// Whether the execution is the one that asks.
    pub(crate) fn is(&self, execution: i64) -> bool {
        self.run().is_some_and(|run| run.execution == execution)
    }

    /// Refuses with 403 unless the execution is the caller's own, or the action is granted on something of the resource at
    /// least, and gives what that is.
    pub(crate) fn require_own(
        &self,
        execution: i64,
        resource: &str,
        action: &str,
    ) -> Result<Scope, ApiError> {
        if self.is(execution) { Ok(Scope::Everything) } else { self.require_some(resource, action) }
    }

    /// The run that asks, if it is one.
    pub(crate) fn run(&self) -> Option<&ActingRun> {
        match &self.credential {
            Credential::Run(run) => Some(run),
            Credential::Token(_) | Credential::Sensor(_) => None,
        }
    }

    /// The sensor that asks, if it is one.
    pub(crate) fn sensor(&self) -> Option<&ActingSensor> {
        match &self.credential {
            Credential::Sensor(sensor) => Some(sensor),
            Credential::Token(_) | Credential::Run(_) => None,
        }
    }
}

impl Caller {
    /// Who sends a request with these headers.
    pub(crate) async fn of(state: &AppState, headers: &HeaderMap) -> Result<Self, ApiError> {
        let token = bearer(headers)?;
        if token.starts_with(run_token::PREFIX) {
            run(state, token).await
        } else if token.starts_with(sensor_token::PREFIX) {
            sensor(state, token).await
        } else {
            identity(state, token).await
        }
    }
}

impl FromRequestParts<AppState> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Self::Rejection> {
        Self::of(state, &parts.headers).await
    }
}

fn bearer(headers: &HeaderMap) -> Result<&str, ApiError> {
    let value = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    value.and_then(|value| value.strip_prefix("Bearer ")).map(str::trim).ok_or_else(|| {
        ApiError::unauthenticated("send a token as `Authorization: Bearer ...`; `attune login` gets one")
    })
}

async fn identity(state: &AppState, token: &str) -> Result<Caller, ApiError> {
    let hash = token_hash(token);
    let mut connection = state.pool.acquire().await?;
    let principal = TokenRepository::principal(&mut connection, &hash).await?.ok_or_else(|| {
        ApiError::unauthenticated("the token is not known or has expired; `attune login` gets one")
    })?;
    Ok(Caller { principal, credential: Credential::Token(hash) })
}

/// The database is asked only about a token that Attune made.
async fn run(state: &AppState, token: &str) -> Result<Caller, ApiError> {
    let token = state
        .run_tokens
        .check(token, Utc::now())
        .map_err(|error| ApiError::unauthenticated(error.to_string()))?;
    let run = ActingRunRepository::find(&state.pool, token.execution, token.attempt).await?;
    let run = run.ok_or_else(|| {
        ApiError::unauthenticated(format!(
            "attempt {} of execution {} does not run any more; the token of a run ends with its attempt",
            token.attempt, token.execution
        ))
    })?;
    Ok(Caller { principal: run.principal(), credential: Credential::Run(run) })
}

/// The database is asked only about a token that Attune made.
async fn sensor(state: &AppState, token: &str) -> Result<Caller, ApiError> {
    let token = state.sensor_tokens.check(token).ok_or_else(|| {
        ApiError::unauthenticated("the token is not one that this Attune made for a sensor")
    })?;
    let sensor = SensorRepository::find_acting(&state.pool, token.sensor, token.life).await?;
    let sensor = sensor.ok_or_else(|| {
        ApiError::unauthenticated(
            "the process that the token was made for does not run any more; the token of a sensor ends with its process",
        )
    })?;
    Ok(Caller { principal: sensor.principal(), credential: Credential::Sensor(sensor) })
}
