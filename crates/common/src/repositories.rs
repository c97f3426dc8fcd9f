//! Every statement that Attune sends to PostgreSQL about its own schema. One module writes a table.
//!
//! A repository is a name for the functions about one table; it holds nothing. Each function takes what it runs on (a
//! pool, a connection, a transaction) first. Writers are plural where work comes in batches; the single form calls the
//! plural one.

mod acting_run;
mod action;
mod admission;
mod artifact;
mod audit;
mod change;
mod data_key;
mod enforcement;
mod event;
mod execution;
mod execution_output;
mod identity;
mod inquiry;
mod internal_event;
mod key;
mod notification;
mod pack;
mod pause;
mod permission;
mod placement;
mod policy;
mod progress;
mod reach;
mod retention;
mod rule;
mod rule_set;
mod runtime;
mod sensor;
mod size;
mod token;
mod transaction;
mod trigger;
mod window;
mod work_item;
mod work_queue;
mod worker;
mod workflow_definition;
mod workflow_state;

pub use acting_run::ActingRunRepository;
pub use action::ActionRepository;
pub use admission::{AdmissionRepository, Taken};
pub use artifact::{ArtifactRepository, CHUNK as ARTIFACT_CHUNK};
pub use audit::AuditRepository;
pub use change::{Change, ChangeCursor, ChangeRepository};
pub use data_key::DataKeyRepository;
pub use enforcement::EnforcementRepository;
pub use event::EventRepository;
pub use execution::ExecutionRepository;
pub use execution_output::ExecutionOutputRepository;
pub use identity::IdentityRepository;
pub use inquiry::{InquiryRepository, IsNew, RespondError};
pub use internal_event::InternalEventRepository;
pub(crate) use key::DATA_KEY;
pub use key::KeyRepository;
pub use notification::NotificationRepository;
pub use pack::PackRepository;
pub use pause::PauseRepository;
pub use permission::PermissionRepository;
pub use placement::PlacementRepository;
pub use policy::PolicyRepository;
pub use progress::ProgressRepository;
pub use reach::ReachRepository;
pub use rule::RuleRepository;
pub use rule_set::RuleSetRepository;
pub use runtime::RuntimeRepository;
pub use sensor::SensorRepository;
pub use size::{OldestRow, SizeRepository, TableSpace};
pub use token::TokenRepository;
pub use transaction::{TransactionId, TransactionOutcome, TransactionRepository};
pub use trigger::TriggerRepository;
pub use window::WindowRepository;
pub use work_item::WorkItemRepository;
pub use work_queue::WorkQueueRepository;
pub use worker::WorkerRepository;
pub use workflow_definition::WorkflowDefinitionRepository;
pub use workflow_state::{WorkflowStateRepository, WorkflowTaskRepository};

/// The longest list that is given without a cursor.
pub const LIST_LIMIT: i64 = 1000;

/// The functions that every table with an id has: `table_name`, `find_by_id`, `get_by_id`, `list`, `delete`. With `read`
/// in front, all but `delete`, for a repository with more to do then. With `judged` in front, for what rules are judged
/// with: `delete` also raises the version of the rule set, in the same statement. With `signalled`, `delete` tells
/// those who hold definitions to look. The list has an `order`, or is of the `newest`.
macro_rules! by_id {
    (judged $repository:ident, $row:ty, $entity:literal, $table:literal, order $order:literal) => {
        $crate::repositories::by_id!(read $repository, $row, $entity, $table, order $order);

        impl $repository {
            /// Removes the row and raises the version of the rule set; false when there was none.
            pub async fn delete<'e>(
                executor: impl sqlx::PgExecutor<'e>,
                id: i64,
            ) -> $crate::error::Result<bool> {
                let removed: Option<i64> = sqlx::query_scalar(concat!(
                    "with removed as (
                         delete from ", $table, " where id = $1 returning id
                     ),
                     raised as (
                         update attune.rule_set
                         set version = version + 1
                         where exists (select from removed)
                         returning pg_notify('attune_definition', '')
                     )
                     select id from removed"
                ))
                .bind(id)
                .fetch_optional(executor)
                .await?;
                Ok(removed.is_some())
            }
        }
    };
    (signalled $repository:ident, $row:ty, $entity:literal, $table:literal, order $order:literal) => {
        $crate::repositories::by_id!(read $repository, $row, $entity, $table, order $order);

        impl $repository {
            /// Removes the row and signals that; false when there was none.
            pub async fn delete<'e>(
                executor: impl sqlx::PgExecutor<'e>,
                id: i64,
            ) -> $crate::error::Result<bool> {
                let removed: Option<i64> = sqlx::query_scalar(concat!(
                    "with removed as (
                         delete from ", $table, " where id = $1 returning id
                     )
                     select id from removed where pg_notify('attune_definition', '') is not null"
                ))
                .bind(id)
                .fetch_optional(executor)
                .await?;
                Ok(removed.is_some())
            }
        }
    };
    (read $repository:ident, $row:ty, $entity:literal, $table:literal, newest) => {
        $crate::repositories::by_id!(
            found $repository, $row, $entity, $table,
            // By the key, whose order is that of time but for moments: no index has the time.
            list concat!(
                "select * from (select * from ", $table, " order by id desc limit 1000) newest
                 order by created desc, id desc"
            )
        );
    };
    (read $repository:ident, $row:ty, $entity:literal, $table:literal, order $order:literal) => {
        $crate::repositories::by_id!(
            found $repository, $row, $entity, $table,
            list concat!("select * from ", $table, " order by ", $order, " limit 1000")
        );
    };
    (found $repository:ident, $row:ty, $entity:literal, $table:literal, list $list:expr) => {
        impl $repository {
            /// The table, with its schema.
            pub const fn table_name() -> &'static str {
                $table
            }

            /// The row with this id, if there is one.
            pub async fn find_by_id<'e>(
                executor: impl sqlx::PgExecutor<'e>,
                id: i64,
            ) -> $crate::error::Result<Option<$row>> {
                let row = sqlx::query_as(concat!("select * from ", $table, " where id = $1"))
                    .bind(id)
                    .fetch_optional(executor)
                    .await?;
                Ok(row)
            }

            /// The row with this id; NotFound without one.
            pub async fn get_by_id<'e>(
                executor: impl sqlx::PgExecutor<'e>,
                id: i64,
            ) -> $crate::error::Result<$row> {
                Self::find_by_id(executor, id)
                    .await?
                    .ok_or_else(|| $crate::error::StoreError::not_found($entity, id))
            }

            /// At most [`LIST_LIMIT`](super::LIST_LIMIT) rows in a stable order.
            pub async fn list<'e>(executor: impl sqlx::PgExecutor<'e>) -> $crate::error::Result<Vec<$row>> {
                let rows = sqlx::query_as($list).fetch_all(executor).await?;
                Ok(rows)
            }
        }
    };
    ($repository:ident, $row:ty, $entity:literal, $table:literal, $($list:tt)+) => {
        $crate::repositories::by_id!(read $repository, $row, $entity, $table, $($list)+);

        impl $repository {
            /// Removes the row; false when there was none.
            pub async fn delete<'e>(
                executor: impl sqlx::PgExecutor<'e>,
                id: i64,
            ) -> $crate::error::Result<bool> {
                let done = sqlx::query(concat!("delete from ", $table, " where id = $1"))
                    .bind(id)
                    .execute(executor)
                    .await?;
                Ok(done.rows_affected() > 0)
            }
        }
    };
}

/// A common table expression of this name whose greatest `low` is the first id of the table from this moment on, as ids are drawn in
/// the order of time: sought by halves, since no index has the time. To be used after `with recursive`.
macro_rules! first_id_since {
    ($name:literal, $table:literal, $moment:literal) => {
        concat!(
            $name,
            " (low, high) as (
                 (select min(id), max(id) + 1 from ",
            $table,
            ")
                 union all
                 select case when probe.created < ",
            $moment,
            " then probe.id + 1 else seeking.low end,
                        case when probe.created < ",
            $moment,
            " then seeking.high else (seeking.low + seeking.high) / 2 end
                 from ",
            $name,
            " seeking
                 left join lateral (
                     select id, created from ",
            $table,
            " where id >= (seeking.low + seeking.high) / 2 order by id limit 1
                 ) probe on true
                 where seeking.low < seeking.high
             )"
        )
    };
}

/// What an `update` ends with: the row, or why nothing was changed.
///
/// An update is one statement that also compares `updated` with the caller's `unchanged_since`, where one is given.
macro_rules! updates {
    ($repository:ident, $row:ty, $entity:literal) => {
        impl $repository {
            /// The changed row. Without one: NotFound, or Conflict when the row is there but is not what the caller saw.
            async fn changed_or_refused<'e>(
                executor: impl sqlx::PgExecutor<'e>,
                id: i64,
                changed: Option<$row>,
            ) -> $crate::error::Result<$row> {
                if let Some(row) = changed {
                    return Ok(row);
                }
                Self::get_by_id(executor, id).await?;
                Err($crate::error::StoreError::Conflict { entity: $entity, key: id.to_string() })
            }
        }
    };
}

/// The functions that every table with a ref has: `find_by_ref`, `get_by_ref`, `list_by_refs`, `refs`.
macro_rules! by_ref {
    ($repository:ident, $row:ty, $entity:literal, $table:literal) => {
        impl $repository {
            /// The row with this ref, if there is one.
            pub async fn find_by_ref<'e>(
                executor: impl sqlx::PgExecutor<'e>,
                r#ref: &str,
            ) -> $crate::error::Result<Option<$row>> {
                let row = sqlx::query_as(concat!("select * from ", $table, " where ref = $1"))
                    .bind(r#ref)
                    .fetch_optional(executor)
                    .await?;
                Ok(row)
            }

            /// The row with this ref; NotFound without one.
            pub async fn get_by_ref<'e>(
                executor: impl sqlx::PgExecutor<'e>,
                r#ref: &str,
            ) -> $crate::error::Result<$row> {
                Self::find_by_ref(executor, r#ref)
                    .await?
                    .ok_or_else(|| $crate::error::StoreError::not_found($entity, r#ref))
            }

            /// The rows with these refs that there are, by ref.
            pub async fn list_by_refs<'e>(
                executor: impl sqlx::PgExecutor<'e>,
                refs: &[String],
            ) -> $crate::error::Result<Vec<$row>> {
                let rows =
                    sqlx::query_as(concat!("select * from ", $table, " where ref = any($1) order by ref"))
                        .bind(refs)
                        .fetch_all(executor)
                        .await?;
                Ok(rows)
            }

            /// Every ref there is, in alphabetical order.
            pub async fn refs<'e>(executor: impl sqlx::PgExecutor<'e>) -> $crate::error::Result<Vec<String>> {
                let refs = sqlx::query_scalar(concat!("select ref from ", $table, " order by ref"))
                    .fetch_all(executor)
                    .await?;
                Ok(refs)
            }
        }
    };
}

/// The functions of what packs own: `list_of_pack`, `foreign_refs` (what belongs to somebody else), `remove_others` (what
/// an upgrade no longer contains). With `read` in front, all but `remove_others`; with `judged`, that raises the version
/// of the rule set, in the same statement.
macro_rules! owned_by_pack {
    (read $repository:ident, $row:ty, $table:literal) => {
        impl $repository {
            /// What the pack owns, by ref.
            pub async fn list_of_pack<'e>(
                executor: impl sqlx::PgExecutor<'e>,
                pack: i64,
            ) -> $crate::error::Result<Vec<$row>> {
                let rows = sqlx::query_as(concat!("select * from ", $table, " where pack = $1 order by ref"))
                    .bind(pack)
                    .fetch_all(executor)
                    .await?;
                Ok(rows)
            }

            /// Which of these refs exist, but not as the pack's.
            pub async fn foreign_refs<'e>(
                executor: impl sqlx::PgExecutor<'e>,
                pack: i64,
                refs: &[String],
            ) -> $crate::error::Result<Vec<String>> {
                let refs = sqlx::query_scalar(concat!(
                    "select ref from ",
                    $table,
                    " where ref = any($2) and pack is distinct from $1 order by ref"
                ))
                .bind(pack)
                .bind(refs)
                .fetch_all(executor)
                .await?;
                Ok(refs)
            }
        }
    };
    (judged $repository:ident, $row:ty, $table:literal) => {
        $crate::repositories::owned_by_pack!(read $repository, $row, $table);

        impl $repository {
            /// Removes what the pack owned and no longer contains, and raises the version of the rule set if that was
            /// anything; gives back how many.
            pub async fn remove_others<'e>(
                executor: impl sqlx::PgExecutor<'e>,
                pack: i64,
                kept: &[String],
            ) -> $crate::error::Result<u64> {
                let removed: i64 = sqlx::query_scalar(concat!(
                    "with removed as (
                         delete from ", $table, " where pack = $1 and ref <> all($2) returning id
                     ),
                     raised as (
                         update attune.rule_set
                         set version = version + 1
                         where exists (select from removed)
                         returning pg_notify('attune_definition', '')
                     )
                     select count(*) from removed"
                ))
                .bind(pack)
                .bind(kept)
                .fetch_one(executor)
                .await?;
                Ok(removed.unsigned_abs())
            }
        }
    };
    ($repository:ident, $row:ty, $table:literal) => {
        $crate::repositories::owned_by_pack!(read $repository, $row, $table);

        impl $repository {
            /// Removes what the pack owned and no longer contains; gives back how many.
            pub async fn remove_others<'e>(
                executor: impl sqlx::PgExecutor<'e>,
                pack: i64,
                kept: &[String],
            ) -> $crate::error::Result<u64> {
                let done = sqlx::query(concat!("delete from ", $table, " where pack = $1 and ref <> all($2)"))
                    .bind(pack)
                    .bind(kept)
                    .execute(executor)
                    .await?;
                Ok(done.rows_affected())
            }
        }
    };
}

pub(crate) use {by_id, by_ref, first_id_since, owned_by_pack, updates};
