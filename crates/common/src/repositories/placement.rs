//! Placements. Writes `attune.placement`, from which nothing is ever removed.

use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor};

use super::by_id;
use crate::error::{Result, StoreError};
use crate::models::placement::{NewPlacement, Placement, Service};

/// Functions about `attune.placement`.
#[derive(Debug)]
pub struct PlacementRepository;

by_id!(read PlacementRepository, Placement, "placement", "attune.placement", order "id");

impl PlacementRepository {
    /// The placement of this selector and these tolerations, which is made when it is new.
    pub async fn put(connection: &mut PgConnection, new: &NewPlacement) -> Result<Placement> {
        let mut tolerations = new.tolerations.clone();
        tolerations.sort_unstable();
        tolerations.dedup();
        sqlx::query(
            "insert into attune.placement (selector, tolerations)
             values ($1, $2)
             on conflict on constraint placement_key do nothing",
        )
        .bind(Json(&new.selector))
        .bind(&tolerations)
        .execute(&mut *connection)
        .await
        .map_err(|error| StoreError::about(error, new))?;
        // A statement of its own: it sees what another transaction has just made.
        let row = sqlx::query_as("select * from attune.placement where selector = $1 and tolerations = $2")
            .bind(Json(&new.selector))
            .bind(&tolerations)
            .fetch_one(connection)
            .await?;
        Ok(row)
    }

    /// The placements with these ids.
    pub async fn list_by_ids(executor: impl PgExecutor<'_>, ids: &[i64]) -> Result<Vec<Placement>> {
        let rows = sqlx::query_as("select * from attune.placement where id = any($1) order by id")
            .bind(ids)
            .fetch_all(executor)
            .await?;
        Ok(rows)
    }

    /// For each of these placements, by id, how many workers could take what has it.
    pub async fn services(executor: impl PgExecutor<'_>, ids: &[i64]) -> Result<Vec<Service>> {
        let rows = sqlx::query_as(
            "select placement.id as placement, placement.selector, count(worker.id) as alive,
                    count(*) filter (where facts @> selector) as labelled,
                    count(*) filter (where facts @> selector and tolerations @> taints) as tolerated,
                    count(*) filter (where facts @> selector and tolerations @> taints and not cordoned) as able
             from attune.placement
             left join (
                 select id, capabilities || labels as facts, taints, cordoned
                 from attune.worker
                 where lease_expires > clock_timestamp()
             ) worker on true
             where placement.id = any ($1)
             group by placement.id
             order by placement.id",
        )
        .bind(ids)
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// Notes since when work of a placement has waited that no live worker can take, and forgets it where there is no
    /// such work any more. Gives back how many placements changed.
    pub async fn observe(executor: impl PgExecutor<'_>) -> Result<u64> {
        let done = sqlx::query(include_str!("placement/observe.sql")).execute(executor).await?;
        Ok(done.rows_affected())
    }
}
