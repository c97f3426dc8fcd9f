//! Sensors. Writes `attune.sensor`.

use sqlx::PgExecutor;

use super::{by_id, by_ref, owned_by_pack};
use crate::error::{Result, StoreError};
use crate::models::sensor::{NewSensor, ReportableTrigger, RunnableSensor, Sensor};

/// Tells the advisory locks of sensors from others; any number would do that nobody else uses.
const LOCK_CLASS: i32 = 0x0A77_5E45;

/// Functions about `attune.sensor`.
#[derive(Debug)]
pub struct SensorRepository;

by_id!(SensorRepository, Sensor, "sensor", "attune.sensor", order "ref");
by_ref!(SensorRepository, Sensor, "sensor", "attune.sensor");
owned_by_pack!(SensorRepository, Sensor, "attune.sensor");

impl SensorRepository {
    /// Makes a sensor of a pack or brings it to this definition; its id stays.
    pub async fn put(executor: impl PgExecutor<'_>, pack: i64, new: &NewSensor) -> Result<Sensor> {
        let row = sqlx::query_as(
            "insert into attune.sensor (
                 ref, pack, pack_ref, label, description, enabled, runtime, runtime_ref, entrypoint, trigger_refs, config
             )
             values (
                 $1, $2, (select ref from attune.pack where id = $2), $3, $4, $5,
                 (select id from attune.runtime where ref = $6), $6, $7, $8, $9
             )
             on conflict on constraint sensor_ref_key do update
             set pack = excluded.pack, pack_ref = excluded.pack_ref, label = excluded.label,
                 description = excluded.description, enabled = excluded.enabled, runtime = excluded.runtime,
                 runtime_ref = excluded.runtime_ref, entrypoint = excluded.entrypoint,
                 trigger_refs = excluded.trigger_refs, config = excluded.config
             returning *",
        )
        .bind(&new.r#ref)
        .bind(pack)
        .bind(&new.label)
        .bind(&new.description)
        .bind(new.enabled)
        .bind(&new.runtime_ref)
        .bind(&new.entrypoint)
        .bind(&new.trigger_refs)
        .bind(&new.config)
        .fetch_one(executor)
        .await
        .map_err(|error| StoreError::about(error, new))?;
        Ok(row)
    }

    /// Every enabled sensor of an installed pack, with all it needs to run.
    pub async fn list_runnable(executor: impl PgExecutor<'_>) -> Result<Vec<RunnableSensor>> {
        let rows = sqlx::query_as(
            "select sensor.id, sensor.ref, sensor.entrypoint, sensor.trigger_refs, sensor.config, runtime.interpreter,
                    pack.id as pack, pack.ref as pack_ref, pack.checksum as pack_checksum
             from attune.sensor
             join attune.runtime on runtime.id = sensor.runtime and not runtime.native
             join attune.pack on pack.id = sensor.pack and pack.checksum is not null
             where sensor.enabled
             order by sensor.ref",
        )
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// Gives sensors whose runtime was missing the runtime of that ref, where it exists now; gives back how many.
    pub async fn relink(executor: impl PgExecutor<'_>) -> Result<u64> {
        let done = sqlx::query(
            "update attune.sensor
             set runtime = runtime.id
             from attune.runtime
             where sensor.runtime is null and runtime.ref = sensor.runtime_ref",
        )
        .execute(executor)
        .await?;
        Ok(done.rows_affected())
    }

    /// Those of the named triggers that exist: what reports of these names are events of.
    pub async fn reportable_triggers(
        executor: impl PgExecutor<'_>,
        trigger_refs: &[String],
    ) -> Result<Vec<ReportableTrigger>> {
        let rows =
            sqlx::query_as("select id, ref, enabled from attune.trigger where ref = any($1) order by ref")
                .bind(trigger_refs)
                .fetch_all(executor)
                .await?;
        Ok(rows)
    }

    /// Takes the right to run the sensor, unless another connection has it; false if so. The right lasts until
    /// [`SensorRepository::unlock`] or the end of the connection, which must therefore be one of its own and not go back
    /// to a pool. A connection that has the right gets it once more and must give it back as often.
    pub async fn try_lock(executor: impl PgExecutor<'_>, id: i64) -> Result<bool> {
        let locked = sqlx::query_scalar("select pg_try_advisory_lock($1, $2::bigint::integer)")
            .bind(LOCK_CLASS)
            .bind(id)
            .fetch_one(executor)
            .await?;
        Ok(locked)
    }

    /// Gives back the right to run the sensor; false if this connection did not have it.
    pub async fn unlock(executor: impl PgExecutor<'_>, id: i64) -> Result<bool> {
        let unlocked = sqlx::query_scalar("select pg_advisory_unlock($1, $2::bigint::integer)")
            .bind(LOCK_CLASS)
            .bind(id)
            .fetch_one(executor)
            .await?;
        Ok(unlocked)
    }
}
