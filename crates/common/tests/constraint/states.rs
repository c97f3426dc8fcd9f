//! What may follow what: each status by its chart in `docs/states.md`, by `can_become`, and by the schema.

use std::collections::BTreeSet;

use attune_common::models::enforcement::EnforcementStatus;
use attune_common::models::execution::ExecutionStatus;
use attune_common::models::inquiry::InquiryStatus;
use attune_common::models::notification::NotificationState;
use attune_common::models::work_queue::WorkItemStatus;
use attune_common::models::worker::WorkerStatus;
use attune_common::repositories::WorkerRepository;
use attune_testkit::transaction;
use sqlx::PgConnection;

use super::chart::Chart;
use super::enums;
use super::run::assert_none;
use crate::helpers::{LONG_LEASE, WorkerFixture};

/// A module of tests for each status, called as its type in the schema: its Rust type, and the column that holds it.
macro_rules! statuses {
    ($($name:ident: $rust:ty, $table:literal . $column:literal;)+) => {
        /// The types whose charts are compared with Rust.
        const IN_RUST: &[&str] = &[$(stringify!($name)),+];

        $(mod $name {
            use super::*;

            #[test]
            fn test_chart_is_can_become() {
                let mut steps = BTreeSet::new();
                for from in <$rust>::ALL {
                    for to in <$rust>::ALL.iter().filter(|to| from.can_become(**to)) {
                        steps.insert((from.to_string(), to.to_string()));
                    }
                }
                check_steps(&Chart::of(stringify!($name)), &steps, stringify!($rust));
            }

            #[tokio::test]
            async fn test_chart_begins_with_the_default_of_the_column() {
                check_first(&Chart::of(stringify!($name)), $table, $column).await;
            }

            #[tokio::test]
            async fn test_chart_has_the_values_of_the_schema() {
                check_states(stringify!($name)).await;
            }
        })+
    };
}

statuses! {
    enforcement_status: EnforcementStatus, "enforcement"."status";
    execution_status: ExecutionStatus, "execution"."status";
    inquiry_status: InquiryStatus, "inquiry"."status";
    notification_state: NotificationState, "notification"."state";
    work_item_status: WorkItemStatus, "work_item"."status";
    worker_status: WorkerStatus, "worker"."status";
}

/// The types that no model speaks of yet.
const IN_SCHEMA_ONLY: &[&str] = &[];

fn check_steps(chart: &Chart, steps: &BTreeSet<(String, String)>, rust: &str) {
    let arrow = |(from, to): &(String, String)| format!("{from} --> {to}");
    let missing = steps.difference(&chart.steps).map(|step| {
        format!("{rust}::can_become allows `{}`, which the chart in docs/states.md lacks", arrow(step))
    });
    let refused = chart.steps.difference(steps).map(|step| {
        format!("the chart in docs/states.md has `{}`, which {rust}::can_become refuses", arrow(step))
    });
    assert_none(&missing.chain(refused).collect::<Vec<_>>());
}

async fn check_states(type_name: &str) {
    let chart = Chart::of(type_name);
    let schema: BTreeSet<_> =
        enums::of_schema().await.remove(type_name).unwrap_or_default().into_iter().collect();
    assert_eq!(chart.states(), schema, "{type_name} in docs/states.md (left) and in the schema (right)");
    assert_eq!(
        chart.reached(),
        schema,
        "{type_name}: what is reached by its chart (left), and what there is (right)"
    );
    for (from, to) in &chart.steps {
        assert_ne!(from, to, "{type_name} in docs/states.md: a status does not follow itself");
    }
}

/// What a row without a status has is where the chart begins.
async fn check_first(chart: &Chart, table: &str, column: &str) {
    let mut tx = transaction().await;
    let default: String = sqlx::query_scalar(
        "select split_part(pg_get_expr(adbin, adrelid), '''', 2)
         from pg_attrdef
         join pg_attribute on attrelid = adrelid and attnum = adnum
         where adrelid = ('attune.' || $1)::regclass and attname = $2",
    )
    .bind(table)
    .bind(column)
    .fetch_one(&mut *tx)
    .await
    .expect("the column has a default");
    assert!(
        chart.first.contains(&default),
        "{table}.{column} is {default} by default; its chart begins {:?}",
        chart.first
    );
}

#[tokio::test]
async fn test_charts_of_what_only_the_schema_has() {
    for type_name in IN_SCHEMA_ONLY {
        check_states(type_name).await;
    }
}

#[tokio::test]
async fn test_every_status_has_a_chart() {
    let models = enums::of_models();
    let mut faults = Vec::new();
    let schema = enums::of_schema().await;
    for name in schema.keys().filter(|name| name.ends_with("_status") || name.ends_with("_state")) {
        let in_rust = IN_RUST.contains(&&**name);
        if models.contains(name) && !in_rust {
            faults.push(format!(
                "attune.{name} is now an enum of the models: remove it from IN_SCHEMA_ONLY and add \
                 `{name}: <Type>, \"<table>\".\"<column>\";` to `statuses!` in tests/constraint/states.rs"
            ));
        } else if !in_rust && !IN_SCHEMA_ONLY.contains(&&**name) {
            faults.push(format!(
                "attune.{name} has no chart: add it to IN_SCHEMA_ONLY in tests/constraint/states.rs"
            ));
        }
    }
    assert_none(&faults);
}

#[tokio::test]
async fn test_worker_statements_keep_to_the_chart() {
    for &from in WorkerStatus::ALL {
        // What a worker reported of itself outlives the renewal of its lease.
        let renewed = if from == WorkerStatus::Inactive { WorkerStatus::Active } else { from };
        let steps =
            [("register", WorkerStatus::Active), ("renew", renewed), ("release", WorkerStatus::Inactive)];
        for (step, expected) in steps {
            let mut tx = transaction().await;
            let to = after(&mut tx, from, step).await;
            assert_eq!(to, expected, "{step} of a worker that is {from}");
            assert!(from == to || from.can_become(to), "{step} made {to} of {from}");
        }
    }
}

async fn after(connection: &mut PgConnection, from: WorkerStatus, step: &str) -> WorkerStatus {
    let fixture = WorkerFixture::new_unique();
    let new = fixture.new.clone();
    let worker = fixture.create(&mut *connection).await.expect("a worker");
    sqlx::query("update attune.worker set status = $2, lease_expires = null where id = $1")
        .bind(worker.id)
        .bind(from)
        .execute(&mut *connection)
        .await
        .expect("a status can be set");
    match step {
        "register" => drop(WorkerRepository::register(&mut *connection, &new).await.expect("register")),
        "renew" => {
            assert!(
                WorkerRepository::renew(&mut *connection, worker.id, &new.instance, LONG_LEASE)
                    .await
                    .expect("renew")
            );
        }
        "release" => {
            WorkerRepository::release(&mut *connection, worker.id, &new.instance).await.expect("release");
        }
        other => panic!("{other} is no step"),
    }
    WorkerRepository::get_by_id(connection, worker.id).await.expect("it is there").status
}
