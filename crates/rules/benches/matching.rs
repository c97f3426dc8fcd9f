//! Events matched per second on one core, by the number of rules that listen to the trigger.
//!
//! Events are GitHub's documented webhook payloads of ten kinds, about 10 KB of JSON each, parsed before the clock starts.
//! Only the repository is changed from event to event, so that each fires one rule. Sets of rules:
//!
//! - `equality`: each rule asks for the kind of webhook, the action and a repository of its own;
//! - `shared`: the same, with ten rules for each repository, one for each kind of webhook;
//! - `mixed`: a sixth of the rules each asks for its repository by `starts_with`, `iequals`, `in`, a range of ids, `any` of
//!   two conditions and a wildcard, and some have more conditions.
//!
//! All sizes of a set take turns within one run, because a machine that is shared is not equally fast at all times. For each
//! size it prints the median, its share of the first size, and how many rules are judged for an event; for the largest what
//! the rules and their index take of memory, and what replacing one rule costs.
//!
//! `cargo bench -p attune-rules --bench matching [-- equality|shared|mixed|10|1000|10000|100000 ...]`

#![expect(clippy::unwrap_used, reason = "a benchmark ends at the first surprise")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use attune_expr::scope::Scope;
use attune_rules::{CompiledRule, RuleIndex};
use chrono::DateTime;
use serde_json::{Value, json};

const COUNTS: [usize; 4] = [10, 1_000, 10_000, 100_000];

/// Events that take turns, so that no measurement lives on one warm entry.
const EVENTS: usize = 512;

const ROUNDS: usize = 401;

const EXAMPLES: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../target/test-data/octokit-webhooks-examples/package/api.github.com/index.json"
);

/// Kinds of webhook that have an example of about 10 KB with a repository.
const KINDS: [&str; 10] = [
    "check_run",
    "check_suite",
    "code_scanning_alert",
    "deployment",
    "deployment_status",
    "discussion",
    "discussion_comment",
    "issue_comment",
    "issues",
    "workflow_job",
];

/// One documented webhook.
struct Example {
    kind: &'static str,
    action: String,
    repository: String,
    payload: String,
}

/// A set of rules: the rule with a number, which is the one that the event of this number fires.
struct Set {
    name: &'static str,
    rule: fn(usize, &Example) -> Arc<CompiledRule>,
    repository: fn(usize) -> String,
}

const SETS: [Set; 3] = [
    Set { name: "equality", rule: equality_rule, repository: own_repository },
    Set { name: "shared", rule: shared_rule, repository: shared_repository },
    Set { name: "mixed", rule: mixed_rule, repository: own_repository },
];

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let Some(examples) = examples() else {
        eprintln!(
            "{EXAMPLES} is missing: it holds GitHub's documented webhooks, from the npm package \
             @octokit/webhooks-examples. `scripts/test` fetches it; without the tests, `npm pack \
             @octokit/webhooks-examples@7.6.1` in target/test-data/octokit-webhooks-examples and `tar -xzf` there do the same."
        );
        std::process::exit(1);
    };
    let named = |name: &str| wanted.iter().any(|wanted| wanted == name);
    let all_sets = !SETS.iter().any(|set| named(set.name));
    let all_counts = !COUNTS.iter().any(|count| named(&count.to_string()));
    let counts: Vec<usize> =
        COUNTS.into_iter().filter(|count| all_counts || named(&count.to_string())).collect();
    let sets: Vec<&Set> = SETS.iter().filter(|set| all_sets || named(set.name)).collect();
    if let [set] = sets.as_slice() {
        return measure(set, &counts, &examples);
    }
    // Each in a process of its own, as memory that a set has freed would not be counted for the next one.
    for set in sets {
        let arguments = counts.iter().map(usize::to_string).chain([set.name.to_owned()]);
        let status = std::process::Command::new(std::env::current_exe().unwrap()).args(arguments).status();
        assert!(status.unwrap().success(), "the set {} failed", set.name);
    }
}

fn measure(set: &Set, counts: &[usize], examples: &[Example]) {
    println!("{}", set.name);
    let mut cases: Vec<(usize, RuleIndex, Vec<Value>, Vec<Duration>)> = Vec::new();
    for &count in counts {
        let index = build(set, count, examples);
        cases.push((count, index, events(set, count, examples), Vec::new()));
    }
    for round in 0..=ROUNDS {
        for (_, index, events, times) in &mut cases {
            // What the other sizes have displaced from the caches comes back first.
            fire(index, events);
            let started = Instant::now();
            fire(index, events);
            if round > 0 {
                times.push(started.elapsed());
            }
        }
    }
    let mut first = None;
    for (count, index, events, times) in &mut cases {
        times.sort_unstable();
        let rate = events.len() as f64 / times[times.len() / 2].as_secs_f64();
        let judged: usize = events
            .iter()
            .map(|event| index.candidates(&Scope::new().with("event", event), &json!({})).len())
            .sum();
        println!(
            "  {count:>7} rules: {rate:>9.0} events/s, {:.2} of the first; {:.2} rules judged for each event",
            rate / *first.get_or_insert(rate),
            judged as f64 / events.len() as f64,
        );
    }
}

/// The hot path: an event in, the rules that fire out.
fn fire(index: &RuleIndex, events: &[Value]) {
    let config = json!({});
    let fired = events.iter().map(|event| {
        let scope = Scope::new().with("event", event);
        index.matching(&scope, &config, DateTime::UNIX_EPOCH).len()
    });
    assert_eq!(fired.sum::<usize>(), events.len());
}

fn build(set: &Set, count: usize, examples: &[Example]) -> RuleIndex {
    let rule = |number: usize| (set.rule)(number, &examples[number % examples.len()]);
    let before = resident_megabytes();
    let started = Instant::now();
    let mut index = RuleIndex::default();
    for number in 0..count {
        index.insert(rule(number));
    }
    let built = started.elapsed();
    if count != COUNTS[COUNTS.len() - 1] {
        return index;
    }
    println!("  {count} rules compiled and indexed in {built:.2?}");
    if let (Some(before), Some(after)) = (before, resident_megabytes()) {
        println!("  memory of {count} rules and their index: {:.0} MB", after - before);
    }
    // A reader keeps the version before each change, so that each one has to copy what it touches.
    let changes = 1_000;
    let replacements: Vec<_> = (0..changes).map(|position| rule(position * 97 % count)).collect();
    let mut slowest = Duration::ZERO;
    let mut total = Duration::ZERO;
    for replacement in replacements {
        let started = Instant::now();
        let held = index.clone();
        index.insert(replacement);
        total += started.elapsed();
        slowest = slowest.max(started.elapsed());
        drop(held);
    }
    println!(
        "  one rule of {count} replaced: {:.1?} on average, {slowest:.1?} at most",
        total / changes as u32
    );
    index
}

fn own_repository(number: usize) -> String {
    format!("octo-org-{}/service-{number:06}", number % 97)
}

fn shared_repository(number: usize) -> String {
    own_repository(number / KINDS.len())
}

fn id(number: usize) -> usize {
    1_000 + number * 10
}

fn equality_rule(number: usize, example: &Example) -> Arc<CompiledRule> {
    rule(number, example, vec![repository_is(&own_repository(number))])
}

fn shared_rule(number: usize, example: &Example) -> Arc<CompiledRule> {
    rule(number, example, vec![repository_is(&shared_repository(number))])
}

fn mixed_rule(number: usize, example: &Example) -> Arc<CompiledRule> {
    let name = own_repository(number);
    let full_name = |operator: &str, value: Value| json!({"field": "event.payload.repository.full_name", "operator": operator, "value": value});
    let mut conditions = vec![match number % 6 {
        0 => full_name("starts_with", json!(name)),
        1 => full_name("iequals", json!(name)),
        2 => full_name("in", json!([name, "octo/none"])),
        3 => {
            json!({"field": "event.payload.repository.id", "operator": "between", "value": [id(number) - 4, id(number) + 4]})
        }
        4 => json!({"any": [
            repository_is(&name),
            {"field": "event.payload.repository.topics[*]", "operator": "equals", "value": format!("never-{number}")},
        ]}),
        _ => full_name("wildcard", json!(format!("{name}*"))),
    }];
    if number.is_multiple_of(3) {
        conditions.push(
            json!({"field": "event.payload.repository.open_issues_count", "operator": "gt", "value": 0}),
        );
    }
    if number.is_multiple_of(5) {
        conditions.push(json!({"field": "event.payload.repository.default_branch", "operator": "in", "value": ["main", "master"]}));
    }
    rule(number, example, conditions)
}

fn repository_is(name: &str) -> Value {
    json!({"field": "event.payload.repository.full_name", "operator": "equals", "value": name})
}

fn rule(number: usize, example: &Example, more: Vec<Value>) -> Arc<CompiledRule> {
    let mut conditions = vec![
        json!({"field": "event.headers['x-github-event']", "operator": "equals", "value": example.kind}),
        json!({"field": "event.payload.action", "operator": "equals", "value": example.action}),
    ];
    conditions.extend(more);
    let definition = json!({
        "rule_ref": format!("team.rule_{number}"),
        "trigger_ref": "core.webhook",
        "conditions": conditions,
        "action_ref": "core.noop",
        "action_params": {
            "url": "{{ event.payload.repository.html_url }}",
            "text": "{{ event.payload.action }} in {{ event.payload.repository.full_name }}",
        },
    });
    let definition = serde_json::from_value(definition).unwrap();
    Arc::new(CompiledRule::compile(&definition).unwrap())
}

fn events(set: &Set, count: usize, examples: &[Example]) -> Vec<Value> {
    // Spread over all rules by a stride that meets each before it repeats one.
    let numbers = (0..EVENTS).map(|position| position * 7_919 % count);
    let event = |number: usize| {
        let example = &examples[number % examples.len()];
        let payload = example.payload.replace(&example.repository, &(set.repository)(number));
        let mut payload: Value = serde_json::from_str(&payload).unwrap();
        payload["repository"]["id"] = id(number).into();
        json!({
            "id": number,
            "trigger": "core.webhook",
            "headers": {"x-github-event": example.kind, "x-github-delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958"},
            "payload": payload,
        })
    };
    numbers.map(event).collect()
}

/// `None` when they have not been fetched.
fn examples() -> Option<Vec<Example>> {
    let text = std::fs::read_to_string(EXAMPLES).ok()?;
    let documented: Value = serde_json::from_str(&text).unwrap();
    let example = |kind: &'static str| {
        let webhooks = documented.as_array().unwrap();
        let webhook = webhooks.iter().find(|webhook| webhook["name"] == kind).unwrap();
        let fits = |payload: &&Value| (8_000..14_000).contains(&payload.to_string().len());
        let payload = webhook["examples"].as_array().unwrap().iter().find(fits).unwrap();
        let action = payload["action"].as_str().unwrap().to_owned();
        let repository = payload["repository"]["full_name"].as_str().unwrap().to_owned();
        Example { kind, action, repository, payload: payload.to_string() }
    };
    Some(KINDS.into_iter().map(example).collect())
}

/// Known where the system says it: on Linux.
fn resident_megabytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kilobytes: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes / 1024.0)
}
