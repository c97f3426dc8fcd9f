//! Workers, their leases and what room they offer. Writes `attune.worker`, `attune.worker_offer` and `attune.worker_assigned`.

use std::time::Duration;

use sqlx::{PgConnection, PgExecutor};

use super::{ExecutionRepository, by_id, updates};
use crate::error::{Result, StoreError};
use crate::models::worker::{Offer, Worker, WorkerRegistration, WorkerStatus, WorkerUpdate};

/// Functions about `attune.worker`.
#[derive(Debug)]
pub struct WorkerRepository;

by_id!(WorkerRepository, Worker, "worker", "attune.worker", order "name");
updates!(WorkerRepository, Worker, "worker");

impl WorkerRepository {
    /// The worker with this name, if there is one.
    pub async fn find_by_name(executor: impl PgExecutor<'_>, name: &str) -> Result<Option<Worker>> {
        let row = sqlx::query_as("select * from attune.worker where name = $1")
            .bind(name)
            .fetch_optional(executor)
            .await?;
        Ok(row)
    }

    /// The worker with this name; NotFound without one.
    pub async fn get_by_name(executor: impl PgExecutor<'_>, name: &str) -> Result<Worker> {
        Self::find_by_name(executor, name).await?.ok_or_else(|| StoreError::not_found("worker", name))
    }

    /// The workers in a status, by name. A worker that vanished keeps its last one: see [`WorkerRepository::list_lost`].
    pub async fn list_by_status(executor: impl PgExecutor<'_>, status: WorkerStatus) -> Result<Vec<Worker>> {
        let rows = sqlx::query_as("select * from attune.worker where status = $1 order by name limit 1000")
            .bind(status)
            .fetch_all(executor)
            .await?;
        Ok(rows)
    }

    /// The workers that vanished: their lease ran out and they did not say that they stop. By name.
    pub async fn list_lost(executor: impl PgExecutor<'_>) -> Result<Vec<Worker>> {
        let rows = sqlx::query_as(
            "select * from attune.worker where lease_expires <= clock_timestamp() order by name limit 1000",
        )
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// Notes the workers that have been lost since the last call; gives back their names. It is told to the change feed.
    pub async fn note_lost(executor: impl PgExecutor<'_>) -> Result<Vec<String>> {
        let names = sqlx::query_scalar(
            "with gone as (
                 select id
                 from attune.worker
                 where lost is null and lease_expires <= clock_timestamp()
                 order by id
                 for no key update skip locked
             ),
             noted as (
                 update attune.worker
                 set lost = clock_timestamp()
                 from gone
                 where worker.id = gone.id
                 returning worker.id, worker.name
             ),
             change as (
                 insert into attune.change (entity_type, entities, ref, activity)
                 select 'worker', array[id], name, 'lost' from noted order by id
             ),
             signal as materialized (
                 select pg_notify('attune_change', '') is null as change from (select from noted limit 1) any_noted
             )
             select noted.name from noted cross join signal where signal.change is not null order by noted.name",
        )
        .fetch_all(executor)
        .await?;
        Ok(names)
    }

    /// The workers whose lease holds now, by the clock that leases are given by.
    pub async fn alive(executor: impl PgExecutor<'_>) -> Result<Vec<i64>> {
        let ids = sqlx::query_scalar(
            "select id from attune.worker where lease_expires > clock_timestamp() order by id",
        )
        .fetch_all(executor)
        .await?;
        Ok(ids)
    }

    /// Announces a worker and begins its lease. A name whose lease another process holds is refused as a Conflict,
    /// unless the caller takes over; what the former process of that name was running is rescued first. A former process that
    /// did not say that it stops is lost, which is told to the change feed unless it was before. Belongs into a transaction.
    pub async fn register(connection: &mut PgConnection, new: &WorkerRegistration) -> Result<Worker> {
        let former: Option<(i64, bool, bool)> = sqlx::query_as(
            "select id, instance <> $2 and coalesce(lease_expires > clock_timestamp(), false),
                    instance <> $2 and lease_expires is not null and lost is null
             from attune.worker
             where name = $1
             for update",
        )
        .bind(&new.name)
        .bind(&new.instance)
        .fetch_optional(&mut *connection)
        .await?;
        if let Some((id, alive, vanished)) = former {
            if alive && !new.take_over {
                return Err(StoreError::Conflict { entity: "worker", key: new.name.clone() });
            }
            sqlx::query("update attune.worker set lease_expires = null where id = $1")
                .bind(id)
                .execute(&mut *connection)
                .await?;
            // A rescue passes over what is locked; what the former process is just ending is waited for, lest it stay
            // with the name and under its new lease when that end is not committed.
            sqlx::query(
                "select from attune.execution
                 where worker = $1 and status in ('running', 'canceling')
                 order by id
                 for update",
            )
            .bind(id)
            .execute(&mut *connection)
            .await?;
            while !ExecutionRepository::rescue(&mut *connection, 1000).await?.is_empty() {}
            if vanished {
                sqlx::query(
                    "with change as (
                         insert into attune.change (entity_type, entities, ref, activity)
                         values ('worker', array[$1], $2, 'lost')
                     )
                     select pg_notify('attune_change', '')",
                )
                .bind(id)
                .bind(&new.name)
                .execute(&mut *connection)
                .await?;
                tracing::warn!(
                    worker = new.name,
                    "the former process of this worker is lost: it did not stop"
                );
                metrics::counter!("attune_workers_lost_total").increment(1);
            }
        }
        let row = sqlx::query_as(
            "insert into attune.worker (
                 name, instance, host, slots, status, heartbeat, lease_expires, labels, capabilities, taints
             )
             values (
                 $1, $2, $3, $4, 'active', clock_timestamp(), clock_timestamp() + make_interval(secs => $5), $6, $7, $8
             )
             on conflict on constraint worker_name_key do update
             set instance = excluded.instance, host = excluded.host, slots = excluded.slots, status = excluded.status,
                 heartbeat = excluded.heartbeat, lease_expires = excluded.lease_expires, lost = null,
                 labels = excluded.labels, capabilities = excluded.capabilities, taints = excluded.taints,
                 preparing = '[]'
             returning *",
        )
        .bind(&new.name)
        .bind(&new.instance)
        .bind(&new.host)
        .bind(new.slots)
        .bind(new.lease.as_secs_f64())
        .bind(&new.labels)
        .bind(&new.capabilities)
        .bind(&new.taints)
        .fetch_one(connection)
        .await
        .map_err(|error| StoreError::about(error, new))?;
        Ok(row)
    }

    /// Changes a worker; None leaves a column as it is.
    pub async fn update(connection: &mut PgConnection, id: i64, update: &WorkerUpdate) -> Result<Worker> {
        let changed = sqlx::query_as(
            // Who is to be given nothing more is locked first: what is just being claimed for it is waited for, and what is claimed
            // from then on knows of the cordon.
            "with held as materialized (
                 select id from attune.worker where id = $1 and $7 for update
             )
             update attune.worker
             set worker_type = coalesce($2, worker_type), host = coalesce($3, host), slots = coalesce($4, slots),
                 labels = coalesce($5, labels), capabilities = coalesce($6, capabilities),
                 cordoned = coalesce($7, cordoned), taints = coalesce($9, taints)
             where id = $1 and ($8::timestamptz is null or updated = $8)
               and ($7 is not true or exists (select from held))
             returning *",
        )
        .bind(id)
        .bind(update.worker_type)
        .bind(&update.host)
        .bind(update.slots)
        .bind(&update.labels)
        .bind(&update.capabilities)
        .bind(update.cordoned)
        .bind(update.unchanged_since)
        .bind(&update.taints)
        .fetch_optional(&mut *connection)
        .await
        .map_err(|error| StoreError::about(error, update))?;
        Self::changed_or_refused(connection, id, changed).await
    }

    /// What a working process builds, and who waits for it; nothing once it was replaced. No change of the worker.
    pub async fn report_preparing(
        executor: impl PgExecutor<'_>,
        id: i64,
        instance: &str,
        preparing: &serde_json::Value,
    ) -> Result<()> {
        sqlx::query("update attune.worker set preparing = $3 where id = $1 and instance = $2")
            .bind(id)
            .bind(instance)
            .bind(preparing)
            .execute(executor)
            .await?;
        Ok(())
    }

    /// Of these workers those that build something, with what they build.
    pub async fn list_preparing(
        executor: impl PgExecutor<'_>,
        ids: &[i64],
    ) -> Result<Vec<(i64, String, serde_json::Value)>> {
        let rows = sqlx::query_as(
            "select id, name, preparing from attune.worker where id = any ($1) and preparing <> '[]' order by id",
        )
        .bind(ids)
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// Gives a worker no more work, whoever runs under its name. What it runs goes on.
    pub async fn cordon(connection: &mut PgConnection, id: i64) -> Result<Worker> {
        let update = WorkerUpdate { cordoned: Some(true), ..WorkerUpdate::default() };
        Self::update(connection, id, &update).await
    }

    /// Gives a worker work again.
    pub async fn uncordon(connection: &mut PgConnection, id: i64) -> Result<Worker> {
        let update = WorkerUpdate { cordoned: Some(false), ..WorkerUpdate::default() };
        Self::update(connection, id, &update).await
    }

    /// What a working process says of itself: `active`, `busy` or `error`. False when it was replaced or removed, or has
    /// ended its lease ([`WorkerRepository::release`], which alone makes it `inactive`).
    pub async fn report_status(
        executor: impl PgExecutor<'_>,
        id: i64,
        instance: &str,
        status: WorkerStatus,
    ) -> Result<bool> {
        let done = sqlx::query(
            "update attune.worker
             set status = $3
             where id = $1 and instance = $2 and status <> 'inactive' and $3 <> 'inactive'",
        )
        .bind(id)
        .bind(instance)
        .bind(status)
        .execute(executor)
        .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Renews the lease of everything that the worker runs. False when the worker was replaced by another process or
    /// removed; an expired lease can be renewed, since what was rescued meanwhile is protected by its attempt.
    pub async fn renew(
        executor: impl PgExecutor<'_>,
        id: i64,
        instance: &str,
        lease: Duration,
    ) -> Result<bool> {
        let done = sqlx::query(
            "update attune.worker
             set heartbeat = clock_timestamp(), lease_expires = clock_timestamp() + make_interval(secs => $3),
                 lost = null,
                 -- What it reported of itself stays.
                 status = case when status = 'inactive' then 'active' else status end
             where id = $1 and instance = $2",
        )
        .bind(id)
        .bind(instance)
        .bind(lease.as_secs_f64())
        .execute(executor)
        .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Offers room for so many native executions, which from then on may be assigned without being claimed; whatever was
    /// offered before counts no more. Gives back the offer that says so. Belongs into a transaction, in which nothing is assigned to the worker until it ends.
    pub async fn open_offer(
        connection: &mut PgConnection,
        worker: i64,
        instance: &str,
        room: i64,
    ) -> Result<Offer> {
        let offered = sqlx::query_scalar(
            "with assigned as (
                 insert into attune.worker_assigned (worker)
                 select id from attune.worker where id = $1 and instance = $2
                 -- What was assigned before, it has read, or it was rescued.
                 on conflict on constraint worker_assigned_pkey do update set newest = 0
                 returning worker, assigned
             )
             insert into attune.worker_offer (worker, instance, offered)
             select worker, $2, assigned + $3 from assigned
             on conflict on constraint worker_offer_pkey do update
             set instance = excluded.instance, offered = excluded.offered
             returning offered",
        )
        .bind(worker)
        .bind(instance)
        .bind(room)
        .fetch_optional(connection)
        .await?;
        let offered = offered.ok_or_else(|| StoreError::not_found("worker", worker))?;
        Ok(Offer { instance: instance.to_owned(), offered })
    }

    /// Raises an offer, as room gets free.
    pub async fn raise_offer(executor: impl PgExecutor<'_>, worker: i64, offer: &Offer) -> Result<()> {
        sqlx::query(
            "update attune.worker_offer set offered = $3 where worker = $1 and instance = $2 and offered < $3",
        )
        .bind(worker)
        .bind(&offer.instance)
        .bind(offer.offered)
        .execute(executor)
        .await?;
        Ok(())
    }

    /// How many native executions the workers that are there have room for; none while such ones wait to be claimed by them,
    /// which are first. None: no worker is there, or everything is paused.
    pub async fn native_room(executor: impl PgExecutor<'_>) -> Result<Option<i64>> {
        let room = sqlx::query_scalar(
            "with present as materialized (
                 select worker.taints, worker.capabilities || worker.labels as facts,
                        worker_offer.offered - worker_assigned.assigned as room
                 from attune.worker
                 join attune.worker_offer
                     on worker_offer.worker = worker.id and worker_offer.instance = worker.instance
                 join attune.worker_assigned on worker_assigned.worker = worker.id
                 where not worker.cordoned and worker.lease_expires > clock_timestamp()
                   and not exists (select from attune.pause where action_ref is null and pack_ref is null)
             )
             select case
                 when exists (
                     select
                     from attune.placement
                     join present on present.facts @> placement.selector and placement.tolerations @> present.taints
                     -- One probe of the index for each of the few: as a value, lest it be joined with all that waits.
                     where (
                         select execution.id
                         from attune.execution
                         where execution.placement = placement.id and execution.native
                           and execution.status = 'scheduled' and execution.not_before is null and not execution.paused
                         order by execution.priority desc, execution.id
                         limit 1
                     ) is not null
                 ) then 0
                 else (select sum(room)::bigint from present)
             end
             where exists (select from present)",
        )
        .fetch_optional(executor)
        .await?;
        Ok(room)
    }

    /// Lets nobody assign anything to the worker until the end of the transaction: what was assigned can be read by its next
    /// statement.
    pub async fn hold_offer(connection: &mut PgConnection, worker: i64) -> Result<()> {
        // Whoever assigns holds this row until the commit.
        sqlx::query("select from attune.worker_assigned where worker = $1 for update")
            .bind(worker)
            .execute(connection)
            .await?;
        Ok(())
    }

    /// Ends the offer of this process for good.
    pub async fn close_offer(connection: &mut PgConnection, worker: i64, instance: &str) -> Result<()> {
        Self::hold_offer(&mut *connection, worker).await?;
        // No process is called so: ends that are stored later raise nothing.
        sqlx::query(
            "update attune.worker_offer set instance = '', offered = 0 where worker = $1 and instance = $2",
        )
        .bind(worker)
        .bind(instance)
        .execute(connection)
        .await?;
        Ok(())
    }

    /// Ends the lease: the worker has drained and stops.
    pub async fn release(executor: impl PgExecutor<'_>, id: i64, instance: &str) -> Result<()> {
        sqlx::query(
            "update attune.worker set lease_expires = null, status = 'inactive' where id = $1 and instance = $2",
        )
        .bind(id)
        .bind(instance)
        .execute(executor)
        .await?;
        Ok(())
    }
}
