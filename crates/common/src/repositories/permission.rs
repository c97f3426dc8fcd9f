//! Permission sets and who holds them. Writes `attune.permission_set` and `attune.permission_assignment`.

use sqlx::PgExecutor;
use sqlx::types::Json;

use super::{by_id, by_ref, owned_by_pack};
use crate::error::{Result, StoreError};
use crate::models::identity::{Grant, NewPermissionSet, PermissionSet};

/// Functions about `attune.permission_set`.
#[derive(Debug)]
pub struct PermissionRepository;

by_id!(PermissionRepository, PermissionSet, "permission set", "attune.permission_set", order "ref");
by_ref!(PermissionRepository, PermissionSet, "permission set", "attune.permission_set");
owned_by_pack!(PermissionRepository, PermissionSet, "attune.permission_set");

impl PermissionRepository {
    /// Makes a permission set of a pack or brings it to this definition; its assignments stay.
    pub async fn put(
        executor: impl PgExecutor<'_>,
        pack: i64,
        new: &NewPermissionSet,
    ) -> Result<PermissionSet> {
        let row = sqlx::query_as(
            "insert into attune.permission_set (ref, pack, pack_ref, label, description, grants)
             values ($1, $2, (select ref from attune.pack where id = $2), $3, $4, $5)
             on conflict on constraint permission_set_ref_key do update
             set pack = excluded.pack, pack_ref = excluded.pack_ref, label = excluded.label,
                 description = excluded.description, grants = excluded.grants
             returning *",
        )
        .bind(&new.r#ref)
        .bind(pack)
        .bind(&new.label)
        .bind(&new.description)
        .bind(Json(&new.grants))
        .fetch_one(executor)
        .await
        .map_err(|error| StoreError::about(error, new))?;
        Ok(row)
    }

    /// Gives a permission set to an identity; doing so twice is doing so once.
    pub async fn assign(executor: impl PgExecutor<'_>, identity: i64, permission_set: i64) -> Result<()> {
        sqlx::query(
            "insert into attune.permission_assignment (identity, permission_set)
             values ($1, $2)
             on conflict on constraint permission_assignment_key do nothing",
        )
        .bind(identity)
        .bind(permission_set)
        .execute(executor)
        .await?;
        Ok(())
    }

    /// Everything that an identity is granted, by all its sets.
    pub async fn grants_of(executor: impl PgExecutor<'_>, identity: i64) -> Result<Vec<Grant>> {
        let sets: Vec<Json<Vec<Grant>>> = sqlx::query_scalar(
            "select permission_set.grants
             from attune.permission_assignment assignment
             join attune.permission_set on permission_set.id = assignment.permission_set
             where assignment.identity = $1
             order by permission_set.ref",
        )
        .bind(identity)
        .fetch_all(executor)
        .await?;
        Ok(sets.into_iter().flat_map(|set| set.0).collect())
    }
}
