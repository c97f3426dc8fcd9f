//! The inquiry pass: ends questions that nobody may answer any more - their time is over, or what asked has ended, however it
//! did. A question whose execution is cancelled over the API has ended in the same transaction already; all other ends of
//! executions and attempts - completion, retry, rescue - know nothing of inquiries.

use std::time::Duration;

use attune_common::bus::{Bus, Topic};
use attune_common::error::Result;
use attune_common::pass::Found;
use attune_common::repositories::InquiryRepository;
use sqlx::PgPool;

/// How long a question may stay open that is over. No answer is taken after its time all the same.
pub const INTERVAL: Duration = Duration::from_secs(1);

const BATCH: i64 = 500;

/// Ends one batch of each kind.
pub async fn pass(pool: PgPool, bus: Bus) -> Result<Found> {
    let cancelled = InquiryRepository::cancel_of_ended(&pool, BATCH).await?.len();
    let expired = InquiryRepository::expire(&pool, BATCH).await?.len();
    for (status, count) in [("cancelled", cancelled), ("timeout", expired)] {
        if count > 0 {
            metrics::counter!("attune_inquiries_ended_total", "status" => status).increment(count as u64);
            bus.wake(Topic::Change);
        }
    }
    Ok(if cancelled.max(expired) as i64 == BATCH { Found::More } else { Found::Nothing })
}
