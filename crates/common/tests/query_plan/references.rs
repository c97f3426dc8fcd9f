//! What comes of a thing is found by what it refers to, however much the planner knows of the tables.

use attune_common::models::enforcement::EnforcementFilter;
use attune_common::models::execution::ExecutionFilter;
use attune_common::models::grant::Reach;
use attune_common::repositories::{EnforcementRepository, ExecutionRepository, ReachRepository};
use sqlx::Connection;

use crate::{Explained, PAGE, RUNS};

impl Explained {
    /// The statements that follow references to the executions and enforcements that come of something.
    pub(crate) async fn references(&mut self) {
        let all = ExecutionFilter { before: None, limit: PAGE, ..ExecutionFilter::default() };
        let of_enforcement = ExecutionFilter { enforcement: Some(400_000), ..all.clone() };
        explain!(self, "execution search, by enforcement", at most 25 rows, |c| {
            ExecutionRepository::search(c, &of_enforcement)
        });
        let of_event = ExecutionFilter { event: Some(400_000), ..all };
        explain!(self, "execution search, by event", at most 26 rows, |c| {
            ExecutionRepository::search(c, &of_event)
        });
        let reach = Reach { refs: vec!["load.%".to_owned()], ..Reach::default() };
        explain!(self, "execution search within reach, by enforcement", at most 25 rows, |c| {
            ReachRepository::executions(c, &of_enforcement, &reach)
        });
        explain!(self, "execution search within reach, by event", at most 26 rows, |c| {
            ReachRepository::executions(c, &of_event, &reach)
        });
        explain!(self, "execution list_by_enforcements", at most 12 rows, |c| {
            ExecutionRepository::list_by_enforcements(c, &[400_000])
        });
        explain!(self, "execution list_by_parent", at most 24 rows, |c| {
            ExecutionRepository::list_by_parent(c, 999)
        });
        explain!(self, "execution list_by_original", at most 24 rows, |c| {
            ExecutionRepository::list_by_original(c, 499)
        });
        explain!(self, "enforcement list_by_event", at most 30 rows, |c| {
            EnforcementRepository::list_by_event(c, 400_000)
        });
        let of_event =
            EnforcementFilter { event: Some(400_000), limit: PAGE, ..EnforcementFilter::default() };
        explain!(self, "enforcement search, by event", at most 30 rows, |c| {
            EnforcementRepository::search(c, &of_event)
        });
    }
}
