//! How soon what ran on a worker is taken from it when that is gone.

use std::time::{SystemTime, UNIX_EPOCH};

use sqlx::PgPool;

/// The lease of a worker, in seconds.
const LEASE: f64 = 10.0;
/// What is promised: within two leases.
pub(super) const PROMISED: f64 = 2.0 * LEASE;
/// What was given to a worker so shortly after its end, by executors that did not know of it yet, was lost with it.
const UNAWARE: f64 = 2.0;
/// An outage of PostgreSQL so shortly before is a matter of its own: no worker could renew its lease.
const RENEWAL: f64 = 5.0;

/// What was done to the system, and when; seconds since 1970.
#[derive(Debug, Clone, Default)]
pub(super) struct Blows {
    /// Workers that were killed or frozen, by name.
    workers: Vec<(String, f64)>,
    /// Ends of PostgreSQL, and cuts of the connections to it, which are no loss by themselves.
    outages: Vec<f64>,
}

/// An attempt that was lost.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub(super) struct Loss {
    worker: String,
    started: f64,
    rescued: f64,
}

/// What became of the attempts that were lost while PostgreSQL was there.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rescues {
    /// Those whose worker is known to have been killed or frozen while PostgreSQL was there.
    pub number: u64,
    /// The longest time from the blow to the rescue, in seconds.
    pub longest: f64,
    /// Rescues that came later than promised.
    pub late: u64,
}

impl Blows {
    pub(super) fn worker(&mut self, name: &str) {
        self.workers.push((name.to_owned(), now()));
    }

    pub(super) fn outage(&mut self) {
        self.outages.push(now());
    }

    /// How long it took until these were rescued.
    pub(super) fn judge(&self, losses: &[Loss]) -> Rescues {
        let mut rescues = Rescues::default();
        for Loss { worker, started, rescued } in losses {
            // The first one that can have been the reason: as long as its process is not back, further ones change nothing.
            let blow = self
                .workers
                .iter()
                .filter(|(name, at)| name == worker && (started - UNAWARE..=*rescued).contains(at));
            let Some(blow) = blow.map(|(_, at)| *at).min_by(f64::total_cmp) else { continue };
            if self.outages.iter().any(|outage| (blow - RENEWAL..=*rescued).contains(outage)) {
                continue;
            }
            let took = rescued - blow;
            rescues.number += 1;
            rescues.longest = rescues.longest.max(took);
            rescues.late += u64::from(took > PROMISED);
        }
        rescues
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// The attempts that were lost with their workers.
pub(super) async fn losses(pool: &PgPool) -> anyhow::Result<Vec<Loss>> {
    let losses = sqlx::query_as(
        "select worker_name as worker, extract(epoch from started)::double precision as started,
                extract(epoch from finished)::double precision as rescued
         from (
             select worker_name, started, finished from attune.execution_attempt where status = 'abandoned'
             union all
             select worker_name, started, finished from attune.execution where status = 'abandoned'
         ) lost
         where worker_name is not null and started is not null",
    )
    .fetch_all(pool)
    .await?;
    Ok(losses)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(worker: &str, started: f64, rescued: f64) -> Loss {
        Loss { worker: worker.to_owned(), started, rescued }
    }

    #[test]
    fn test_a_rescue_counts_from_the_blow_that_was_its_reason() {
        let blows = Blows {
            workers: vec![("one".to_owned(), 100.0), ("one".to_owned(), 105.0), ("two".to_owned(), 90.0)],
            outages: vec![150.0],
        };
        let judge = |loss| blows.judge(&[loss]);
        assert_eq!(judge(loss("one", 99.0, 111.0)), Rescues { number: 1, longest: 11.0, late: 0 });
        assert_eq!(judge(loss("one", 101.0, 112.0)), Rescues { number: 1, longest: 12.0, late: 0 });
        assert_eq!(judge(loss("one", 99.0, 121.0)), Rescues { number: 1, longest: 21.0, late: 1 });
        assert_eq!(judge(loss("two", 99.0, 111.0)), Rescues::default(), "nobody killed it then");
        assert_eq!(judge(loss("one", 99.0, 151.0)), Rescues::default(), "PostgreSQL was away");
    }
}
