//! Hides what is secret among what a run was given in what it says of itself here, which its worker does not see.

use attune_common::models::acting_run::ActingRun;
use attune_common::repositories::{ActingRunRepository, KeyRepository};
use attune_expr::key_marks::KeyMarks;
use attune_expr::masking::Masker;
use attune_expr::schema::secret_texts;

use crate::auth::Caller;
use crate::error::ApiError;
use crate::state::AppState;

/// Hides what the run of the caller must not say, if it is one; nothing for an identity, which was given no secrets.
pub(crate) async fn masker_of_caller(state: &AppState, caller: &Caller) -> Result<Masker, ApiError> {
    match caller.run() {
        Some(run) => masker_of(state, run).await,
        None => Ok(Masker::nothing()),
    }
}

/// Whether there is something in the text that has to be hidden, where nothing else can stand in its place.
pub(crate) fn has_secret(masker: &Masker, text: &str) -> bool {
    masker.text(text) != text
}

/// Hides the values of the secret keys that the parameters or the action name, and what the schema of the action calls secret.
pub(crate) async fn masker_of(state: &AppState, run: &ActingRun) -> Result<Masker, ApiError> {
    if !run.has_secrets {
        return Ok(Masker::nothing());
    }
    let Some(secrets) = ActingRunRepository::secrets(&state.pool, run.execution).await? else {
        return Ok(Masker::nothing());
    };
    let (mut texts, mut parameters) = (Vec::new(), secrets.config);
    if let Some(keyed) = secrets.keyed {
        let marks = KeyMarks::new(&keyed.nonce);
        let mut values = std::collections::BTreeMap::new();
        for key_ref in marks.keys_in(&keyed.parameters) {
            // One that was removed since is known to nobody any more.
            let Some(sealed) = KeyRepository::find_sealed(&state.pool, &key_ref).await? else { continue };
            let value = state.vault.reveal_sealed(&sealed)?;
            if sealed.secret {
                texts.push(value.clone());
            }
            values.insert(key_ref, value);
        }
        let mut value_of = |key_ref: &str| values.get(key_ref).cloned().unwrap_or_default();
        parameters = marks.replace(keyed.parameters, &mut value_of);
    }
    let refs: Vec<&str> = secrets.keys.iter().map(|key| key.key_ref.as_str()).collect();
    if !refs.is_empty() {
        let sealed = KeyRepository::list_sealed(&state.pool, &refs).await?;
        for sealed in sealed.iter().filter(|sealed| sealed.secret) {
            texts.push(state.vault.reveal_sealed(sealed)?);
        }
    }
    if let Some(schema) = &secrets.param_schema {
        texts.extend(secret_texts(&parameters, schema));
    }
    Ok(Masker::of(texts.iter().map(String::as_str)))
}
