//! Policies and queues.

use std::time::Duration;

use attune_pack::PolicyMethod;
use serde_json::json;

use crate::{accepted, check};

const ACTION: (&str, &str) = (
    "actions/deploy.yaml",
    "ref: ops.deploy\nruntime: core.native\nentrypoint: noop\nparameters:\n  host: {type: string}\n",
);

#[track_caller]
fn check_policy(text: &str, expected: &[&str]) {
    check(&[ACTION, ("policies/p.yaml", text)], expected);
}

#[track_caller]
fn check_queue(text: &str, expected: &[&str]) {
    check(&[ACTION, ("queues/q.yaml", text)], expected);
}

#[test]
fn test_policy_settings() {
    let text = "ref: ops.one\naction: ops.deploy\nconcurrency: 2\nparameters: [host]\n\
                rate: {count: 10, period: 5m}\nmethod: cancel\nenabled: false\n";
    let policy = &accepted(&[ACTION, ("policies/p.yaml", text)]).policies[0];
    assert_eq!(policy.action.as_ref().unwrap().value, "ops.deploy");
    assert_eq!((policy.concurrency, policy.enabled), (Some(2), false));
    assert_eq!(policy.parameters, ["host"]);
    let rate = policy.rate.unwrap();
    assert_eq!((rate.count, rate.period), (10, Duration::from_secs(300)));
    assert_eq!(policy.method, PolicyMethod::Cancel);
    let policy = &accepted(&[("policies/p.yaml", "ref: ops.all\nconcurrency: 5\n")]).policies[0];
    assert_eq!((&policy.action, policy.method), (&None, PolicyMethod::Enqueue));
}

#[test]
fn test_a_policy_must_limit_something() {
    check_policy(
        "ref: ops.one\naction: ops.deploy\n",
        &["policies/p.yaml:1:1: the policy limits nothing; expected `concurrency`, `rate`, or both"],
    );
    check_policy(
        "ref: ops.one\nrate: {count: 1, period: 10s}\nparameters: [host]\n",
        &[
            "policies/p.yaml:3:1: `parameters` has no effect without `concurrency`, which is counted by them; \
           expected the key left out",
        ],
    );
}

#[test]
fn test_slips_of_the_pen_in_policies() {
    check_policy(
        "ref: ops.one\naction: ops.deplyo\nconcurrency: 0\nmethod: queue\n",
        &[
            "policies/p.yaml:2:9: the pack has no action `ops.deplyo`; did you mean `ops.deploy`?",
            "policies/p.yaml:3:14: `concurrency` is 0; expected a whole number from 1 to 2147483647",
            "policies/p.yaml:4:9: `method` is `queue`; expected one of `enqueue`, `cancel`",
        ],
    );
    check_policy(
        "ref: ops.one\nconcurrency: 1\nlabel: One at a time\n",
        &[
            "policies/p.yaml:3:1: unknown key `label`; expected one of `ref`, `enabled`, `action`, `concurrency`, `parameters`, `rate`, `method`",
        ],
    );
    check_policy(
        "ref: ops.one\nconcurency: 1\nrate: {count: 2.5, period: soon}\n",
        &[
            "policies/p.yaml:2:1: unknown key `concurency`; did you mean `concurrency`?",
            "policies/p.yaml:3:15: `rate.count` is 2.5; expected a whole number from 1 to 2147483647",
            "policies/p.yaml:3:28: `rate.period` `soon` is not a duration that can be used; \
             expected whole seconds, or `30s`, `5m`, `2h`; more than nothing, at most a year",
        ],
    );
}

#[test]
fn test_queue_settings() {
    let text = "ref: ops.hosts\naction: ops.deploy\n";
    let queue = &accepted(&[ACTION, ("queues/q.yaml", text)]).queues[0];
    assert_eq!((queue.batch_size, queue.concurrency, queue.max_attempts), (1, 10, 5));
    assert_eq!((queue.retry_delay, queue.enabled), (Duration::from_secs(10), true));
    assert_eq!(queue.item_schema, json!({}));
    let text = "ref: ops.hosts\naction: ops.deploy\nitem:\n  host: {type: string, required: true}\n\
                batch_size: 20\nconcurrency: 2\nmax_attempts: 3\nretry_delay: 1m\nenabled: false\n";
    let queue = &accepted(&[ACTION, ("queues/q.yaml", text)]).queues[0];
    assert_eq!((queue.batch_size, queue.concurrency, queue.max_attempts), (20, 2, 3));
    assert_eq!((queue.retry_delay, queue.enabled), (Duration::from_secs(60), false));
    assert_eq!(queue.item_schema["required"], json!(["host"]));
}

#[test]
fn test_slips_of_the_pen_in_queues() {
    check_queue(
        "ref: ops.hosts\nbatch_size: 0\nmax_attempts: 1\nretry_delay: 5s\nitem:\n  host: {type: strin}\n",
        &[
            "queues/q.yaml:1:1: the key `action` is missing",
            "queues/q.yaml:2:13: `batch_size` is 0; expected a whole number from 1 to 1000",
            "queues/q.yaml:4:1: `retry_delay` has no effect with `max_attempts: 1`, after which nothing is retried; \
             expected the key left out",
            "queues/q.yaml:6:16: `item.host.type`: expected a type: array, boolean, integer, null, number, object, string; \
             did you mean `string`?",
        ],
    );
}
