//! Sensors. Writes `attune.sensor`.
//!
//! Those who run sensors hold what is to run: changes are signalled to them (those of a whole pack by its installation).

use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor};

use super::{by_id, by_ref, owned_by_pack, updates};
use crate::error::{Result, StoreError};
use crate::models::acting_sensor::ActingSensor;
use crate::models::sensor::{NewSensor, ReportableTrigger, RunnableSensor, Sensor, SensorUpdate};

/// Tells the advisory locks of sensors from others; any number would do that nobody else uses.
const LOCK_CLASS: i32 = 0x0A77_5E45;

/// Functions about `attune.sensor`.
#[derive(Debug)]
pub struct SensorRepository;

by_id!(signalled SensorRepository, Sensor, "sensor", "attune.sensor", order "ref");
updates!(SensorRepository, Sensor, "sensor");
by_ref!(SensorRepository, Sensor, "sensor", "attune.sensor");
owned_by_pack!(SensorRepository, Sensor, "attune.sensor");

impl SensorRepository {
    /// Makes a sensor, of a pack or on its own. Its runtime is found by its ref; one that does not exist (yet) is left
    /// open, and such a sensor runs only once it does.
    pub async fn create(executor: impl PgExecutor<'_>, pack: Option<i64>, new: &NewSensor) -> Result<Sensor> {
        let row = sqlx::query_as(
            "with created as (
                 insert into attune.sensor (
                     ref, pack, pack_ref, label, description, enabled, runtime, runtime_ref, entrypoint, trigger_refs,
                     config, permissions
                 )
                 values (
                     $1, $2, (select ref from attune.pack where id = $2), $3, $4, $5,
                     (select id from attune.runtime where ref = $6), $6, $7, $8, $9, $10
                 )
                 returning *
             )
             select * from created where pg_notify('attune_definition', '') is not null",
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
        .bind(Json(&new.permissions))
        .fetch_one(executor)
        .await
        .map_err(|error| StoreError::about(error, new))?;
        Ok(row)
    }

    /// Makes a sensor of a pack or brings it to this definition; its id stays.
    pub async fn put(executor: impl PgExecutor<'_>, pack: i64, new: &NewSensor) -> Result<Sensor> {
        let row = sqlx::query_as(
            "insert into attune.sensor (
                 ref, pack, pack_ref, label, description, enabled, runtime, runtime_ref, entrypoint, trigger_refs, config,
                 permissions
             )
             values (
                 $1, $2, (select ref from attune.pack where id = $2), $3, $4, $5,
                 (select id from attune.runtime where ref = $6), $6, $7, $8, $9, $10
             )
             on conflict on constraint sensor_ref_key do update
             set pack = excluded.pack, pack_ref = excluded.pack_ref, label = excluded.label,
                 description = excluded.description, enabled = excluded.enabled, runtime = excluded.runtime,
                 runtime_ref = excluded.runtime_ref, entrypoint = excluded.entrypoint,
                 trigger_refs = excluded.trigger_refs, config = excluded.config,
                 permissions = excluded.permissions
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
        .bind(Json(&new.permissions))
        .fetch_one(executor)
        .await
        .map_err(|error| StoreError::about(error, new))?;
        Ok(row)
    }

    /// Changes a sensor; None leaves a column as it is.
    pub async fn update(connection: &mut PgConnection, id: i64, update: &SensorUpdate) -> Result<Sensor> {
        let changed = sqlx::query_as(
            "with changed as (
                 update attune.sensor
                 set label = coalesce($2, label), description = coalesce($3, description),
                     enabled = coalesce($4, enabled),
                     runtime = case when $5 is null then runtime
                                    else (select runtime.id from attune.runtime where runtime.ref = $5) end,
                     runtime_ref = coalesce($5, runtime_ref), entrypoint = coalesce($6, entrypoint),
                     trigger_refs = coalesce($7, trigger_refs), param_schema = coalesce($8, param_schema),
                     config = coalesce($9, config)
                 where id = $1 and ($10::timestamptz is null or updated = $10)
                 returning *
             )
             select * from changed where pg_notify('attune_definition', '') is not null",
        )
        .bind(id)
        .bind(&update.label)
        .bind(&update.description)
        .bind(update.enabled)
        .bind(&update.runtime_ref)
        .bind(&update.entrypoint)
        .bind(&update.trigger_refs)
        .bind(&update.param_schema)
        .bind(&update.config)
        .bind(update.unchanged_since)
        .fetch_optional(&mut *connection)
        .await
        .map_err(|error| StoreError::about(error, update))?;
        Self::changed_or_refused(connection, id, changed).await
    }

    /// The sensors of a pack and whether they are enabled, by ref. Nobody else changes them before the transaction ends.
    pub async fn take_switches(connection: &mut PgConnection, pack: i64) -> Result<Vec<(String, bool)>> {
        let rows = sqlx::query_as(
            "select ref, enabled from attune.sensor where pack = $1 order by ref for no key update",
        )
        .bind(pack)
        .fetch_all(connection)
        .await?;
        Ok(rows)
    }

    /// Every sensor that is switched on, whether or not it can run, by ref.
    pub async fn list_enabled(executor: impl PgExecutor<'_>) -> Result<Vec<Sensor>> {
        let rows = sqlx::query_as("select * from attune.sensor where enabled order by ref limit 1000")
            .fetch_all(executor)
            .await?;
        Ok(rows)
    }

    /// The sensors that may report the trigger of this name, by ref.
    pub async fn list_by_trigger_ref(
        executor: impl PgExecutor<'_>,
        trigger_ref: &str,
    ) -> Result<Vec<Sensor>> {
        let rows = sqlx::query_as(
            "select * from attune.sensor where trigger_refs @> array[$1] order by ref limit 1000",
        )
        .bind(trigger_ref)
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// The sensors that run in the runtime, by ref.
    pub async fn list_by_runtime(executor: impl PgExecutor<'_>, runtime: i64) -> Result<Vec<Sensor>> {
        let rows = sqlx::query_as("select * from attune.sensor where runtime = $1 order by ref limit 1000")
            .bind(runtime)
            .fetch_all(executor)
            .await?;
        Ok(rows)
    }

    /// Every enabled sensor of an installed pack, with all it needs to run.
    pub async fn list_runnable(executor: impl PgExecutor<'_>) -> Result<Vec<RunnableSensor>> {
        let rows = sqlx::query_as(
            "select sensor.id, sensor.ref, sensor.entrypoint, sensor.trigger_refs, sensor.config, runtime.interpreter,
                    runtime.ref as runtime_ref, runtime.environment, runtime.version, pack.runtime_deps,
                    sensor.permissions <> '[]' as has_permissions,
                    case when pack.conf_schema <> '{}' then jsonb_build_array(
                        pack.conf_schema, pack.environment_config, pack.config,
                        -- Setting a key raises its version; one that was removed and made again has another id.
                        (select jsonb_agg(jsonb_build_array(key.id, key.version) order by key.id)
                         from attune.key
                         where key.owner_pack = pack.id and starts_with(key.ref, pack.ref || '.config.'))
                    ) end as settings,
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

    /// Notes what keeps a sensor from running; None when nothing does.
    pub async fn set_obstacle(executor: impl PgExecutor<'_>, id: i64, obstacle: Option<&str>) -> Result<()> {
        sqlx::query("update attune.sensor set obstacle = $2 where id = $1 and obstacle is distinct from $2")
            .bind(id)
            .bind(obstacle)
            .execute(executor)
            .await?;
        Ok(())
    }

    /// Begins a life of the sensor's process: what its token names. None when there is no such sensor.
    pub async fn begin_life(executor: impl PgExecutor<'_>, id: i64) -> Result<Option<i64>> {
        let life =
            sqlx::query_scalar("update attune.sensor set life = life + 1 where id = $1 returning life")
                .bind(id)
                .fetch_optional(executor)
                .await?;
        Ok(life)
    }

    /// Ends a life of the sensor's process, unless another one has begun.
    pub async fn end_life(executor: impl PgExecutor<'_>, id: i64, life: i64) -> Result<()> {
        sqlx::query("update attune.sensor set life = life + 1 where id = $1 and life = $2")
            .bind(id)
            .bind(life)
            .execute(executor)
            .await?;
        Ok(())
    }

    /// The sensor with what it declares, while its process lives this life; None when that has ended, or nobody runs the
    /// sensor: a role that vanished ends no life.
    pub async fn find_acting(
        executor: impl PgExecutor<'_>,
        id: i64,
        life: i64,
    ) -> Result<Option<ActingSensor>> {
        let row = sqlx::query_as(
            "select sensor.id as sensor, sensor.ref as sensor_ref, sensor.permissions
             from attune.sensor
             where sensor.id = $1 and sensor.life = $2
               and exists (
                   select from pg_locks
                   where locktype = 'advisory' and granted
                     -- As a lock of two numbers stands there.
                     and classid = $3::integer::oid and objid = sensor.id::integer::oid and objsubid = 2
                     and database = (select oid from pg_database where datname = current_database())
               )",
        )
        .bind(id)
        .bind(life)
        .bind(LOCK_CLASS)
        .fetch_optional(executor)
        .await?;
        Ok(row)
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
