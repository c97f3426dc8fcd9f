//! Workflow definitions. Writes `attune.workflow_definition`.

use sqlx::{PgConnection, PgExecutor};

use super::{by_id, by_ref, owned_by_pack, updates};
use crate::error::{Result, StoreError};
use crate::models::workflow::{NewWorkflowDefinition, WorkflowDefinition, WorkflowDefinitionUpdate};

/// Functions about `attune.workflow_definition`.
#[derive(Debug)]
pub struct WorkflowDefinitionRepository;

by_id!(
    WorkflowDefinitionRepository, WorkflowDefinition, "workflow definition", "attune.workflow_definition", order "ref"
);
updates!(WorkflowDefinitionRepository, WorkflowDefinition, "workflow definition");
by_ref!(
    WorkflowDefinitionRepository,
    WorkflowDefinition,
    "workflow definition",
    "attune.workflow_definition"
);
owned_by_pack!(WorkflowDefinitionRepository, WorkflowDefinition, "attune.workflow_definition");

impl WorkflowDefinitionRepository {
    /// Makes a workflow definition, of a pack or on its own.
    pub async fn create(
        executor: impl PgExecutor<'_>,
        pack: Option<i64>,
        new: &NewWorkflowDefinition,
    ) -> Result<WorkflowDefinition> {
        let row = sqlx::query_as(
            "insert into attune.workflow_definition (ref, pack, pack_ref, action, version, definition)
             values ($1, $2, (select ref from attune.pack where id = $2), $3, $4, $5)
             returning *",
        )
        .bind(&new.r#ref)
        .bind(pack)
        .bind(new.action)
        .bind(&new.version)
        .bind(&new.definition)
        .fetch_one(executor)
        .await
        .map_err(|error| StoreError::about(error, new))?;
        Ok(row)
    }

    /// Makes a workflow definition of a pack or brings it to this one; its id stays. Another definition of the pack that
    /// had the action has none afterwards: an upgrade may rename a definition before it removes the old name.
    pub async fn put(
        executor: impl PgExecutor<'_>,
        pack: i64,
        new: &NewWorkflowDefinition,
    ) -> Result<WorkflowDefinition> {
        let row = sqlx::query_as(
            "with released as (
                 update attune.workflow_definition
                 set action = null
                 where action = $3 and pack = $2 and ref <> $1
                 returning id
             )
             insert into attune.workflow_definition (ref, pack, pack_ref, action, version, definition)
             -- Counted, so that the action is released first.
             select $1, $2, (select ref from attune.pack where id = $2), $3, $4, $5
             from (select count(*) from released) after_release
             on conflict on constraint workflow_definition_ref_key do update
             set pack = excluded.pack, pack_ref = excluded.pack_ref, action = excluded.action,
                 version = excluded.version, definition = excluded.definition
             returning *",
        )
        .bind(&new.r#ref)
        .bind(pack)
        .bind(new.action)
        .bind(&new.version)
        .bind(&new.definition)
        .fetch_one(executor)
        .await
        .map_err(|error| StoreError::about(error, new))?;
        Ok(row)
    }

    /// Changes a workflow definition; None leaves a column as it is.
    pub async fn update(
        connection: &mut PgConnection,
        id: i64,
        update: &WorkflowDefinitionUpdate,
    ) -> Result<WorkflowDefinition> {
        let changed = sqlx::query_as(
            "update attune.workflow_definition
             set action = coalesce($2, action), version = coalesce($3, version),
                 definition = coalesce($4, definition)
             where id = $1 and ($5::timestamptz is null or updated = $5)
             returning *",
        )
        .bind(id)
        .bind(update.action)
        .bind(&update.version)
        .bind(&update.definition)
        .bind(update.unchanged_since)
        .fetch_optional(&mut *connection)
        .await
        .map_err(|error| StoreError::about(error, update))?;
        Self::changed_or_refused(connection, id, changed).await
    }

    /// The definition that is run as this action, if there is one.
    pub async fn find_by_action(
        executor: impl PgExecutor<'_>,
        action: i64,
    ) -> Result<Option<WorkflowDefinition>> {
        let row = sqlx::query_as("select * from attune.workflow_definition where action = $1")
            .bind(action)
            .fetch_optional(executor)
            .await?;
        Ok(row)
    }
}
