//! Inquiries. Writes `attune.inquiry`; each status change stands in the change feed under the name of the action that
//! waits.

use std::time::Duration;

use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, PgExecutor, Row};

use super::{by_id, updates};
use crate::error::{Result, StoreError};
use crate::models::inquiry::{
    Asker, Inquiry, InquiryFilter, InquiryNames, InquiryResponse, InquiryStatus, InquiryUpdate, NewInquiry,
};

/// Functions about `attune.inquiry`.
#[derive(Debug)]
pub struct InquiryRepository;

/// Whether a question was put just now, and not before under the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IsNew(pub bool);

/// Why an answer was not taken.
#[derive(Debug, thiserror::Error)]
pub enum RespondError {
    /// Whoever the execution belongs to may not approve it as well.
    #[error("inquiry {inquiry} must be answered by somebody else than whoever its execution belongs to")]
    SelfApproval { inquiry: i64 },
    /// It came too late, whether or not the inquiry was marked so already.
    #[error("inquiry {inquiry} was not answered in time")]
    TimedOut { inquiry: i64 },
    /// There is no such inquiry, it was answered or cancelled before (Conflict), or the store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for RespondError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

by_id!(InquiryRepository, Inquiry, "inquiry", "attune.inquiry", order "id desc");
updates!(InquiryRepository, Inquiry, "inquiry");

impl InquiryRepository {
    /// Puts a question.
    pub async fn create(executor: impl PgExecutor<'_>, new: &NewInquiry) -> Result<Inquiry> {
        let row = sqlx::query_as(include_str!("inquiry/create.sql"))
            .bind(new.execution)
            .bind(&new.prompt)
            .bind(&new.response_schema)
            .bind(new.assigned_to)
            .bind(&new.assigned_role)
            .bind(new.allow_self_approval)
            .bind(new.timeout.as_ref().map(Duration::as_secs_f64))
            .fetch_one(executor)
            .await
            .map_err(|error| StoreError::about(error, new))?;
        Ok(row)
    }

    /// Puts a question in the name of an attempt, which it ends with; None when the attempt does not run, or is being
    /// cancelled. Asked again under the same key it is the same question, and what is given back says so.
    pub async fn ask(
        executor: impl PgExecutor<'_>,
        asker: &Asker,
        new: &NewInquiry,
    ) -> Result<Option<(Inquiry, IsNew)>> {
        let row: Option<PgRow> = sqlx::query(include_str!("inquiry/ask.sql"))
            .bind(new.execution)
            .bind(asker.attempt)
            .bind(&asker.dedup_key)
            .bind(&new.prompt)
            .bind(&new.response_schema)
            .bind(new.assigned_to)
            .bind(&new.assigned_role)
            .bind(new.allow_self_approval)
            .bind(new.timeout.as_ref().map(Duration::as_secs_f64))
            .fetch_optional(executor)
            .await
            .map_err(|error| StoreError::about(error, new))?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some((Inquiry::from_row(&row)?, IsNew(row.try_get("is_new")?))))
    }

    /// What views call those whom inquiries are about.
    pub async fn names(executor: impl PgExecutor<'_>, ids: &[i64]) -> Result<Vec<InquiryNames>> {
        let rows = sqlx::query_as(
            "select inquiry.id, execution.action_ref, asked.login as assigned_to, responder.login as responded_by
             from attune.inquiry
             join attune.execution on execution.id = inquiry.execution
             left join attune.identity asked on asked.id = inquiry.assigned_to
             left join attune.identity responder on responder.id = inquiry.responded_by
             where inquiry.id = any($1)
             order by inquiry.id",
        )
        .bind(ids)
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// Those of the inquiries that nobody has to wait for any longer: they have ended, or are gone.
    pub async fn ended_of(executor: impl PgExecutor<'_>, ids: &[i64]) -> Result<Vec<i64>> {
        let ended = sqlx::query_scalar(
            "select asked.id
             from unnest($1::bigint[]) as asked (id)
             where not exists (select from attune.inquiry where inquiry.id = asked.id and inquiry.status = 'pending')",
        )
        .bind(ids)
        .fetch_all(executor)
        .await?;
        Ok(ended)
    }

    /// Changes an inquiry that waits; None leaves a column as it is. One that waits no longer stays as it ended: any
    /// change of it is a Conflict.
    pub async fn update(connection: &mut PgConnection, id: i64, update: &InquiryUpdate) -> Result<Inquiry> {
        let changed = sqlx::query_as(
            "update attune.inquiry
             set assigned_to = coalesce($2, assigned_to), assigned_role = coalesce($3, assigned_role),
                 timeout_at = coalesce(clock_timestamp() + make_interval(secs => $4), timeout_at)
             where id = $1 and ($5::timestamptz is null or updated = $5)
               and (status = 'pending' or coalesce($2::text, $3, $4::text) is null)
             returning *",
        )
        .bind(id)
        .bind(update.assigned_to)
        .bind(&update.assigned_role)
        .bind(update.timeout.as_ref().map(Duration::as_secs_f64))
        .bind(update.unchanged_since)
        .fetch_optional(&mut *connection)
        .await
        .map_err(|error| StoreError::about(error, update))?;
        Self::changed_or_refused(connection, id, changed).await
    }

    /// Answers an inquiry: the first answer in time is the one that counts.
    pub async fn respond(
        executor: impl PgExecutor<'_>,
        id: i64,
        answer: &InquiryResponse,
    ) -> Result<Inquiry, RespondError> {
        let row: Option<PgRow> = sqlx::query(include_str!("inquiry/respond.sql"))
            .bind(id)
            .bind(answer.responded_by)
            .bind(&answer.response)
            .fetch_optional(executor)
            .await
            .map_err(|error| StoreError::about(error, answer))?;
        let Some(row) = row else {
            return Err(StoreError::not_found("inquiry", id).into());
        };
        if row.try_get::<Option<i64>, _>("id")?.is_some() {
            return Ok(Inquiry::from_row(&row)?);
        }
        if row.try_get("is_own")? {
            Err(RespondError::SelfApproval { inquiry: id })
        } else if row.try_get("is_late")? {
            Err(RespondError::TimedOut { inquiry: id })
        } else {
            Err(StoreError::Conflict { entity: "inquiry", key: id.to_string() }.into())
        }
    }

    /// Cancels an inquiry. One that was cancelled before is given back as it is; one that ended otherwise is a Conflict.
    pub async fn cancel(connection: &mut PgConnection, id: i64) -> Result<Inquiry> {
        let cancelled = sqlx::query_as(include_str!("inquiry/cancel.sql"))
            .bind(id)
            .fetch_optional(&mut *connection)
            .await?;
        if let Some(cancelled) = cancelled {
            return Ok(cancelled);
        }
        let ended = Self::get_by_id(connection, id).await?;
        match ended.status {
            InquiryStatus::Cancelled => Ok(ended),
            InquiryStatus::Pending | InquiryStatus::Responded | InquiryStatus::Timeout => {
                Err(StoreError::Conflict { entity: "inquiry", key: id.to_string() })
            }
        }
    }

    /// Cancels what an execution, and what it began, ask while they are being cancelled or have ended; gives back what was
    /// cancelled, by id. Belongs into the transaction that cancels the execution.
    pub async fn cancel_with(executor: impl PgExecutor<'_>, execution: i64) -> Result<Vec<Inquiry>> {
        let rows = sqlx::query_as(include_str!("inquiry/cancel_with.sql"))
            .bind(execution)
            .fetch_all(executor)
            .await?;
        Ok(rows)
    }

    /// Cancels up to `limit` inquiries of executions that have ended, however they did, or are being cancelled, and of
    /// attempts that run no longer; gives back what was cancelled, by id. Called from time to time it leaves no question open that was put while its execution was just ending, or whose
    /// cancellation was lost with a process.
    pub async fn cancel_of_ended(executor: impl PgExecutor<'_>, limit: i64) -> Result<Vec<Inquiry>> {
        let rows = sqlx::query_as(include_str!("inquiry/cancel_of_ended.sql"))
            .bind(limit)
            .fetch_all(executor)
            .await?;
        Ok(rows)
    }

    /// Ends up to `limit` inquiries that were not answered in time; gives them back, by id. What another transaction is
    /// just changing is left to the next call.
    pub async fn expire(executor: impl PgExecutor<'_>, limit: i64) -> Result<Vec<Inquiry>> {
        let rows = sqlx::query_as(include_str!("inquiry/expire.sql")).bind(limit).fetch_all(executor).await?;
        Ok(rows)
    }

    /// What an identity with these roles is asked and may answer now, the oldest first. What is asked of nobody in
    /// particular is not among it.
    pub async fn list_waiting_for(
        executor: impl PgExecutor<'_>,
        identity: i64,
        roles: &[String],
    ) -> Result<Vec<Inquiry>> {
        let rows = sqlx::query_as(
            "select inquiry.*
             from attune.inquiry
             join attune.execution on execution.id = inquiry.execution
             where inquiry.status = 'pending'
               and (inquiry.assigned_to = $1 or inquiry.assigned_role = any($2))
               and (inquiry.timeout_at is null or inquiry.timeout_at > clock_timestamp())
               and (inquiry.allow_self_approval or not exists (
                   -- What an execution begins belongs to whom the execution belongs to.
                   with recursive above (parent, identity, step) as (
                       select execution.parent, execution.identity, 0
                       union all
                       select former.parent, former.identity, above.step + 1
                       from above
                       join attune.execution former on former.id = above.parent
                       where above.step < 100
                   )
                   select from above where above.identity = $1
               ))
             order by inquiry.id
             limit 1000",
        )
        .bind(identity)
        .bind(roles)
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// What an execution asked, the first one first.
    pub async fn list_by_execution(executor: impl PgExecutor<'_>, execution: i64) -> Result<Vec<Inquiry>> {
        let rows = sqlx::query_as("select * from attune.inquiry where execution = $1 order by id limit 1000")
            .bind(execution)
            .fetch_all(executor)
            .await?;
        Ok(rows)
    }

    /// Inquiries in a status, the newest first.
    pub async fn list_by_status(
        executor: impl PgExecutor<'_>,
        status: InquiryStatus,
    ) -> Result<Vec<Inquiry>> {
        let rows =
            sqlx::query_as("select * from attune.inquiry where status = $1 order by id desc limit 1000")
                .bind(status)
                .fetch_all(executor)
                .await?;
        Ok(rows)
    }

    /// A page of inquiries, by descending id.
    pub async fn search(executor: impl PgExecutor<'_>, filter: &InquiryFilter) -> Result<Vec<Inquiry>> {
        let rows = sqlx::query_as(
            "select * from attune.inquiry
             where ($1::bigint is null or execution = $1)
               and ($2::attune.inquiry_status is null or status = $2)
               and ($3::bigint is null or assigned_to = $3)
               and ($4::text is null or assigned_role = $4)
               and ($5::bigint is null or assigned_to = $5 or assigned_role = any($6))
               and ($7::bigint is null or id < $7)
               and ($9::text[] is null
                    or (select action_ref from attune.execution where id = inquiry.execution) like any($9))
             order by id desc
             limit $8",
        )
        // Planned for the filters that are given.
        .persistent(false)
        .bind(filter.execution)
        .bind(filter.status)
        .bind(filter.assigned_to)
        .bind(&filter.assigned_role)
        .bind(filter.asked.as_ref().map(|asked| asked.identity))
        .bind(filter.asked.as_ref().map(|asked| &asked.roles))
        .bind(filter.before)
        .bind(filter.limit)
        .bind(filter.reach.as_ref().map(|reach| &reach.refs))
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }
}
