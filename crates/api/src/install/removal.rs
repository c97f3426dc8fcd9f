//! Removing packs.

use std::collections::{BTreeMap, BTreeSet};

use attune_common::bus::{Bus, Topic};
use attune_common::error::StoreError;
use attune_common::models::pack::Pack;
use attune_common::repositories::{PackRepository, RuleSetRepository};
use sqlx::{PgConnection, PgPool};

/// What becomes of what uses a pack that is to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Uses {
    /// The pack stays.
    #[default]
    Refuse,
    /// It is left without what it uses: rules do not fire and actions do not run until the pack is there again.
    Leave,
    /// Packs that use it, or need it, are removed with it.
    Cascade,
}

/// Removes a pack with all that it defines, in one transaction. Refused for what ships with Attune, and while others use
/// something of it or need it, unless `uses` says what is to become of these. Gives the refs of the packs that are gone.
pub async fn remove(
    pool: &PgPool,
    bus: &Bus,
    pack_ref: &str,
    uses: Uses,
) -> Result<Vec<String>, RemoveError> {
    let mut transaction = attune_common::db::begin(pool).await?;
    PackRepository::take_turn(&mut transaction).await?;
    let pack = PackRepository::get_by_ref(&mut *transaction, pack_ref).await?;
    let all = PackRepository::list(&mut *transaction).await?;
    let mut gone = vec![pack];
    if uses == Uses::Cascade {
        add_dependents(&mut transaction, &all, &mut gone).await?;
    }
    let blocking = match uses {
        Uses::Leave => Vec::new(),
        Uses::Refuse | Uses::Cascade => blocking(&mut transaction, &all, &gone).await?,
    };
    if let Some(standard) = gone.iter().find(|pack| pack.is_standard) {
        return Err(RemoveError::Standard { pack_ref: standard.r#ref.clone(), uses: blocking });
    }
    if !blocking.is_empty() {
        return Err(RemoveError::InUse { pack_ref: pack_ref.to_owned(), uses: blocking });
    }
    // Who uses something goes before what it uses.
    for pack in gone.iter().rev() {
        PackRepository::delete(&mut *transaction, pack.id).await?;
    }
    RuleSetRepository::raise_version(&mut *transaction).await?;
    transaction.commit().await?;
    bus.wake(Topic::Definition);
    let gone: Vec<String> = gone.into_iter().map(|pack| pack.r#ref).collect();
    tracing::info!(packs = gone.join(", "), "pack removed");
    Ok(gone)
}

/// Adds the packs that use, or need, one that goes, and those that use these.
async fn add_dependents(
    connection: &mut PgConnection,
    all: &[Pack],
    gone: &mut Vec<Pack>,
) -> Result<(), StoreError> {
    let mut at = 0;
    while at < gone.len() {
        let (id, name) = (gone[at].id, gone[at].r#ref.clone());
        let users: BTreeSet<String> = PackRepository::dependents(&mut *connection, id, &[])
            .await?
            .into_iter()
            .filter_map(|dependent| dependent.pack_ref)
            .collect();
        for pack in all {
            let uses = users.contains(&pack.r#ref) || pack.dependencies.contains_key(&name);
            if uses && !gone.iter().any(|known| known.id == pack.id) {
                gone.push(pack.clone());
            }
        }
        at += 1;
    }
    Ok(())
}

/// What stays and uses, or needs, something that goes, in words.
async fn blocking(
    connection: &mut PgConnection,
    all: &[Pack],
    gone: &[Pack],
) -> Result<Vec<String>, StoreError> {
    let goes = |name: &str| gone.iter().any(|pack| pack.r#ref == name);
    let mut uses: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pack in gone {
        let dependents = PackRepository::dependents(&mut *connection, pack.id, &[]).await?;
        for dependent in dependents.into_iter().filter(|d| !d.pack_ref.as_deref().is_some_and(goes)) {
            let user = format!("{} {}", dependent.entity, dependent.r#ref);
            uses.entry(user).or_default().push(format!("{} {}", dependent.target_entity, dependent.target));
        }
    }
    let mut told: Vec<String> =
        uses.into_iter().map(|(user, targets)| format!("{user} uses {}", targets.join(" and "))).collect();
    for pack in all.iter().filter(|pack| !goes(&pack.r#ref)) {
        let needed = pack.dependencies.iter().filter(|(name, _)| goes(name));
        told.extend(needed.map(|(name, range)| format!("pack {} needs {name} {range}", pack.r#ref)));
    }
    Ok(told)
}

/// Why a pack was not removed. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    #[error("pack {pack_ref} ships with attune and cannot be removed")]
    Standard { pack_ref: String, uses: Vec<String> },
    #[error("pack {pack_ref} is in use; remove what uses it first")]
    InUse { pack_ref: String, uses: Vec<String> },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for RemoveError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}
