//! Where an execution came from, as far as it limits what it may do.

use attune_common::repositories::InternalEventRepository;

use super::{NativeError, Platform};

/// The rule and the depth that an execution inherits, from itself or from the execution that began it.
#[derive(Debug)]
pub(super) struct Origin {
    /// Ref of the pack of the rule; none for what was started by hand.
    pub(super) pack: Option<String>,
    /// How many internal events led to it.
    pub(super) depth: i16,
}

pub(super) async fn of(platform: Platform<'_>) -> Result<Origin, NativeError> {
    let found = InternalEventRepository::origin(platform.pool, platform.execution.id).await?;
    let pack =
        found.rule_ref.as_deref().and_then(|rule| rule.split_once('.')).map(|(pack, _)| pack.to_owned());
    Ok(Origin { pack, depth: found.depth })
}
