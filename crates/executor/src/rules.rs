//! The rules in memory, which the passes of one executor share.

use attune_common::error::Result;
use sqlx::PgConnection;
use tokio::sync::{RwLock, RwLockReadGuard};

use crate::snapshot::RuleSnapshot;

/// One reading of the rules for all passes.
///
/// Who waits for it must not hold what another pass may wait for while it holds a reading: the state of a window above all.
#[derive(Debug, Default)]
pub(crate) struct SharedRules {
    snapshot: RwLock<RuleSnapshot>,
}

impl SharedRules {
    /// The rules as of this version or later.
    pub(crate) async fn in_force(
        &self,
        version: i64,
        connection: &mut PgConnection,
    ) -> Result<RwLockReadGuard<'_, RuleSnapshot>> {
        let known = self.snapshot.read().await;
        if known.version() >= version {
            return Ok(known);
        }
        drop(known);
        let mut known = self.snapshot.write().await;
        // Another pass may have read them meanwhile.
        if known.version() < version {
            known.reload(connection).await?;
        }
        Ok(known.downgrade())
    }

    /// Makes the next pass read the rules again, whatever their version.
    pub(crate) async fn outdate(&self) {
        self.snapshot.write().await.outdate();
    }
}
