//! The admission pass: schedules executions that wait for policies, as far as the policies have room.
//!
//! Executions wait in lanes: those of one action with the same values of whatever its policies count by. Within a lane
//! they go by priority and age. Lanes take turns, so that a long one holds up no other. An execution under several
//! policies is admitted when all of them have room.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use attune_common::bus::{Bus, Topic};
use attune_common::error::Result;
use attune_common::models::admission::{
    Admittance, AskedAction, LaneHead, LanePart, PolicyLimits, Refusal, WaitingAction, WaitingLane,
};
use attune_common::models::execution::ExecutionStatus;
use attune_common::models::policy::PolicyMethod;
use attune_common::pass::Found;
use attune_common::repositories::{AdmissionRepository, Taken};
use sqlx::PgPool;

use crate::attention::Attention;

/// How often it looks without a signal. What only time lets go, which is a rate, waits at most so much longer.
pub const INTERVAL: Duration = Duration::from_millis(250);

/// What only a signal lets go is looked at so often nevertheless: a lost signal costs latency and never work.
const LONG_INTERVAL: Duration = Duration::from_secs(5);

/// Executions that are sorted into lanes at once.
const SORTED: i64 = 1000;
/// Executions that are taken out of lanes at once after policies changed.
const UNSORTED: i64 = 5000;
/// Executions of a lane that are admitted, or refused, at once.
const OF_LANE: i64 = 200;
/// Lanes that are looked into at once.
const LANES: usize = 500;

/// The admission pass with what it remembers, which only saves it work.
#[derive(Debug)]
pub struct Admitter {
    pool: PgPool,
    bus: Bus,
    attention: Arc<Attention>,
    /// Until then it looks only where there is news.
    rest: Instant,
}

impl Admitter {
    /// An admitter that has looked at nothing yet.
    pub fn new(pool: PgPool, bus: Bus, attention: Arc<Attention>) -> Self {
        Self { pool, bus, attention, rest: Instant::now() }
    }

    /// Admits once.
    pub async fn pass(&mut self) -> Result<Found> {
        // Before anything is read: what happens from here on gives a signal.
        self.attention.expect(true);
        let changed = self.attention.take_changed();
        if !changed && Instant::now() < self.rest {
            if !AdmissionRepository::has_news(&self.pool).await? {
                return Ok(Found::Nothing);
            }
        } else if !AdmissionRepository::is_needed(&self.pool).await? {
            self.attention.expect(false);
            return Ok(Found::Nothing);
        }
        let admitted = self.admit().await;
        if admitted.is_err() && changed {
            self.attention.set_changed();
        }
        admitted
    }

    async fn admit(&mut self) -> Result<Found> {
        let mut transaction = attune_common::db::begin(&self.pool).await?;
        if !AdmissionRepository::take_turn(&mut transaction).await? {
            // Whoever has it may have looked before the news; this one looks again at the next occasion.
            self.rest = Instant::now();
            return Ok(Found::Nothing);
        }
        if AdmissionRepository::give_back(&mut transaction).await? > 0 {
            // In the change feed a transaction has its place from its first change on. What is sorted, and then admitted, may
            // have been made after that, and would be told of as scheduled before it was requested.
            transaction.commit().await?;
            self.bus.wake(Topic::Change);
            transaction = attune_common::db::begin(&self.pool).await?;
            if !AdmissionRepository::take_turn(&mut transaction).await? {
                self.rest = Instant::now();
                return Ok(Found::Nothing);
            }
        }
        // Before anything else is written, for the same reason.
        let sorted = AdmissionRepository::sort(&mut transaction, SORTED).await?;
        AdmissionRepository::release(&mut transaction).await?;
        if sorted.placed + sorted.freed >= SORTED
            || AdmissionRepository::is_incomplete(&mut transaction).await?
        {
            transaction.commit().await?;
            self.wake(sorted.freed);
            return self.again();
        }
        let actions = AdmissionRepository::actions(&mut *transaction).await?;
        let outdated: Vec<&WaitingAction> = actions.iter().filter(|action| action.outdated).collect();
        if !outdated.is_empty() {
            // Nothing is admitted before all are where they belong: what runs would be counted for another policy.
            AdmissionRepository::unsort(&mut transaction, &outdated, UNSORTED).await?;
            transaction.commit().await?;
            self.wake(sorted.freed);
            return self.again();
        }
        let limits = AdmissionRepository::limits(&mut *transaction).await?;
        let taken = Taken::of(AdmissionRepository::uses(&mut *transaction).await?);
        let mut plan = Plan::new(limits, taken);
        let Asked { actions: asked, taken } = plan.ask(&actions);
        // One more than are looked into, to know whether there is one.
        let lanes = AdmissionRepository::lanes(&mut *transaction, &asked, &taken, LANES as i64 + 1).await?;
        let open = plan.open(&lanes);
        let heads = AdmissionRepository::heads(&mut *transaction, &open.lanes, &open.most).await?;
        let departed: Vec<i64> = heads
            .iter()
            .filter(|head| head.status != ExecutionStatus::Requested)
            .map(|head| head.execution)
            .collect();
        if !departed.is_empty() {
            AdmissionRepository::settle(&mut transaction, &departed).await?;
        }
        if is_stale(&lanes, &open, &heads) {
            // Lanes stand where what has gone from them stood: nothing is decided before each is in its place.
            AdmissionRepository::refresh(&mut transaction, &open.lanes).await?;
            transaction.commit().await?;
            self.wake(sorted.freed);
            return self.again();
        }
        let Outcome { admitted, refused, is_cut } = plan.decide(&lanes, &open, heads);
        let mut count = 0;
        if !admitted.is_empty() {
            count = AdmissionRepository::admit(&mut transaction, &admitted).await?;
        }
        if !refused.is_empty() {
            let cancelled = AdmissionRepository::refuse(&mut transaction, &refused).await?;
            metrics::counter!("attune_executions_refused_total").increment(cancelled.unsigned_abs());
        }
        if !(admitted.is_empty() && refused.is_empty() && departed.is_empty()) {
            AdmissionRepository::refresh(&mut transaction, &open.lanes).await?;
        }
        transaction.commit().await?;
        metrics::counter!("attune_executions_admitted_total").increment(count.unsigned_abs());
        self.wake(count + sorted.freed);
        // What was cancelled just now has left its room to others.
        let is_short = count < admitted.len() as i64;
        if open.left_out.is_some() || is_cut || is_short || !departed.is_empty() {
            return self.again();
        }
        let pause = if plan.is_timed(&actions) { INTERVAL } else { LONG_INTERVAL };
        self.rest = Instant::now() + pause;
        Ok(Found::Nothing)
    }

    /// There is more to do, and not because of news.
    fn again(&mut self) -> Result<Found> {
        self.rest = Instant::now();
        Ok(Found::More)
    }

    fn wake(&self, scheduled: i64) {
        if scheduled > 0 {
            self.bus.wake(Topic::Execution);
            self.bus.wake(Topic::Change);
        }
    }
}

/// What the policies admit, and what is taken of them already.
#[derive(Debug)]
struct Plan {
    limits: HashMap<i64, PolicyLimits>,
    taken: Taken,
}

/// The lanes that are looked into.
#[derive(Debug, Default, PartialEq)]
struct Open {
    lanes: Vec<i64>,
    /// How many executions of each can be decided about at once.
    most: Vec<i64>,
    /// The priority of what is first in the lanes for which there was no place.
    left_out: Option<i16>,
}

/// The lanes that are asked for.
#[derive(Debug, Default, PartialEq)]
struct Asked {
    actions: Vec<AskedAction>,
    /// What has no room.
    taken: Vec<LanePart>,
}

/// Whether what was first in a lane has gone since that was noted.
fn is_stale(lanes: &[WaitingLane], open: &Open, heads: &[LaneHead]) -> bool {
    let mut first: HashMap<i64, i16> = HashMap::new();
    for head in heads {
        first.entry(head.lane).or_insert(head.priority);
    }
    let noted: HashMap<i64, i16> = lanes.iter().map(|lane| (lane.id, lane.priority)).collect();
    open.lanes.iter().any(|lane| first.get(lane) != noted.get(lane))
}

#[derive(Debug, Default, PartialEq)]
struct Outcome {
    admitted: Vec<Admittance>,
    refused: Vec<Refusal>,
    /// There may be more that could be decided at once.
    is_cut: bool,
}

impl Plan {
    fn new(limits: Vec<PolicyLimits>, taken: Taken) -> Self {
        Self { limits: limits.into_iter().map(|policy| (policy.id, policy)).collect(), taken }
    }

    fn room(&self, parts: &[LanePart]) -> i64 {
        let rooms = parts
            .iter()
            .filter_map(|part| self.limits.get(&part.policy).map(|policy| self.taken.room(policy, part)));
        rooms.min().unwrap_or(i64::MAX)
    }

    /// A policy without room that cancels what it does not admit.
    fn refusing(&self, parts: &[LanePart]) -> Option<&PolicyLimits> {
        parts.iter().find_map(|part| {
            let policy = self.limits.get(&part.policy)?;
            (policy.method == PolicyMethod::Cancel && self.taken.room(policy, part) == 0).then_some(policy)
        })
    }

    fn may_refuse(&self, parts: &[LanePart]) -> bool {
        parts.iter().any(|part| {
            self.limits.get(&part.policy).is_some_and(|policy| policy.method == PolicyMethod::Cancel)
        })
    }

    /// Whether time alone may make room: a rate is among the policies.
    fn is_timed(&self, actions: &[WaitingAction]) -> bool {
        let has_rate =
            |policy: &i64| self.limits.get(policy).is_some_and(|policy| policy.rate_count.is_some());
        actions.iter().flat_map(|action| &action.policies).any(has_rate)
    }

    /// Of which actions something can be decided about, whatever its values are, and what is taken.
    fn ask(&self, actions: &[WaitingAction]) -> Asked {
        let taken: Vec<LanePart> = self.taken.full(&self.limits).cloned().collect();
        let mut asked = Vec::new();
        for action in actions.iter().filter(|action| !action.paused) {
            let policies = || action.policies.iter().filter_map(|policy| self.limits.get(policy));
            let refuses = policies().any(|policy| policy.method == PolicyMethod::Cancel);
            let is_over = policies().any(|policy| self.taken.is_over(policy))
                || taken.iter().any(|part| action.whole.contains(&part.policy));
            if refuses || !is_over {
                asked.push(AskedAction { action_ref: action.action_ref.clone(), refuses });
            }
        }
        Asked { actions: asked, taken }
    }

    /// The first lanes in which something waits that can be decided about.
    fn open(&self, lanes: &[WaitingLane]) -> Open {
        let most = |lane: &WaitingLane| match self.may_refuse(&lane.parts) {
            // One more than are admitted is enough to refuse the rest of them; they are few or come in bursts.
            true => self.room(&lane.parts).min(OF_LANE) + OF_LANE,
            false => self.room(&lane.parts).min(OF_LANE),
        };
        let mut open = Open::default();
        for lane in lanes {
            let most = most(lane);
            if most == 0 {
                continue;
            }
            if open.lanes.len() == LANES {
                open.left_out = Some(lane.priority);
                break;
            }
            open.lanes.push(lane.id);
            open.most.push(most);
        }
        open
    }

    /// Decides about the heads of the open lanes: by priority, then in turn, then by age.
    fn decide(
        &mut self,
        lanes: &[WaitingLane],
        Open { lanes: open, most, left_out }: &Open,
        heads: Vec<LaneHead>,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        let parts: HashMap<i64, &[LanePart]> =
            lanes.iter().map(|lane| (lane.id, lane.parts.as_slice())).collect();
        let mut queues: Vec<VecDeque<LaneHead>> = vec![VecDeque::new(); open.len()];
        let places: HashMap<i64, usize> =
            open.iter().enumerate().map(|(place, lane)| (*lane, place)).collect();
        let mut read = vec![0; open.len()];
        for head in heads {
            if let Some(place) = places.get(&head.lane) {
                read[*place] += 1;
                if head.status == ExecutionStatus::Requested {
                    queues[*place].push_back(head);
                }
            }
        }
        let mut next: BinaryHeap<(i16, Reverse<u32>, Reverse<usize>)> = queues
            .iter()
            .enumerate()
            .filter_map(|(place, queue)| Some((queue.front()?.priority, Reverse(0), Reverse(place))))
            .collect();
        while let Some((priority, Reverse(round), Reverse(place))) = next.pop() {
            // Here the turn comes to a lane that is not looked into in this pass.
            if left_out.is_some_and(|first| priority < first || (priority == first && round > 0)) {
                break;
            }
            let lane = open[place];
            let parts = parts.get(&lane).copied().unwrap_or_default();
            // A lane whose policies have no room left gets none in this pass: room only shrinks while it lasts.
            if self.room(parts) == 0 {
                continue;
            }
            let Some(head) = queues[place].pop_front() else { continue };
            for part in parts {
                self.taken.take(part);
            }
            outcome.admitted.push(Admittance {
                execution: head.execution,
                lane,
                counted_for: self.counted_for(parts),
            });
            if let Some(following) = queues[place].front() {
                next.push((following.priority, Reverse(round + 1), Reverse(place)));
            }
        }
        for (place, queue) in queues.into_iter().enumerate() {
            let parts = parts.get(&open[place]).copied().unwrap_or_default();
            let is_full = read[place] >= most[place];
            if let Some(policy) = self.refusing(parts) {
                outcome.is_cut |= is_full;
                let reason = refusal(policy);
                outcome.refused.extend(
                    queue
                        .into_iter()
                        .map(|head| Refusal { execution: head.execution, reason: reason.clone() }),
                );
            } else {
                outcome.is_cut |= is_full && self.room(parts) > 0;
            }
        }
        outcome
    }

    /// The longest period in which a rate counts a start.
    fn counted_for(&self, parts: &[LanePart]) -> Option<f64> {
        let periods = parts.iter().filter_map(|part| self.limits.get(&part.policy)?.rate_seconds);
        periods.max_by(f64::total_cmp)
    }
}

fn refusal(policy: &PolicyLimits) -> String {
    let mut limits = Vec::new();
    if let Some(concurrency) = policy.concurrency {
        limits.push(format!("{concurrency} at once"));
    }
    if let (Some(count), Some(seconds)) = (policy.rate_count, policy.rate_seconds) {
        limits.push(format!("{count} starts in {seconds} s"));
    }
    format!("policy {} admits {}, and cancels what is more", policy.r#ref, limits.join(" and "))
}

#[cfg(test)]
mod tests {
    use attune_common::models::admission::PolicyUse;

    use super::*;

    fn limits(id: i64, concurrency: Option<i32>, method: PolicyMethod) -> PolicyLimits {
        let r#ref = format!("test.policy_{id}");
        PolicyLimits { id, r#ref, concurrency, rate_count: None, rate_seconds: None, method }
    }

    fn part(policy: i64, key: &str) -> LanePart {
        LanePart { policy, key: key.to_owned() }
    }

    fn lane(id: i64, parts: Vec<LanePart>) -> WaitingLane {
        WaitingLane { id, parts, turn: None, priority: 0 }
    }

    /// Decides about lanes with these executions waiting: (lane, execution, priority).
    fn decide(limits: Vec<PolicyLimits>, lanes: &[WaitingLane], waiting: &[(i64, i64, i16)]) -> Outcome {
        let mut plan = Plan::new(limits, Taken::default());
        let open = plan.open(lanes);
        let status = ExecutionStatus::Requested;
        let mut heads = Vec::new();
        for (lane, most) in open.lanes.iter().zip(&open.most) {
            let of_lane = waiting.iter().filter(|(of, ..)| of == lane).take(usize::try_from(*most).unwrap());
            heads.extend(of_lane.map(|&(lane, execution, priority)| LaneHead {
                lane,
                execution,
                priority,
                status,
            }));
        }
        plan.decide(lanes, &open, heads)
    }

    fn admitted(outcome: &Outcome) -> Vec<i64> {
        outcome.admitted.iter().map(|admitted| admitted.execution).collect()
    }

    #[test]
    fn test_lanes_take_turns_and_a_noisy_one_starves_no_other() {
        let lanes = [lane(1, vec![part(1, "")]), lane(2, vec![part(1, "")]), lane(3, vec![part(1, "")])];
        let waiting: Vec<(i64, i64, i16)> =
            (1..=50).map(|n| (1, n, 0)).chain([(2, 100, 0), (3, 101, 0)]).collect();
        let outcome = decide(vec![limits(1, Some(4), PolicyMethod::Enqueue)], &lanes, &waiting);
        assert_eq!(admitted(&outcome), [1, 100, 101, 2]);
        assert_eq!(outcome.refused, []);
    }

    #[test]
    fn test_priority_goes_before_turns() {
        let lanes = [lane(1, vec![part(1, "")]), lane(2, vec![part(1, "")])];
        let waiting = [(1, 1, 0), (1, 2, 0), (2, 3, 9), (2, 4, 9)];
        let outcome = decide(vec![limits(1, Some(3), PolicyMethod::Enqueue)], &lanes, &waiting);
        assert_eq!(admitted(&outcome), [3, 4, 1]);
    }

    #[test]
    fn test_lanes_that_are_not_looked_into_are_not_passed_over() {
        // The first of each lane comes before the second of any, also of those for which there is no place in this pass.
        let count = LANES as i64 + 100;
        let lanes: Vec<WaitingLane> = (1..=count).map(|id| lane(id, vec![part(1, "")])).collect();
        let waiting: Vec<(i64, i64, i16)> =
            (1..=count).flat_map(|id| [(id, id, 0), (id, count + id, 0)]).collect();
        let outcome = decide(vec![limits(1, Some(10_000), PolicyMethod::Enqueue)], &lanes, &waiting);
        assert_eq!(admitted(&outcome), (1..=LANES as i64).collect::<Vec<_>>());
    }

    #[test]
    fn test_actions_of_which_nothing_can_be_decided_are_not_asked_for() {
        let rate = PolicyLimits {
            rate_count: Some(2),
            rate_seconds: Some(60.0),
            ..limits(3, None, PolicyMethod::Enqueue)
        };
        let policies = vec![
            limits(1, Some(1), PolicyMethod::Enqueue),
            limits(2, Some(1), PolicyMethod::Enqueue),
            rate,
            limits(4, Some(1), PolicyMethod::Cancel),
        ];
        let uses = [(1, "a", 1, 0), (2, "", 1, 0), (3, "", 0, 2), (4, "", 1, 0)];
        let uses = uses.map(|(policy, key, running, recent)| PolicyUse {
            policy,
            key: key.to_owned(),
            running,
            recent,
        });
        let plan = Plan::new(policies, Taken::of(uses.to_vec()));
        let action = |name: &str, policies: &[i64], whole: &[i64]| WaitingAction {
            action_ref: name.to_owned(),
            shape: Some(String::new()),
            policies: policies.to_vec(),
            whole: whole.to_vec(),
            outdated: false,
            paused: false,
        };
        let asked = |name: &str, refuses: bool| AskedAction { action_ref: name.to_owned(), refuses };
        let actions = [
            action("test.by_key", &[1], &[]),
            action("test.full", &[1, 2], &[2]),
            action("test.over", &[1, 3], &[3]),
            action("test.refusing", &[2, 4], &[2, 4]),
            WaitingAction { paused: true, ..action("test.paused", &[1], &[]) },
        ];
        let Asked { actions, mut taken } = plan.ask(&actions);
        assert_eq!(actions, [asked("test.by_key", false), asked("test.refusing", true)]);
        taken.sort_by_key(|part| part.policy);
        assert_eq!(taken, [part(1, "a"), part(2, ""), part(3, ""), part(4, "")]);
    }

    #[test]
    fn test_a_lane_whose_first_has_gone_is_not_where_it_belongs() {
        let lanes = [WaitingLane { priority: 5, ..lane(1, vec![part(1, "")]) }, lane(2, vec![part(1, "")])];
        let open = Plan::new(vec![limits(1, Some(10), PolicyMethod::Enqueue)], Taken::default()).open(&lanes);
        let head =
            |lane, priority| LaneHead { lane, execution: lane, priority, status: ExecutionStatus::Requested };
        assert!(!is_stale(&lanes, &open, &[head(1, 5), head(1, 0), head(2, 0)]));
        assert!(is_stale(&lanes, &open, &[head(1, 0), head(2, 0)]), "the urgent one was cancelled");
        assert!(is_stale(&lanes, &open, &[head(1, 5)]), "nothing is left in the second one");
    }

    #[test]
    fn test_every_policy_must_have_room() {
        // Two actions of a pack that may run three at once, one of which runs one at a time for each key.
        let lanes = [
            lane(1, vec![part(1, "a"), part(2, "")]),
            lane(2, vec![part(1, "b"), part(2, "")]),
            lane(3, vec![part(2, "")]),
        ];
        let policies =
            vec![limits(1, Some(1), PolicyMethod::Enqueue), limits(2, Some(3), PolicyMethod::Enqueue)];
        let waiting: Vec<(i64, i64, i16)> = (1..=9).map(|n| (1 + n % 3, n, 0)).collect();
        let outcome = decide(policies, &lanes, &waiting);
        assert_eq!(admitted(&outcome), [3, 1, 2]);
    }

    #[test]
    fn test_what_is_more_is_cancelled_where_the_policy_says_so() {
        let lanes = [lane(1, vec![part(1, "")])];
        let outcome = decide(
            vec![limits(1, Some(1), PolicyMethod::Cancel)],
            &lanes,
            &[(1, 1, 0), (1, 2, 0), (1, 3, 0)],
        );
        assert_eq!(admitted(&outcome), [1]);
        let refused: Vec<i64> = outcome.refused.iter().map(|refused| refused.execution).collect();
        assert_eq!(refused, [2, 3]);
        assert_eq!(
            outcome.refused[0].reason,
            "policy test.policy_1 admits 1 at once, and cancels what is more"
        );
    }

    #[test]
    fn test_a_rate_is_of_the_policy_and_not_of_a_key() {
        let rate = PolicyLimits {
            rate_count: Some(2),
            rate_seconds: Some(60.0),
            ..limits(1, Some(5), PolicyMethod::Enqueue)
        };
        let lanes = [lane(1, vec![part(1, "a")]), lane(2, vec![part(1, "b")])];
        let outcome = decide(vec![rate], &lanes, &[(1, 1, 0), (1, 2, 0), (2, 3, 0)]);
        assert_eq!(admitted(&outcome), [1, 3]);
        assert!(outcome.admitted.iter().all(|admitted| admitted.counted_for == Some(60.0)));
    }

    #[test]
    fn test_a_lane_is_decided_about_in_portions() {
        let lanes = [lane(1, vec![part(1, "")])];
        let waiting: Vec<(i64, i64, i16)> = (1..=1000).map(|n| (1, n, 0)).collect();
        let outcome = decide(vec![limits(1, Some(500), PolicyMethod::Enqueue)], &lanes, &waiting);
        assert_eq!(outcome.admitted.len(), 200);
        assert!(outcome.is_cut, "there is room for more");
        let outcome = decide(vec![limits(1, Some(200), PolicyMethod::Enqueue)], &lanes, &waiting);
        assert!(!outcome.is_cut, "there is no room for more");
    }
}
