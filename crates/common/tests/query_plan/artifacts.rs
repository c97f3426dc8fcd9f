//! Two hundred thousand runs have left artifacts and said how far they had come.

use attune_common::models::artifact::{
    ArtifactFilter, ArtifactOwner, NewArtifact, NewArtifactContent, Retention,
};
use attune_common::models::owner::OwnerType;
use attune_common::models::progress::NewProgress;
use attune_common::repositories::{ArtifactRepository, ProgressRepository};
use attune_testkit::TestDatabase;
use sqlx::{Connection, PgConnection};

use crate::{Explained, PAGE, RUNS, run};

/// Twenty thousand artifacts of a thousand actions, of ten versions each but for one of which there are ten thousand; and a
/// thousand without any.
async fn fill(connection: &mut PgConnection) {
    run(
        connection,
        "set session_replication_role = replica;
         insert into attune.execution (id, action_ref, status, attempt, started, finished, config)
         overriding system value
         select n, format('load.action_%s', n % 1000), 'completed', 1, clock_timestamp(), clock_timestamp(), '{}'
         from generate_series(1, 200000) n;
         insert into attune.artifact (id, ref, owner_type, owner, retention_days, latest_version, is_empty)
         overriding system value
         select n, format('load.action_%s.report_%s', action, n), 'action', format('load.action_%s', action), 30,
                case when n = 1 then 10000 else 10 end, n > 20000
         from generate_series(1, 21000) n
         -- The last thousand have lost their versions.
         cross join lateral (select case when n > 20000 then n else n % 1000 end) as by (action);
         insert into attune.artifact_version (id, artifact, version, execution, content_type, size, sha256, expires)
         overriding system value
         select n, 1 + (n - 1) / 10, 1 + (n - 1) % 10, n, 'text/plain', 5, sha256(n::text::bytea),
                -- One in a thousand is to go.
                clock_timestamp() + make_interval(days => case when n % 1000 = 0 then -1 else 30 end)
         from generate_series(1, 200000) n;
         insert into attune.artifact_version (id, artifact, version, execution, content_type, size, sha256)
         overriding system value
         select 200000 + n, 1, n, n, 'text/plain', 5, sha256(n::text::bytea) from generate_series(11, 10000) n;
         insert into attune.artifact_chunk (artifact_version, seq, content)
         select id, seq, 'hello' from attune.artifact_version cross join generate_series(0, 1) seq;
         insert into attune.execution_progress (execution, attempt, percent)
         select n, 1, 100 from generate_series(1, 200000) n;
         select setval(pg_get_serial_sequence('attune.artifact', 'id'), 2000000),
                setval(pg_get_serial_sequence('attune.artifact_version', 'id'), 2000000)",
    )
    .await;
    run(connection, "vacuum analyze").await;
}

#[tokio::test]
async fn test_what_runs_leave_and_say_is_found_by_itself() {
    let database = TestDatabase::create().await;
    fill(&mut database.pool().acquire().await.unwrap()).await;
    let mut explained = Explained::connect(&database).await;
    leaving(&mut explained).await;
    reading(&mut explained).await;

    let progress: Vec<NewProgress> = (150_001..=150_100)
        .map(|execution| NewProgress {
            execution,
            attempt: 1,
            percent: Some(50.0),
            message: None,
            steps: None,
        })
        .collect();
    explain!(explained, "progress put", at most 300 rows, |c| ProgressRepository::put(c, &progress));
    explain!(explained, "progress find", at most 1 rows, |c| ProgressRepository::find(c, 150_000, 1));
    // Each is read to be found, and to be removed, with what belongs to it.
    explain!(explained, "artifact expire_versions", at most 300 rows, |c| ArtifactRepository::expire_versions(c, 50));
    let now = chrono::Utc::now();
    explain!(explained, "artifact expire_empty", at most 300 rows, |c| ArtifactRepository::expire_empty(c, now, 100));
    assert!(explained.faults.is_empty(), "\n{}\n", explained.faults.join("\n"));
    insta::assert_snapshot!(explained.report);
}

async fn leaving(explained: &mut Explained) {
    let owner = ArtifactOwner::of(OwnerType::Action, "load.action_7");
    let artifact = |name: &str| NewArtifact {
        owner: owner.clone(),
        retention: Retention { versions: None, days: Some(30) },
        ..NewArtifact::of(format!("load.action_7.{name}"))
    };
    let (known, new) = (artifact("report_7"), artifact("report_new"));
    explain!(explained, "artifact put", at most 1 rows, |c| ArtifactRepository::put(c, &known));
    explain!(explained, "artifact put, new", at most 1 rows, |c| ArtifactRepository::put(c, &new));
    let content = NewArtifactContent {
        artifact: 1,
        execution: Some(1),
        content_type: "text/plain",
        size: 5,
        sha256: &[7; 32],
    };
    explain!(explained, "artifact begin_version", at most 1 rows, |c| ArtifactRepository::begin_version(c, &content));
    explain!(explained, "artifact add_chunk", at most 1 rows, |c| ArtifactRepository::add_chunk(c, 1, 9, b"x"));
}

async fn reading(explained: &mut Explained) {
    explain!(explained, "artifact find_by_ref", at most 1 rows, |c| {
        ArtifactRepository::find_by_ref(c, "load.action_7.report_7")
    });
    let all = ArtifactFilter {
        owner_type: None,
        owner: None,
        artifact_type: None,
        text: None,
        reach: None,
        after: Some("load.action_5".to_owned()),
        limit: PAGE,
    };
    explain!(explained, "artifact search", at most 50 rows, |c| ArtifactRepository::search(c, &all));
    let own = ArtifactOwner::of(OwnerType::Action, "load.action_7");
    explain!(explained, "artifact list_by_owner", at most 20 rows, |c| ArtifactRepository::list_by_owner(c, &own));
    let page: Vec<i64> = (1..=PAGE).collect();
    explain!(explained, "artifact list_by_ids", at most 50 rows, |c| ArtifactRepository::list_by_ids(c, &page));
    explain!(explained, "artifact list_latest_versions", at most 50 rows, |c| {
        ArtifactRepository::list_latest_versions(c, &page)
    });
    explain!(explained, "artifact find_latest_version", at most 1 rows, |c| {
        ArtifactRepository::find_latest_version(c, 1)
    });
    explain!(explained, "artifact list_versions", at most 1000 rows, |c| ArtifactRepository::list_versions(c, 1));
    explain!(explained, "artifact list_versions_by_execution", at most 2 rows, |c| {
        ArtifactRepository::list_versions_by_execution(c, 150)
    });
    explain!(explained, "artifact find_version", at most 1 rows, |c| ArtifactRepository::find_version(c, 1, 5000));
    explain!(explained, "artifact find_chunk", at most 1 rows, |c| ArtifactRepository::find_chunk(c, 5000, 1));
    explain!(explained, "artifact get_content", at most 3 rows, |c| ArtifactRepository::get_content(c, 1, 5000));
    explain!(explained, "artifact delete_version", at most 4 rows, |c| ArtifactRepository::delete_version(c, 1, 5000));
}
