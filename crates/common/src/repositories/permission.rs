//! Permission sets and who holds them. Writes `attune.permission_set` and `attune.permission_assignment`.

use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor};

use super::{by_id, by_ref, owned_by_pack, updates};
use crate::error::{Result, StoreError};
use crate::models::identity::{
    Grant, NewPermissionSet, PermissionAssignment, PermissionSet, PermissionSetUpdate,
};

/// Functions about `attune.permission_set`.
#[derive(Debug)]
pub struct PermissionRepository;

by_id!(PermissionRepository, PermissionSet, "permission set", "attune.permission_set", order "ref");
updates!(PermissionRepository, PermissionSet, "permission set");
by_ref!(PermissionRepository, PermissionSet, "permission set", "attune.permission_set");
owned_by_pack!(PermissionRepository, PermissionSet, "attune.permission_set");

impl PermissionRepository {
    /// Makes a permission set, of a pack or on its own.
    pub async fn create(
        executor: impl PgExecutor<'_>,
        pack: Option<i64>,
        new: &NewPermissionSet,
    ) -> Result<PermissionSet> {
        let row = sqlx::query_as(
            "insert into attune.permission_set (ref, pack, pack_ref, label, description, grants)
             values ($1, $2, (select ref from attune.pack where id = $2), $3, $4, $5)
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

    /// Changes a permission set, and with its grants what all who hold it may do; None leaves a column as it is.
    pub async fn update(
        connection: &mut PgConnection,
        id: i64,
        update: &PermissionSetUpdate,
    ) -> Result<PermissionSet> {
        let changed = sqlx::query_as(
            "update attune.permission_set
             set label = coalesce($2, label), description = coalesce($3, description),
                 grants = coalesce($4, grants)
             where id = $1 and ($5::timestamptz is null or updated = $5)
             returning *",
        )
        .bind(id)
        .bind(&update.label)
        .bind(&update.description)
        .bind(update.grants.as_ref().map(Json))
        .bind(update.unchanged_since)
        .fetch_optional(&mut *connection)
        .await
        .map_err(|error| StoreError::about(error, update))?;
        Self::changed_or_refused(connection, id, changed).await
    }

    /// Gives a permission set to an identity; doing so twice is doing so once.
    pub async fn assign(
        executor: impl PgExecutor<'_>,
        identity: i64,
        permission_set: i64,
    ) -> Result<PermissionAssignment> {
        let row = sqlx::query_as(
            "insert into attune.permission_assignment (identity, permission_set)
             values ($1, $2)
             on conflict on constraint permission_assignment_key do update
             -- The same again: only so is an existing row given back.
             set identity = excluded.identity
             returning *",
        )
        .bind(identity)
        .bind(permission_set)
        .fetch_one(executor)
        .await?;
        Ok(row)
    }

    /// Takes a permission set from an identity; false when it did not hold it.
    pub async fn unassign(executor: impl PgExecutor<'_>, identity: i64, permission_set: i64) -> Result<bool> {
        let done = sqlx::query(
            "delete from attune.permission_assignment where identity = $1 and permission_set = $2",
        )
        .bind(identity)
        .bind(permission_set)
        .execute(executor)
        .await?;
        Ok(done.rows_affected() > 0)
    }

    /// What an identity holds, in the order of the assignments.
    pub async fn assignments_of_identity(
        executor: impl PgExecutor<'_>,
        identity: i64,
    ) -> Result<Vec<PermissionAssignment>> {
        let rows = sqlx::query_as(
            "select * from attune.permission_assignment where identity = $1 order by id limit 1000",
        )
        .bind(identity)
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// Who holds a permission set, in the order of the assignments.
    pub async fn assignments_of_set(
        executor: impl PgExecutor<'_>,
        permission_set: i64,
    ) -> Result<Vec<PermissionAssignment>> {
        let rows = sqlx::query_as(
            "select * from attune.permission_assignment where permission_set = $1 order by id limit 1000",
        )
        .bind(permission_set)
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// The permission sets that an identity holds, by ref.
    pub async fn sets_of(executor: impl PgExecutor<'_>, identity: i64) -> Result<Vec<PermissionSet>> {
        let rows = sqlx::query_as(
            "select permission_set.*
             from attune.permission_assignment assignment
             join attune.permission_set on permission_set.id = assignment.permission_set
             where assignment.identity = $1
             order by permission_set.ref
             limit 1000",
        )
        .bind(identity)
        .fetch_all(executor)
        .await?;
        Ok(rows)
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
