//! A child learns what it needs, and none of the worker's secrets.

use std::{collections::BTreeMap, ffi::OsString, path::Path};

use attune_worker::environment::{ApiAccess, Attempt, ChildEnvironment};

use crate::helpers::{anywhere, finish, shell};

fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

const ATTEMPT: Attempt<'_> = Attempt {
    execution: 42,
    attempt: 2,
    action_ref: "ops.page",
    pack_dir: None,
    traceparent: None,
    api: None,
    artifacts: None,
};

#[test]
fn a_child_inherits_a_few_variables_and_is_told_about_itself() {
    let own = variables(&[
        ("PATH", "/usr/bin"),
        ("HOME", "/home/attune"),
        ("LC_ALL", "C.UTF-8"),
        ("TZ", "UTC"),
        ("DATABASE_URL", "postgres://u:secret@db/attune"),
        ("PGPASSWORD", "secret"),
        ("ATTUNE_MASTER_KEY", "secret"),
        ("ATTUNE_EXECUTION_ID", "1"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("LD_PRELOAD", "/tmp/x.so"),
        ("TRACEPARENT", "of the worker"),
    ]);
    let environment = ChildEnvironment::of(own, &[]).unwrap();
    let inherited = [("HOME", "/home/attune"), ("LC_ALL", "C.UTF-8"), ("PATH", "/usr/bin"), ("TZ", "UTC")];
    let told = [("ATTUNE_ACTION_REF", "ops.page"), ("ATTUNE_ATTEMPT", "2"), ("ATTUNE_EXECUTION_ID", "42")];
    let mut expected: BTreeMap<_, _> =
        variables(&[inherited.as_slice(), told.as_slice()].concat()).into_iter().collect();
    assert_eq!(environment.for_attempt(&ATTEMPT), expected);

    let access = ApiAccess { url: "http://127.0.0.1:9470".to_owned(), token: "attune_run_42".to_owned() };
    assert!(!format!("{access:?}").contains("attune_run"));
    let attempt = Attempt {
        pack_dir: Some(Path::new("/cache/ops/ab")),
        traceparent: Some("00-1-2-01"),
        api: Some(&access),
        ..ATTEMPT
    };
    expected.extend(variables(&[
        ("ATTUNE_PACK_DIR", "/cache/ops/ab"),
        ("TRACEPARENT", "00-1-2-01"),
        ("ATTUNE_API_URL", "http://127.0.0.1:9470"),
        ("ATTUNE_API_TOKEN", "attune_run_42"),
    ]));
    assert_eq!(environment.for_attempt(&attempt), expected);
}

#[test]
fn an_operator_may_pass_on_more_but_not_the_secrets_of_the_worker() {
    let own = variables(&[("https_proxy", "http://u:pw@proxy"), ("PATH", "/bin"), ("OTHER", "x")]);
    let environment = ChildEnvironment::of(own.clone(), &["https_proxy".into(), "NOT_SET".into()]).unwrap();
    let given = environment.for_attempt(&ATTEMPT);
    assert_eq!(given.get(&OsString::from("https_proxy")), Some(&"http://u:pw@proxy".into()));
    assert!(!given.contains_key(&OsString::from("OTHER")) && !given.contains_key(&OsString::from("NOT_SET")));
    let shown = format!("{environment:?}");
    assert!(shown.contains("https_proxy") && !shown.contains("pw"), "{shown}");

    for name in ["DATABASE_URL", "PGPASSWORD", "ATTUNE_MASTER_KEY", "", "A=B"] {
        let refused = ChildEnvironment::of(own.clone(), &[name.into()]).unwrap_err().to_string();
        assert!(refused.contains(&format!("`{name}` must not be passed")), "{refused}");
    }
}

#[tokio::test]
async fn a_worker_without_a_path_still_finds_programs() {
    let environment = ChildEnvironment::of([], &[]).unwrap();
    let mut launch = shell("echo $ATTUNE_EXECUTION_ID", anywhere());
    launch.env = environment.for_attempt(&ATTEMPT);
    assert_eq!(finish(launch).await.stdout.to_text(), "42\n");
}
