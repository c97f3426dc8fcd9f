//! The artifact repository: `attune.artifact` and `attune.artifact_version`.

mod helpers;

use attune_common::StoreError;
use attune_common::models::artifact::{
    Artifact, ArtifactContent, ArtifactFilter, ArtifactOwner, ArtifactType, ArtifactUpdate, ArtifactVersion,
    NewArtifact, NewArtifactContent, NewArtifactVersion, Retention,
};
use attune_common::models::owner::OwnerType;
use attune_common::repositories::{ARTIFACT_CHUNK, ArtifactRepository, ExecutionRepository};
use attune_testkit::{TestDatabase, transaction};
use helpers::artifact::*;
use helpers::checks::*;
use helpers::steps::*;
use helpers::*;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;

fn full(artifact_ref: &str) -> NewArtifact {
    NewArtifact {
        r#ref: artifact_ref.to_owned(),
        label: Some("Report".to_owned()),
        description: Some("What happened last night".to_owned()),
        artifact_type: ArtifactType::Table,
        owner: ArtifactOwner::of(OwnerType::Pack, "ops"),
        retention: Retention { versions: Some(3), days: Some(30) },
    }
}

fn expected(row: &Artifact, new: NewArtifact) -> Artifact {
    Artifact {
        id: row.id,
        r#ref: new.r#ref,
        label: new.label,
        description: new.description,
        artifact_type: new.artifact_type,
        owner: new.owner,
        retention: new.retention,
        latest_version: 0,
        created: row.created,
        updated: row.updated,
    }
}

/// The numbers of the versions that are there, the newest first.
async fn numbers(connection: &mut PgConnection, artifact: i64) -> Vec<i32> {
    let versions = ArtifactRepository::list_versions(connection, artifact).await;
    versions.expect("versions can be listed").iter().map(|version| version.version).collect()
}

/// Makes a version so many days older.
async fn age(connection: &mut PgConnection, version: &ArtifactVersion, days: i32) {
    let done = sqlx::query(
        "update attune.artifact_version
         set created = created - make_interval(days => $2), expires = expires - make_interval(days => $2)
         where id = $1",
    )
    .bind(version.id)
    .bind(days)
    .execute(connection)
    .await
    .expect("a version can be made older");
    assert_eq!(done.rows_affected(), 1);
}

#[test]
fn test_table_name_has_the_schema() {
    assert_eq!(ArtifactRepository::table_name(), "attune.artifact");
}

#[tokio::test]
async fn test_create_minimal() {
    let mut tx = transaction().await;
    let new = NewArtifact::of(unique_artifact_ref());
    let artifact = ArtifactRepository::create(&mut *tx, &new).await.unwrap();
    assert_eq!(artifact, expected(&artifact, new));
    assert_eq!(artifact.owner, ArtifactOwner::SYSTEM);
}

#[tokio::test]
async fn test_create_with_everything() {
    let mut tx = transaction().await;
    let new = full(&unique_artifact_ref());
    let artifact = ArtifactRepository::create(&mut *tx, &new).await.unwrap();
    assert_eq!(artifact, expected(&artifact, new));
}

#[tokio::test]
async fn test_create_of_every_type_and_owner() {
    let mut tx = transaction().await;
    for &artifact_type in ArtifactType::ALL {
        let mut fixture = ArtifactFixture::new_unique();
        fixture.new.artifact_type = artifact_type;
        assert_eq!(fixture.create(&mut tx).await.unwrap().artifact_type, artifact_type);
    }
    for owner_type in [OwnerType::Identity, OwnerType::Pack, OwnerType::Action, OwnerType::Sensor] {
        let owner = ArtifactOwner::of(owner_type, "somebody");
        let artifact = ArtifactFixture::new_unique().with_owner(owner.clone()).create(&mut tx).await.unwrap();
        assert_eq!(artifact.owner, owner);
    }
}

#[tokio::test]
async fn test_create_ref_taken() {
    let mut tx = transaction().await;
    let artifact = ArtifactFixture::new_unique().create(&mut tx).await.unwrap();
    let again = ArtifactFixture::new(&artifact.r#ref).create(&mut tx).await;
    assert_already_exists(again, "artifact", "ref", &artifact.r#ref);
}

#[tokio::test]
async fn test_create_invalid_refs() {
    for artifact_ref in ["", "report", "ops.", ".report", "Ops.report", "ops report.x"] {
        let mut tx = transaction().await;
        let created = ArtifactFixture::new(artifact_ref).create(&mut tx).await;
        assert_refused_value(created, "artifact", "ref", artifact_ref);
    }
}

#[tokio::test]
async fn test_create_owner_without_a_name_and_name_without_an_owner() {
    for owner in [
        ArtifactOwner { owner_type: OwnerType::Pack, owner: None },
        ArtifactOwner { owner_type: OwnerType::System, owner: Some("ops".to_owned()) },
    ] {
        let mut tx = transaction().await;
        let created = ArtifactFixture::new_unique().with_owner(owner).create(&mut tx).await;
        assert_invalid_value(created, "artifact", "artifact_owner_consistent");
    }
}

#[tokio::test]
async fn test_create_invalid_retention() {
    for number in [0, -1] {
        let mut tx = transaction().await;
        let created = ArtifactFixture::new_unique().with_retention(Some(number), None).create(&mut tx).await;
        assert_refused_value(created, "artifact", "retention_versions", &number.to_string());
        let mut tx = transaction().await;
        let created = ArtifactFixture::new_unique().with_retention(None, Some(number)).create(&mut tx).await;
        assert_refused_value(created, "artifact", "retention_days", &number.to_string());
    }
}

#[tokio::test]
async fn test_get_by_id_and_ref() {
    let mut tx = transaction().await;
    let artifact = ArtifactFixture::new_unique().create(&mut tx).await.unwrap();
    ArtifactFixture::new_unique().create(&mut tx).await.unwrap();
    assert_eq!(ArtifactRepository::get_by_id(&mut *tx, artifact.id).await.unwrap(), artifact);
    assert_eq!(ArtifactRepository::get_by_ref(&mut *tx, &artifact.r#ref).await.unwrap(), artifact);
}

#[tokio::test]
async fn test_find_not_found() {
    let mut tx = transaction().await;
    assert_eq!(ArtifactRepository::find_by_id(&mut *tx, NO_SUCH_ID).await.unwrap(), None);
    assert_eq!(ArtifactRepository::find_by_ref(&mut *tx, "test.none").await.unwrap(), None);
}

#[tokio::test]
async fn test_get_not_found() {
    let mut tx = transaction().await;
    assert_not_found(ArtifactRepository::get_by_id(&mut *tx, NO_SUCH_ID).await, "artifact", &NO_SUCH_ID);
    assert_not_found(ArtifactRepository::get_by_ref(&mut *tx, "test.none").await, "artifact", "test.none");
}

#[tokio::test]
async fn test_list_empty() {
    let mut tx = transaction().await;
    assert_eq!(ArtifactRepository::list(&mut *tx).await.unwrap(), []);
}

#[tokio::test]
async fn test_list_by_ref() {
    let mut tx = transaction().await;
    let prefix = unique_artifact_ref();
    let second = ArtifactFixture::new(&format!("{prefix}.b")).create(&mut tx).await.unwrap();
    let first = ArtifactFixture::new(&format!("{prefix}.a")).create(&mut tx).await.unwrap();
    assert_eq!(ArtifactRepository::list(&mut *tx).await.unwrap(), [first, second]);
}

#[tokio::test]
async fn test_list_by_owner() {
    let mut tx = transaction().await;
    let owners = [
        ArtifactOwner::SYSTEM,
        ArtifactOwner::of(OwnerType::Pack, "ops"),
        ArtifactOwner::of(OwnerType::Pack, "other"),
        // The same name in another kind.
        ArtifactOwner::of(OwnerType::Identity, "ops"),
    ];
    let mut of = Vec::new();
    for owner in &owners {
        let prefix = unique_artifact_ref();
        let fixture = |name| ArtifactFixture::new(&format!("{prefix}.{name}")).with_owner(owner.clone());
        let second = fixture("b").create(&mut tx).await.unwrap();
        let first = fixture("a").create(&mut tx).await.unwrap();
        of.push([first, second]);
    }
    for (owner, artifacts) in owners.iter().zip(of) {
        assert_eq!(ArtifactRepository::list_by_owner(&mut *tx, owner).await.unwrap(), artifacts, "{owner:?}");
    }
    let nobody = ArtifactOwner::of(OwnerType::Action, "ops");
    assert_eq!(ArtifactRepository::list_by_owner(&mut *tx, &nobody).await.unwrap(), []);
}

#[tokio::test]
async fn test_search_by_every_filter() {
    let mut tx = transaction().await;
    let prefix = unique_artifact_ref();
    let report = ArtifactRepository::create(&mut *tx, &full(&format!("{prefix}.report"))).await.unwrap();
    let log = ArtifactFixture::new(&format!("{prefix}.log")).create(&mut tx).await.unwrap();
    let any = ArtifactFilter { limit: 10, ..ArtifactFilter::default() };
    let found = ArtifactRepository::search(&mut *tx, &any).await.unwrap();
    assert_eq!(found, [log.clone(), report.clone()]);
    for (filter, expect) in [
        (ArtifactFilter { owner_type: Some(OwnerType::Pack), ..any.clone() }, &report),
        (ArtifactFilter { artifact_type: Some(ArtifactType::File), ..any.clone() }, &log),
        (ArtifactFilter { owner: report.owner.owner.clone(), ..any.clone() }, &report),
        (ArtifactFilter { text: Some(".REPORT".to_owned()), ..any.clone() }, &report),
    ] {
        let found = ArtifactRepository::search(&mut *tx, &filter).await.unwrap();
        assert_eq!(found, std::slice::from_ref(expect), "{filter:?}");
    }
}

#[tokio::test]
async fn test_search_pages() {
    let mut tx = transaction().await;
    let prefix = unique_artifact_ref();
    let mut artifacts = Vec::new();
    for name in ["a", "b", "c"] {
        artifacts.push(ArtifactFixture::new(&format!("{prefix}.{name}")).create(&mut tx).await.unwrap());
    }
    let mut filter = ArtifactFilter { limit: 2, ..ArtifactFilter::default() };
    assert_eq!(ArtifactRepository::search(&mut *tx, &filter).await.unwrap(), artifacts[..2]);
    filter.after = Some(artifacts[1].r#ref.clone());
    assert_eq!(ArtifactRepository::search(&mut *tx, &filter).await.unwrap(), artifacts[2..]);
}

#[tokio::test]
async fn test_update_everything() {
    let mut tx = transaction().await;
    let before = ArtifactFixture::new_unique().create(&mut tx).await.unwrap();
    let owner = ArtifactOwner::of(OwnerType::Action, "ops.report");
    let retention = Retention { versions: Some(5), days: None };
    let update = ArtifactUpdate {
        label: Some("Label".to_owned()),
        description: Some("Description".to_owned()),
        owner: Some(owner.clone()),
        retention: Some(retention),
        unchanged_since: None,
    };
    let after = ArtifactRepository::update(&mut tx, before.id, &update).await.unwrap();
    assert!(after.updated > before.updated);
    let expected = Artifact {
        label: Some("Label".to_owned()),
        description: Some("Description".to_owned()),
        owner,
        retention,
        updated: after.updated,
        ..before
    };
    assert_eq!(after, expected);
}

#[tokio::test]
async fn test_update_lifts_a_bound_of_the_retention() {
    let mut tx = transaction().await;
    let artifact =
        ArtifactFixture::new_unique().with_retention(Some(3), Some(30)).create(&mut tx).await.unwrap();
    let lifted = Retention { versions: None, days: Some(7) };
    let update = ArtifactUpdate { retention: Some(lifted), ..ArtifactUpdate::default() };
    assert_eq!(ArtifactRepository::update(&mut tx, artifact.id, &update).await.unwrap().retention, lifted);
}

#[tokio::test]
async fn test_update_to_the_system() {
    let mut tx = transaction().await;
    let artifact = ArtifactRepository::create(&mut *tx, &full(&unique_artifact_ref())).await.unwrap();
    let update = ArtifactUpdate { owner: Some(ArtifactOwner::SYSTEM), ..ArtifactUpdate::default() };
    let updated = ArtifactRepository::update(&mut tx, artifact.id, &update).await.unwrap();
    assert_eq!(updated.owner, ArtifactOwner::SYSTEM);
}

#[tokio::test]
async fn test_update_nothing() {
    let mut tx = transaction().await;
    let artifact = ArtifactRepository::create(&mut *tx, &full(&unique_artifact_ref())).await.unwrap();
    let same = ArtifactRepository::update(&mut tx, artifact.id, &ArtifactUpdate::default()).await.unwrap();
    assert_eq!(same, artifact);
}

#[tokio::test]
async fn test_update_refused_value() {
    let mut tx = transaction().await;
    let artifact = ArtifactFixture::new_unique().create(&mut tx).await.unwrap();
    let retention = Some(Retention { versions: None, days: Some(0) });
    let update = ArtifactUpdate { retention, ..ArtifactUpdate::default() };
    let updated = ArtifactRepository::update(&mut tx, artifact.id, &update).await;
    assert_refused_value(updated, "artifact", "retention_days", "0");
}

#[tokio::test]
async fn test_update_of_a_row_that_changed_meanwhile() {
    let mut tx = transaction().await;
    let seen = ArtifactFixture::new_unique().create(&mut tx).await.unwrap();
    add_versions(&mut tx, seen.id, 1).await;
    let current = ArtifactRepository::get_by_id(&mut *tx, seen.id).await.unwrap();
    let mut update = ArtifactUpdate {
        label: Some("Late".to_owned()),
        unchanged_since: Some(seen.updated),
        ..ArtifactUpdate::default()
    };
    assert_conflict(ArtifactRepository::update(&mut tx, seen.id, &update).await, "artifact", &seen.id);
    update.unchanged_since = Some(current.updated);
    let updated = ArtifactRepository::update(&mut tx, seen.id, &update).await.unwrap();
    assert_eq!(updated.label.as_deref(), Some("Late"));
}

#[tokio::test]
async fn test_update_not_found() {
    let mut tx = transaction().await;
    let updated = ArtifactRepository::update(&mut tx, NO_SUCH_ID, &ArtifactUpdate::default()).await;
    assert_not_found(updated, "artifact", &NO_SUCH_ID);
}

#[tokio::test]
async fn test_delete_with_versions() {
    let mut tx = transaction().await;
    let artifact = ArtifactFixture::new_unique().create(&mut tx).await.unwrap();
    let kept = ArtifactFixture::new_unique().create(&mut tx).await.unwrap();
    add_versions(&mut tx, artifact.id, 2).await;
    add_versions(&mut tx, kept.id, 1).await;
    assert!(ArtifactRepository::delete(&mut *tx, artifact.id).await.unwrap());
    assert!(!ArtifactRepository::delete(&mut *tx, artifact.id).await.unwrap());
    assert_eq!(numbers(&mut tx, artifact.id).await, [] as [i32; 0]);
    assert_eq!(numbers(&mut tx, kept.id).await, [1]);
}

#[tokio::test]
async fn test_add_version() {
    let mut tx = transaction().await;
    let artifact = ArtifactFixture::new_unique().create(&mut tx).await.unwrap();
    let execution = ExecutionFixture::new_unique().create(&mut tx).await.unwrap();
    let new = NewArtifactVersion {
        artifact: artifact.id,
        execution: Some(execution.id),
        content_type: "application/octet-stream".to_owned(),
        content: vec![0, 1, 255],
    };
    let version = ArtifactRepository::add_version(&mut *tx, &new).await.unwrap();
    let expected = ArtifactVersion {
        id: version.id,
        artifact: artifact.id,
        version: 1,
        execution: Some(execution.id),
        content_type: new.content_type.clone(),
        size: 3,
        sha256: Sha256::digest(&new.content).to_vec(),
        created: version.created,
    };
    assert_eq!(version, expected);
    let content = ArtifactRepository::get_content(&mut *tx, artifact.id, 1).await.unwrap();
    assert_eq!(content, ArtifactContent { content_type: new.content_type, content: new.content });
}

#[tokio::test]
async fn test_add_version_counts_for_each_artifact() {
    let mut tx = transaction().await;
    let one = ArtifactFixture::new_unique().create(&mut tx).await.unwrap();
    let other = ArtifactFixture::new_unique().create(&mut tx).await.unwrap();
    add_versions(&mut tx, one.id, 3).await;
    add_versions(&mut tx, other.id, 1).await;
    assert_eq!(numbers(&mut tx, one.id).await, [3, 2, 1]);
    assert_eq!(numbers(&mut tx, other.id).await, [1]);
    assert_eq!(ArtifactRepository::get_by_id(&mut *tx, one.id).await.unwrap().latest_version, 3);
}

#[tokio::test]
async fn test_add_version_never_gives_a_number_again() {
    let mut tx = transaction().await;
    let artifact = ArtifactFixture::new_unique().create(&mut tx).await.unwrap();
    add_versions(&mut tx, artifact.id, 2).await;
    assert!(ArtifactRepository::delete_version(&mut *tx, artifact.id, 2).await.unwrap());
    let next = ArtifactRepository::add_version(&mut *tx, &text_version(artifact.id, "x")).await.unwrap();
    assert_eq!(next.version, 3);
}

#[tokio::test]
async fn test_add_version_without_content() {
    let mut tx = transaction().await;
    let artifact = ArtifactFixture::new_unique().create(&mut tx).await.unwrap();
    let version = ArtifactRepository::add_version(&mut *tx, &text_version(artifact.id, "")).await.unwrap();
    assert_eq!(version.size, 0);
}

#[tokio::test]
async fn test_add_version_by_two_at_once() {
    let database = TestDatabase::create().await;
    let mut first = attune_common::db::begin(database.pool()).await.unwrap();
    let artifact = {
        let mut connection = database.pool().acquire().await.unwrap();
        ArtifactFixture::new_unique().with_retention(Some(1), None).create(&mut connection).await.unwrap().id
    };
    let one = ArtifactRepository::add_version(&mut *first, &text_version(artifact, "one")).await.unwrap();
    let new = text_version(artifact, "two");
    let (two, ()) = tokio::join!(ArtifactRepository::add_version(database.pool(), &new), async {
        until_blocked(database.pool(), 1).await;
        first.commit().await.unwrap();
    });
    assert_eq!((one.version, two.unwrap().version), (1, 2));
    let content = ArtifactRepository::get_content(database.pool(), artifact, 2).await.unwrap();
    assert_eq!(content.content, b"two");
    // The second one took the place of the first, though it began when that was not there yet.
    assert_eq!(ArtifactRepository::expire_versions(database.pool(), 10).await.unwrap(), 1);
    assert!(ArtifactRepository::find_version(database.pool(), artifact, 1).await.unwrap().is_none());
}

#[tokio::test]
async fn test_add_version_that_is_rolled_back_leaves_no_gap() {
    let database = TestDatabase::create().await;
    let mut first = attune_common::db::begin(database.pool()).await.unwrap();
    let mut connection = database.pool().acquire().await.unwrap();
    let artifact = ArtifactFixture::new_unique().create(&mut connection).await.unwrap().id;
    ArtifactRepository::add_version(&mut *first, &text_version(artifact, "lost")).await.unwrap();
    first.rollback().await.unwrap();
    let added = ArtifactRepository::add_version(&mut *connection, &text_version(artifact, "kept")).await;
    assert_eq!(added.unwrap().version, 1);
}

#[tokio::test]
async fn test_add_version_artifact_not_found() {
    let mut tx = transaction().await;
    let added = ArtifactRepository::add_version(&mut *tx, &text_version(NO_SUCH_ID, "x")).await;
    assert_not_found(added, "artifact", &NO_SUCH_ID);
}

#[tokio::test]
async fn test_add_version_invalid_execution() {
    let mut tx = transaction().await;
    let artifact = ArtifactFixture::new_unique().create(&mut tx).await.unwrap();
    let new = NewArtifactVersion { execution: Some(NO_SUCH_ID), ..text_version(artifact.id, "x") };
    let added = ArtifactRepository::add_version(&mut *tx, &new).await;
    assert_invalid_reference(added, "artifact_version", "execution");
}

#[tokio::test]
async fn test_add_version_invalid_content_type() {
    let mut tx = transaction().await;
    let artifact = ArtifactFixture::new_unique().create(&mut tx).await.unwrap();
    let new = NewArtifactVersion { content_type: String::new(), ..text_version(artifact.id, "x") };
    let added = ArtifactRepository::add_version(&mut *tx, &new).await;
    assert_refused_value(added, "artifact_version", "content_type", "");
}

#[tokio::test]
async fn test_list_versions() {
    let mut tx = transaction().await;
    let artifact = ArtifactFixture::new_unique().create(&mut tx).await.unwrap();
    assert_eq!(ArtifactRepository::list_versions(&mut *tx, artifact.id).await.unwrap(), []);
    let mut versions = add_versions(&mut tx, artifact.id, 3).await;
    versions.reverse();
    assert_eq!(ArtifactRepository::list_versions(&mut *tx, artifact.id).await.unwrap(), versions);
}

#[tokio::test]
async fn test_list_versions_by_execution() {
    let mut tx = transaction().await;
    let execution = ExecutionFixture::new_unique().create(&mut tx).await.unwrap();
    let mut left = Vec::new();
    for _ in 0..2 {
        let artifact = ArtifactFixture::new_unique().create(&mut tx).await.unwrap();
        add_versions(&mut tx, artifact.id, 1).await;
        let new = NewArtifactVersion { execution: Some(execution.id), ..text_version(artifact.id, "x") };
        left.push(ArtifactRepository::add_version(&mut *tx, &new).await.unwrap());
    }
    let versions = ArtifactRepository::list_versions_by_execution(&mut *tx, execution.id).await.unwrap();
    assert_eq!(versions, left);
}

#[tokio::test]
async fn test_versions_outlive_their_execution() {
    let mut tx = transaction().await;
    let artifact = ArtifactFixture::new_unique().create(&mut tx).await.unwrap();
    let execution = ExecutionFixture::new_unique().create(&mut tx).await.unwrap();
    let new = NewArtifactVersion { execution: Some(execution.id), ..text_version(artifact.id, "x") };
    let version = ArtifactRepository::add_version(&mut *tx, &new).await.unwrap();
    assert!(ExecutionRepository::delete(&mut *tx, execution.id).await.unwrap());
    let left = ArtifactRepository::find_latest_version(&mut *tx, artifact.id).await.unwrap();
    assert_eq!(left, Some(ArtifactVersion { execution: None, ..version }));
}

#[tokio::test]
async fn test_find_latest_version() {
    let mut tx = transaction().await;
    let artifact = ArtifactFixture::new_unique().create(&mut tx).await.unwrap();
    assert_eq!(ArtifactRepository::find_latest_version(&mut *tx, artifact.id).await.unwrap(), None);
    let versions = add_versions(&mut tx, artifact.id, 3).await;
    let latest = ArtifactRepository::find_latest_version(&mut *tx, artifact.id).await.unwrap();
    assert_eq!(latest.as_ref(), versions.last());
    ArtifactRepository::delete_version(&mut *tx, artifact.id, 3).await.unwrap();
    let latest = ArtifactRepository::find_latest_version(&mut *tx, artifact.id).await.unwrap();
    assert_eq!(latest.as_ref(), Some(&versions[1]), "the newest of those that are there");
}

#[tokio::test]
async fn test_content_of_each_version() {
    let mut tx = transaction().await;
    let artifact = ArtifactFixture::new_unique().create(&mut tx).await.unwrap();
    for version in add_versions(&mut tx, artifact.id, 2).await {
        let content = ArtifactRepository::get_content(&mut *tx, artifact.id, version.version).await.unwrap();
        assert_eq!(content.content, version.version.to_string().as_bytes());
    }
}

#[tokio::test]
async fn test_content_not_found() {
    let mut tx = transaction().await;
    let artifact = ArtifactFixture::new_unique().create(&mut tx).await.unwrap();
    assert_eq!(ArtifactRepository::find_content(&mut *tx, artifact.id, 1).await.unwrap(), None);
    let content = ArtifactRepository::get_content(&mut *tx, artifact.id, 1).await;
    assert_not_found(content, "artifact version", &format!("{}/1", artifact.id));
}

#[tokio::test]
async fn test_content_in_pieces() {
    let mut tx = transaction().await;
    let artifact = ArtifactFixture::new_unique().create(&mut tx).await.unwrap();
    let chunk = usize::try_from(ARTIFACT_CHUNK).unwrap();
    let whole: Vec<u8> = (0..2 * chunk + 3).map(|at| (at % 251) as u8).collect();
    for length in [0, 1, chunk - 1, chunk, chunk + 1, 2 * chunk, 2 * chunk + 3] {
        let new = NewArtifactVersion { content: whole[..length].to_vec(), ..text_version(artifact.id, "") };
        let at_once = ArtifactRepository::add_version(&mut *tx, &new).await.unwrap();
        let content = NewArtifactContent {
            artifact: artifact.id,
            execution: None,
            content_type: "text/plain",
            size: length as i64,
            sha256: &at_once.sha256,
        };
        let begun = ArtifactRepository::begin_version(&mut tx, &content).await.unwrap();
        for (seq, piece) in (0..).zip(whole[..length].chunks(chunk)) {
            ArtifactRepository::add_chunk(&mut tx, begun.id, seq, piece).await.unwrap();
        }
        for version in [&at_once, &begun] {
            assert_eq!(version.size, length as i64);
            let read = ArtifactRepository::get_content(&mut *tx, artifact.id, version.version).await.unwrap();
            assert_eq!(read.content, whole[..length], "{length}");
            let mut pieces = Vec::new();
            for seq in 0.. {
                let piece = ArtifactRepository::find_chunk(&mut *tx, version.id, seq).await.unwrap();
                let Some(piece) = piece else { break };
                pieces.push(piece.len());
            }
            let expected: Vec<usize> = whole[..length].chunks(chunk).map(<[u8]>::len).collect();
            assert_eq!(pieces, expected, "{length}");
        }
    }
    ArtifactRepository::delete(&mut *tx, artifact.id).await.unwrap();
    let left: i64 =
        sqlx::query_scalar("select count(*) from attune.artifact_chunk").fetch_one(&mut *tx).await.unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn test_put_makes_an_artifact_once() {
    let mut tx = transaction().await;
    let new = NewArtifact {
        owner: ArtifactOwner::of(OwnerType::Action, "ops.page"),
        ..NewArtifact::of(unique_artifact_ref())
    };
    let made = ArtifactRepository::put(&mut *tx, &new).await.unwrap();
    assert_eq!(made.retention, Retention::default());
    let retention = Retention { versions: Some(3), days: None };
    let again = NewArtifact { label: Some("Report.html".to_owned()), retention, ..new.clone() };
    let kept = ArtifactRepository::put(&mut *tx, &again).await.unwrap();
    assert_eq!((kept.id, kept.label.as_deref(), kept.retention), (made.id, Some("Report.html"), retention));
    let kept = ArtifactRepository::put(&mut *tx, &new).await.unwrap();
    assert_eq!((kept.label.as_deref(), kept.retention), (Some("Report.html"), retention));
    for other in [
        NewArtifact { artifact_type: ArtifactType::Table, ..new.clone() },
        NewArtifact { owner: ArtifactOwner::of(OwnerType::Action, "ops.other"), ..new.clone() },
        NewArtifact { owner: ArtifactOwner::SYSTEM, ..new.clone() },
    ] {
        let refused = ArtifactRepository::put(&mut *tx, &other).await;
        assert!(matches!(refused, Err(StoreError::Conflict { entity: "artifact", .. })), "{refused:?}");
    }
}

#[tokio::test]
async fn test_artifacts_of_actions_without_versions_expire() {
    let mut tx = transaction().await;
    let of_action = |name: &str| NewArtifact {
        owner: ArtifactOwner::of(OwnerType::Action, "ops.page"),
        ..NewArtifact::of(format!("ops.page.{name}"))
    };
    let empty = ArtifactRepository::put(&mut *tx, &of_action("empty")).await.unwrap();
    let used = ArtifactRepository::put(&mut *tx, &of_action("used")).await.unwrap();
    add_versions(&mut tx, used.id, 1).await;
    let of_system = ArtifactFixture::new_unique().create(&mut tx).await.unwrap();
    let soon = chrono::Utc::now() + chrono::TimeDelta::minutes(1);
    let long_ago = soon - chrono::TimeDelta::days(1);
    assert_eq!(ArtifactRepository::expire_empty(&mut *tx, long_ago, 10).await.unwrap(), 0);
    assert_eq!(ArtifactRepository::expire_empty(&mut *tx, soon, 10).await.unwrap(), 1);
    let left = ArtifactRepository::list_by_ids(&mut *tx, &[empty.id, used.id, of_system.id]).await.unwrap();
    assert_eq!(left.len(), 2);
    let latest = ArtifactRepository::list_latest_versions(&mut *tx, &[used.id, of_system.id]).await.unwrap();
    assert_eq!(
        latest.iter().map(|version| (version.artifact, version.version)).collect::<Vec<_>>(),
        [(used.id, 1)]
    );
}

#[tokio::test]
async fn test_delete_version() {
    let mut tx = transaction().await;
    let artifact = ArtifactFixture::new_unique().create(&mut tx).await.unwrap();
    add_versions(&mut tx, artifact.id, 3).await;
    assert!(ArtifactRepository::delete_version(&mut *tx, artifact.id, 2).await.unwrap());
    assert!(!ArtifactRepository::delete_version(&mut *tx, artifact.id, 2).await.unwrap());
    assert_eq!(numbers(&mut tx, artifact.id).await, [3, 1]);
}

#[tokio::test]
async fn test_expire_versions_by_number() {
    let mut tx = transaction().await;
    let two = ArtifactFixture::new_unique().with_retention(Some(2), None).create(&mut tx).await.unwrap();
    let all = ArtifactFixture::new_unique().create(&mut tx).await.unwrap();
    add_versions(&mut tx, two.id, 5).await;
    add_versions(&mut tx, all.id, 5).await;
    assert_eq!(ArtifactRepository::expire_versions(&mut *tx, 100).await.unwrap(), 3);
    assert_eq!(numbers(&mut tx, two.id).await, [5, 4]);
    assert_eq!(numbers(&mut tx, all.id).await, [5, 4, 3, 2, 1]);
    assert_eq!(ArtifactRepository::expire_versions(&mut *tx, 100).await.unwrap(), 0);
}

#[tokio::test]
async fn test_expire_versions_by_age() {
    let mut tx = transaction().await;
    let artifact = ArtifactFixture::new_unique().with_retention(None, Some(7)).create(&mut tx).await.unwrap();
    let versions = add_versions(&mut tx, artifact.id, 3).await;
    age(&mut tx, &versions[0], 8).await;
    age(&mut tx, &versions[1], 6).await;
    assert_eq!(ArtifactRepository::expire_versions(&mut *tx, 100).await.unwrap(), 1);
    assert_eq!(numbers(&mut tx, artifact.id).await, [3, 2]);
    age(&mut tx, &versions[2], 8).await;
    assert_eq!(ArtifactRepository::expire_versions(&mut *tx, 100).await.unwrap(), 1);
    assert_eq!(numbers(&mut tx, artifact.id).await, [2], "the latest one is no exception");
}

#[tokio::test]
async fn test_expire_versions_by_whichever_comes_first() {
    let mut tx = transaction().await;
    let artifact =
        ArtifactFixture::new_unique().with_retention(Some(2), Some(7)).create(&mut tx).await.unwrap();
    let versions = add_versions(&mut tx, artifact.id, 3).await;
    age(&mut tx, &versions[1], 8).await;
    assert_eq!(ArtifactRepository::expire_versions(&mut *tx, 100).await.unwrap(), 2);
    assert_eq!(numbers(&mut tx, artifact.id).await, [3]);
}

#[tokio::test]
async fn test_another_retention_counts_for_the_versions_that_are_there() {
    let mut tx = transaction().await;
    let artifact = ArtifactFixture::new_unique().create(&mut tx).await.unwrap();
    let versions = add_versions(&mut tx, artifact.id, 4).await;
    age(&mut tx, &versions[2], 8).await;
    let retain = async |tx: &mut PgConnection, versions, days| {
        let update =
            ArtifactUpdate { retention: Some(Retention { versions, days }), ..ArtifactUpdate::default() };
        ArtifactRepository::update(tx, artifact.id, &update).await.unwrap();
        ArtifactRepository::expire_versions(tx, 100).await.unwrap()
    };
    assert_eq!(retain(&mut tx, Some(3), Some(30)).await, 1);
    assert_eq!(numbers(&mut tx, artifact.id).await, [4, 3, 2]);
    assert_eq!(retain(&mut tx, None, Some(7)).await, 1);
    assert_eq!(numbers(&mut tx, artifact.id).await, [4, 2]);
    assert_eq!(retain(&mut tx, None, None).await, 0);
    let kept = ArtifactRepository::find_version(&mut *tx, artifact.id, 2).await.unwrap().unwrap();
    age(&mut tx, &kept, 1000).await;
    assert_eq!(ArtifactRepository::expire_versions(&mut *tx, 100).await.unwrap(), 0, "kept for ever now");
}

#[tokio::test]
async fn test_an_artifact_that_loses_its_last_version_expires_and_one_that_gets_another_does_not() {
    let mut tx = transaction().await;
    let of_action = |name: &str| NewArtifact {
        owner: ArtifactOwner::of(OwnerType::Action, "ops.page"),
        ..NewArtifact::of(format!("ops.page.{name}"))
    };
    let mut ids = Vec::new();
    for name in ["lost", "regained", "partly"] {
        let artifact = ArtifactRepository::put(&mut *tx, &of_action(name)).await.unwrap();
        add_versions(&mut tx, artifact.id, if name == "partly" { 2 } else { 1 }).await;
        assert!(ArtifactRepository::delete_version(&mut *tx, artifact.id, 1).await.unwrap());
        ids.push(artifact.id);
    }
    add_versions(&mut tx, ids[1], 1).await;
    let soon = chrono::Utc::now() + chrono::TimeDelta::minutes(1);
    assert_eq!(ArtifactRepository::expire_empty(&mut *tx, soon, 10).await.unwrap(), 1);
    let left = ArtifactRepository::list_by_ids(&mut *tx, &ids).await.unwrap();
    let mut left: Vec<i64> = left.iter().map(|artifact| artifact.id).collect();
    left.sort_unstable();
    assert_eq!(left, ids[1..]);
}

#[tokio::test]
async fn test_expire_versions_in_portions() {
    let mut tx = transaction().await;
    let artifact = ArtifactFixture::new_unique().with_retention(Some(1), None).create(&mut tx).await.unwrap();
    add_versions(&mut tx, artifact.id, 4).await;
    assert_eq!(ArtifactRepository::expire_versions(&mut *tx, 2).await.unwrap(), 2);
    assert_eq!(numbers(&mut tx, artifact.id).await, [4, 3], "the oldest go first");
    assert_eq!(ArtifactRepository::expire_versions(&mut *tx, 2).await.unwrap(), 1);
}

#[tokio::test]
async fn test_what_makes_a_version_serializes_without_its_content() {
    let serialized = serde_json::to_value(text_version(1, "content")).unwrap();
    assert!(!serialized.to_string().contains("content\":["), "{serialized}");
    assert_eq!(serialized.get("content"), None);
    // And a refused version does not say it either.
    let mut tx = transaction().await;
    let artifact = ArtifactFixture::new_unique().create(&mut tx).await.unwrap();
    let refused = ArtifactRepository::add_version(
        &mut *tx,
        &NewArtifactVersion { content_type: String::new(), ..text_version(artifact.id, "hunter2") },
    )
    .await;
    assert!(matches!(refused, Err(StoreError::InvalidValue { .. })), "{refused:?}");
    assert!(!format!("{refused:?}").contains("hunter2"), "{refused:?}");
}
