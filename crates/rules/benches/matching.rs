//! Events matched per second on one core, by the number of rules that listen to the trigger.
//!
//! Each event is about 10 KB of parsed JSON shaped like GitHub's `issues` webhook and fires one rule. Rules ask for the
//! kind of action, the repository, a label and now and then more, as rules of many teams on one trigger do. Before the
//! measurements it prints what the largest index takes of memory and what changing one of its rules costs.
//!
//! `cargo bench -p attune-rules --bench matching`

#![expect(clippy::unwrap_used, reason = "a benchmark ends at the first surprise")]

use std::sync::Arc;
use std::time::Instant;

use attune_expr::scope::Scope;
use attune_rules::{CompiledRule, RuleIndex};
use chrono::DateTime;
use divan::Bencher;
use divan::counter::ItemsCount;
use serde_json::{Value, json};

const COUNTS: [usize; 4] = [10, 1_000, 10_000, 100_000];

/// Events that take turns, so that no measurement lives on one warm entry.
const EVENTS: usize = 512;

fn main() {
    report_size_and_change();
    report_confirmation();
    divan::main();
}

/// The hot path: an event in, the rules that fire out.
#[divan::bench(args = COUNTS, sample_count = 50, sample_size = 2)]
fn one_rule_of_many_fires(bencher: Bencher<'_, '_>, count: usize) {
    measure(bencher, &equality_rules(count), count);
}

/// The same with rules of every sort of entry.
#[divan::bench(args = COUNTS, sample_count = 10, sample_size = 1)]
fn one_rule_of_many_sorts_fires(bencher: Bencher<'_, '_>, count: usize) {
    measure(bencher, &mixed_rules(count), count);
}

fn measure(bencher: Bencher<'_, '_>, index: &RuleIndex, count: usize) {
    let events = events(count);
    let config = json!({});
    bencher.counter(ItemsCount::new(events.len())).bench_local(|| {
        let fired = events.iter().map(|event| {
            let scope = Scope::new().with("event", event);
            index.matching(&scope, &config, DateTime::UNIX_EPOCH).len()
        });
        assert_eq!(fired.sum::<usize>(), events.len());
    });
}

fn equality_rules(count: usize) -> RuleIndex {
    let mut index = RuleIndex::default();
    for number in 0..count {
        index.insert(rule(number, &repository_is(number)));
    }
    index
}

fn mixed_rules(count: usize) -> RuleIndex {
    let mut index = RuleIndex::default();
    for number in 0..count {
        let name = repository(number);
        let condition = match number % 6 {
            0 => {
                json!({"field": "event.payload.repository.full_name", "operator": "starts_with", "value": name})
            }
            1 => json!({"field": "event.payload.repository.full_name", "operator": "iequals", "value": name}),
            2 => {
                json!({"field": "event.payload.repository.full_name", "operator": "in", "value": [name, "octo/none"]})
            }
            3 => {
                json!({"field": "event.payload.repository.id", "operator": "between", "value": [number * 10 - 4, number * 10 + 4]})
            }
            4 => json!({"any": [
                repository_is(number),
                {"field": "event.payload.issue.labels[*].name", "operator": "equals", "value": format!("never-{number}")},
            ]}),
            _ => {
                json!({"field": "event.payload.repository.full_name", "operator": "wildcard", "value": format!("{name}*")})
            }
        };
        index.insert(rule(number, &condition));
    }
    index
}

fn repository(number: usize) -> String {
    format!("octo-org-{}/service-{number:06}", number % 97)
}

fn repository_is(number: usize) -> Value {
    json!({"field": "event.payload.repository.full_name", "operator": "equals", "value": repository(number)})
}

fn rule(number: usize, repository: &Value) -> Arc<CompiledRule> {
    let mut conditions = vec![
        json!({"field": "event.payload.action", "operator": "equals", "value": "labeled"}),
        repository.clone(),
    ];
    if number.is_multiple_of(3) {
        conditions.push(json!({"field": "event.payload.issue.comments", "operator": "gt", "value": 2}));
    }
    if number.is_multiple_of(5) {
        conditions.push(
            json!({"field": "event.payload.issue.labels[*].name", "operator": "in", "value": ["bug", "outage"]}),
        );
    }
    let definition = json!({
        "rule_ref": format!("team.rule_{number}"),
        "trigger_ref": "core.webhook",
        "conditions": conditions,
        "action_ref": "core.noop",
        "action_params": {"title": "{{ event.payload.issue.title }}"},
    });
    let definition = serde_json::from_value(definition).unwrap();
    Arc::new(CompiledRule::compile(&definition).unwrap())
}

fn events(count: usize) -> Vec<Value> {
    // Spread over all rules by a stride that meets each before it repeats one.
    let events: Vec<Value> = (0..EVENTS).map(|position| event(position * 7_919 % count)).collect();
    let size = events[0].to_string().len();
    assert!((8_000..14_000).contains(&size), "an event of {size} bytes");
    events
}

/// An `issues` webhook with the nesting and the many URLs of the real one.
fn event(number: usize) -> Value {
    let name = repository(number);
    let api = format!("https://api.github.com/repos/{name}");
    let user = |login: &str| {
        let api = format!("https://api.github.com/users/{login}");
        json!({
            "login": login, "id": number, "node_id": "MDQ6VXNlcjIxMDMxMDY3", "gravatar_id": "", "type": "User", "site_admin": false,
            "avatar_url": format!("https://avatars.githubusercontent.com/u/{number}?v=4"), "html_url": format!("https://github.com/{login}"),
            "url": api, "followers_url": format!("{api}/followers"), "following_url": format!("{api}/following{{/other_user}}"),
            "gists_url": format!("{api}/gists{{/gist_id}}"), "starred_url": format!("{api}/starred{{/owner}}{{/repo}}"),
            "subscriptions_url": format!("{api}/subscriptions"), "organizations_url": format!("{api}/orgs"),
            "repos_url": format!("{api}/repos"), "events_url": format!("{api}/events{{/privacy}}"),
            "received_events_url": format!("{api}/received_events"),
        })
    };
    let label = |name: &str| json!({"id": 1_362_934_389, "node_id": "MDU6TGFiZWwxMzYyOTM0Mzg5", "url": format!("{api}/labels/{name}"), "name": name, "color": "d73a4a", "default": true, "description": null});
    let mut repository = json!({
        "id": number * 10, "node_id": "MDEwOlJlcG9zaXRvcnkxODY4NTMwMDI=", "name": name, "full_name": name, "private": false,
        "owner": user("octo-org"), "html_url": format!("https://github.com/{name}"), "description": null, "fork": false, "url": api,
        "created_at": "2019-05-15T15:19:25Z", "updated_at": "2019-05-15T15:19:27Z", "pushed_at": "2019-05-15T15:20:32Z",
        "size": 0, "stargazers_count": 12, "language": "Rust", "has_issues": true, "archived": false, "license": null,
        "forks": 3, "open_issues": 2, "watchers": 12, "default_branch": "main", "topics": ["automation", "sre"],
    });
    for link in [
        "forks",
        "keys",
        "collaborators",
        "teams",
        "hooks",
        "issue_events",
        "events",
        "assignees",
        "branches",
        "tags",
        "blobs",
        "git_tags",
        "git_refs",
        "trees",
        "statuses",
        "languages",
        "stargazers",
        "contributors",
        "subscribers",
        "subscription",
        "commits",
        "git_commits",
        "comments",
        "issue_comment",
        "contents",
        "compare",
        "merges",
        "archive",
        "downloads",
        "issues",
        "pulls",
        "milestones",
        "notifications",
        "labels",
        "releases",
        "deployments",
    ] {
        repository[format!("{link}_url")] = format!("{api}/{link}{{/number}}").into();
    }
    let body = "It looks like the service stopped answering after the last deployment. ".repeat(16);
    json!({
        "id": number,
        "trigger": "core.webhook",
        "headers": {"x-github-event": "issues", "x-github-delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958"},
        "payload": {
            "action": "labeled",
            "issue": {
                "url": format!("{api}/issues/1"), "id": 444_500_041, "number": 1, "title": "Service is down", "user": user("codertocat"),
                "labels": [label("bug"), label("priority-1")], "state": "open", "locked": false, "assignee": user("hubot"),
                "assignees": [user("hubot")], "milestone": null, "comments": 7, "author_association": "OWNER", "body": body,
            },
            "label": label("bug"),
            "repository": repository,
            "sender": user("codertocat"),
        },
    })
}

fn report_size_and_change() {
    let count = COUNTS[COUNTS.len() - 1];
    let before = resident_megabytes();
    let started = Instant::now();
    let mut index = equality_rules(count);
    println!("{count} rules compiled and indexed in {:.2?}", started.elapsed());
    if let (Some(before), Some(after)) = (before, resident_megabytes()) {
        println!("memory: {:.0} MB for the rules and their index together", after - before);
    }
    // A reader keeps the version before each change, so that each one has to copy what it touches.
    let changes = 1_000;
    let replacements: Vec<_> =
        (0..changes).map(|position| rule(position * 97 % count, &repository_is(position))).collect();
    let mut slowest = std::time::Duration::ZERO;
    let mut total = std::time::Duration::ZERO;
    for replacement in replacements {
        let started = Instant::now();
        let held = index.clone();
        index.insert(replacement);
        total += started.elapsed();
        slowest = slowest.max(started.elapsed());
        drop(held);
    }
    println!(
        "one rule of {count} replaced: {:.1?} on average, {slowest:.1?} at most",
        total / changes as u32
    );
}

/// How many rules are judged for one event in the index of all sorts.
fn report_confirmation() {
    for count in COUNTS {
        let index = mixed_rules(count);
        let events = events(count);
        let proposed: usize = events
            .iter()
            .map(|event| index.candidates(&Scope::new().with("event", event), &json!({})).len())
            .sum();
        println!("{count} rules: {:.2} judged for each event", proposed as f64 / events.len() as f64);
    }
}

/// Known where the system says it: on Linux.
fn resident_megabytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kilobytes: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes / 1024.0)
}
