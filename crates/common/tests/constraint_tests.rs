//! The promises of the schema: every check, key, reference, cascade, default, enum and trigger of `attune` has a case that
//! fails without it.
//!
//! The cases are data, a file for each migration. What a case does is in `constraint/run.rs`; that no constraint is
//! without a case, and no case without its constraint, in `constraint/catalogue.rs`.

mod helpers;

mod constraint {
    pub(crate) mod catalogue;
    pub(crate) mod chart;
    pub(crate) mod enums;
    pub(crate) mod model;
    pub(crate) mod run;
    pub(crate) mod states;

    pub(crate) mod event_enforcement;
    pub(crate) mod execution;
    pub(crate) mod execution_progress;
    pub(crate) mod identity_permission;
    pub(crate) mod key;
    pub(crate) mod notification_artifact_audit;
    pub(crate) mod pack;
    pub(crate) mod policy_queue;
    pub(crate) mod rule;
    pub(crate) mod runtime_worker;
    pub(crate) mod trigger_action;
    pub(crate) mod workflow_inquiry;
}

/// Makes a module of tests for each table: one test for each kind of case that the table has.
macro_rules! tables {
    ($($table:ident: $($kind:ident)+;)+) => {
        /// The kinds of cases that tests run, by table.
        pub(crate) const TESTED: &[(&str, &[&str])] = &[$((stringify!($table), &[$(stringify!($kind)),+])),+];

        $(mod $table { $(crate::run_cases!($kind, stringify!($table));)+ })+
    };
}

/// The test of one kind of case.
macro_rules! run_cases {
    (required, $table:expr) => {
        #[tokio::test]
        async fn test_columns_that_must_be_given() {
            crate::constraint::run::required($table).await;
        }
    };
    (defaults, $table:expr) => {
        #[tokio::test]
        async fn test_columns_with_a_default() {
            crate::constraint::run::defaults($table).await;
        }
    };
    (checks, $table:expr) => {
        #[tokio::test]
        async fn test_checks_refuse_and_accept() {
            crate::constraint::run::checks($table).await;
        }
    };
    (keys, $table:expr) => {
        #[tokio::test]
        async fn test_keys_refuse_a_second_row() {
            crate::constraint::run::keys($table).await;
        }
    };
    (references, $table:expr) => {
        #[tokio::test]
        async fn test_references_need_and_follow_their_target() {
            crate::constraint::run::references($table).await;
        }
    };
    (updated, $table:expr) => {
        #[tokio::test]
        async fn test_updated_tells_of_changes() {
            crate::constraint::run::updated($table).await;
        }
    };
}
pub(crate) use run_cases;

tables! {
    identity: required defaults checks keys updated;
    token: required defaults checks keys references;
    permission_set: required defaults checks keys references updated;
    permission_assignment: required defaults keys references;

    pack: required defaults checks keys updated;
    pack_file: required defaults checks keys references;

    runtime: required defaults checks keys references updated;
    worker: required defaults checks keys updated;
    worker_offer: required defaults checks keys references;
    worker_assigned: required defaults checks keys references;
    placement: required defaults checks keys updated;

    trigger: required defaults checks keys references updated;
    sensor: required defaults checks keys references updated;
    action: required defaults checks keys references updated;

    rule: required defaults checks keys references updated;
    rule_version: required defaults keys references;
    rule_set: defaults checks keys;

    event: required defaults checks keys references updated;
    event_batch: required checks keys;
    enforcement: required defaults checks keys references updated;
    enforcement_event: required keys references;
    window_state: required checks keys references;
    window_outcome: required keys references;

    execution: required defaults checks keys updated;
    execution_attempt: required defaults checks keys references;
    execution_output: required defaults keys references;
    pause: defaults checks keys references;
    execution_progress: required defaults checks keys references updated;

    workflow_definition: required defaults checks keys references updated;
    workflow_state: required defaults keys references updated;
    workflow_task: required defaults checks keys references updated;
    inquiry: required defaults checks keys references updated;

    policy: required defaults checks keys references updated;
    admission_lane: required defaults checks keys;
    admission: required defaults checks keys references;
    work_queue: required defaults checks keys references updated;
    work_item: required defaults checks keys references updated;

    data_key: required defaults keys;
    key: required defaults checks keys references updated;

    change: required defaults checks keys;
    feed_cursor: required defaults checks keys;
    notification: required defaults checks keys updated;
    artifact: required defaults checks keys updated;
    artifact_version: required defaults checks keys references;
    artifact_chunk: required keys references;
    audit_event: required defaults checks keys;
}
