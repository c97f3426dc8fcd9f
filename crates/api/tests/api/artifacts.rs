//! What runs leave: by their token, in versions, and back.

use attune_client::ArtifactBody;
use attune_client::types::{ArtifactVersionView, ExecutionRequest};
use attune_common::models::artifact::{ArtifactScope, DeclaredArtifact};
use futures::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::types::Json;

use crate::app::{TestApp, grant, problem, problem_of};
use crate::run_tokens::Run;

fn text(content: &'static str) -> ArtifactBody {
    ArtifactBody::of("text/plain", content)
}

async fn leave(run: &Run, name: &str, content: &'static str) -> ArtifactVersionView {
    run.client.leave_artifact(run.execution, name, &[], text(content)).await.unwrap()
}

#[tokio::test]
async fn test_a_run_leaves_versions_and_reads_those_of_its_action() {
    let app = TestApp::start().await;
    let run = Run::begin(&app, Vec::new()).await;
    let first = leave(&run, "report.txt", "one").await;
    assert_eq!(first.artifact_ref, "demo.page.report.txt");
    assert_eq!((first.version, first.execution, first.size), (1, Some(run.execution), 3));
    assert_eq!(first.sha256, hex::encode(Sha256::digest("one")));
    assert_eq!(leave(&run, "report.txt", "one").await, first, "a request that is sent again");
    assert_eq!(leave(&run, "report.txt", "two").await.version, 2);
    assert_eq!(leave(&run, "report.txt", "one").await.version, 3, "another one is in between");
    let detail = run.client.artifact("demo.page.report.txt").await.unwrap();
    let artifact = &detail.artifact;
    assert_eq!(
        (artifact.artifact_type.as_str(), artifact.keep_days, artifact.keep_versions),
        ("file", Some(30), None)
    );
    assert_eq!((artifact.owner_type.as_str(), artifact.owner.as_deref()), ("action", Some("demo.page")));
    assert_eq!(detail.versions.iter().map(|version| version.version).collect::<Vec<_>>(), [3, 2, 1]);
    assert_eq!(run.client.execution_artifacts(run.execution).await.unwrap().items.len(), 3);
    let read = async |version: Option<i32>| -> Vec<u8> {
        let mut pieces =
            std::pin::pin!(run.client.download_artifact("demo.page.report.txt", version).await.unwrap());
        let mut content = Vec::new();
        while let Some(piece) = pieces.next().await {
            content.extend_from_slice(&piece.unwrap());
        }
        content
    };
    assert_eq!((read(Some(2)).await, read(None).await), (b"two".to_vec(), b"one".to_vec()));
    assert_eq!(problem(run.client.artifact("demo.other.report").await).status, 403);
    assert_eq!(problem(run.client.execution_artifacts(1).await).status, 403);
    let elsewhere = run.client.leave_artifact(1, "report.txt", &[], text("x")).await;
    assert_eq!(problem(elsewhere).status, 403);
    assert_eq!(problem(run.client.delete_artifact("demo.page.report.txt", None).await).status, 403);
    app.admin.delete_artifact("demo.page.report.txt", Some(3)).await.unwrap();
    assert_eq!(read(None).await, b"two");
    assert_eq!(leave(&run, "report.txt", "four").await.version, 4, "a number is given once");
    app.admin.delete_artifact("demo.page.report.txt", None).await.unwrap();
    assert_eq!(app.count("artifact_chunk").await, 0);
    assert_eq!(problem(app.admin.artifact("demo.page.report.txt").await).status, 404);
    app.stop().await;
}

#[tokio::test]
async fn test_what_an_execution_leaves_for_itself_is_no_version_of_what_others_do() {
    let app = TestApp::start().await;
    let one = Run::begin(&app, Vec::new()).await;
    let request = ExecutionRequest::of("demo.page", json!({"text": "x"}));
    let other = app.admin.create_execution(&request).await.unwrap().id;
    let scope = |scope: &str| [("scope", scope.to_owned())];
    for (client, execution) in [(&one.client, one.execution), (&app.admin, other)] {
        let own = client.leave_artifact(execution, "log", &scope("execution"), text("x")).await.unwrap();
        let expected = format!("demo.page.execution-{execution}.log");
        assert_eq!((own.artifact_ref, own.version), (expected, 1));
    }
    assert_eq!(leave(&one, "log", "shared").await.artifact_ref, "demo.page.log");
    let shared = app.admin.leave_artifact(other, "log", &[], text("shared too")).await.unwrap();
    assert_eq!(shared.version, 2);
    let again =
        one.client.leave_artifact(one.execution, "log", &scope("execution"), text("y")).await.unwrap();
    assert_eq!(again.version, 2, "one of its own may have versions as well");
    let listed = one.client.execution_artifacts(one.execution).await.unwrap().items;
    assert_eq!(listed.len(), 3);
    // Nobody writes there in the name of another execution.
    let name = format!("execution-{}.log", one.execution);
    assert_eq!(problem(app.admin.leave_artifact(other, &name, &[], text("z")).await).status, 422);
    let refused = one.client.leave_artifact(one.execution, "log", &scope("run"), text("z")).await;
    assert!(problem(refused).detail.contains("expected `action` or `execution`"));
    let refused = app.admin.add_artifact_version("demo.inventory", &scope("execution"), text("z")).await;
    assert_eq!(problem(refused).status, 400);

    // As the action declares it.
    let declared = DeclaredArtifact {
        name: "report".to_owned(),
        artifact_type: "file".parse().unwrap(),
        description: None,
        scope: ArtifactScope::Execution,
        keep_versions: None,
        keep_days: None,
    };
    sqlx::query("update attune.action set artifacts = $1 where ref = 'demo.page'")
        .bind(Json([declared]))
        .execute(app.pool())
        .await
        .unwrap();
    let own = leave(&one, "report", "x").await.artifact_ref;
    assert_eq!(own, format!("demo.page.execution-{}.report", one.execution));
    let artifact = app.admin.artifact(&own).await.unwrap().artifact;
    assert_eq!((artifact.keep_days, artifact.owner.as_deref()), (Some(30), Some("demo.page")));
    let refused = one.client.leave_artifact(one.execution, "report", &scope("action"), text("z")).await;
    assert!(problem(refused).detail.contains("has the scope `execution`"));
    app.stop().await;
}

#[tokio::test]
async fn test_an_action_says_what_its_runs_leave() {
    let app = TestApp::start().await;
    let run = Run::begin(&app, Vec::new()).await;
    let declared = DeclaredArtifact {
        name: "disks".to_owned(),
        artifact_type: "table".parse().unwrap(),
        description: Some("Disks by host".to_owned()),
        scope: ArtifactScope::Action,
        keep_versions: Some(2),
        keep_days: None,
    };
    sqlx::query("update attune.action set artifacts = $1 where ref = 'demo.page'")
        .bind(Json([declared]))
        .execute(app.pool())
        .await
        .unwrap();
    let rows = ArtifactBody::of("application/json", r#"[{"host": "a", "used": 0.9}]"#);
    let version = run.client.leave_artifact(run.execution, "disks", &[], rows).await.unwrap();
    assert_eq!(version.content_type, "application/json");
    let path = "/api/v1/artifacts/demo.page.disks/versions/latest";
    let table: Value = app.as_admin(Method::GET, path).send().await.unwrap().json().await.unwrap();
    assert_eq!(table, json!({"columns": [{"name": "host"}, {"name": "used"}], "rows": [["a", 0.9]]}));
    let artifact = app.admin.artifact("demo.page.disks").await.unwrap().artifact;
    assert_eq!((artifact.keep_versions, artifact.keep_days), (Some(2), None));
    assert_eq!(artifact.description.as_deref(), Some("Disks by host"));
    let refused = async |query: &[(&str, String)], body: ArtifactBody| {
        problem(run.client.leave_artifact(run.execution, "disks", query, body).await)
    };
    assert_eq!(refused(&[], text("no table")).await.status, 422);
    let rows = || ArtifactBody::of("application/json", "[]");
    assert_eq!(refused(&[("type", "file".to_owned())], rows()).await.status, 409);
    assert_eq!(refused(&[("keep_days", "3".to_owned())], rows()).await.status, 409);
    // What is not declared stays what it first was.
    leave(&run, "log", "x").await;
    let table = [("type", "table".to_owned())];
    let other = problem(run.client.leave_artifact(run.execution, "log", &table, rows()).await);
    assert_eq!(
        (other.status, other.detail.as_str()),
        (409, "demo.page.log holds a file, not a table; nothing was stored")
    );
    assert_eq!(problem(run.client.leave_artifact(run.execution, "My Log", &[], text("x")).await).status, 422);
    assert_eq!(app.count("artifact_version").await, 2);
    app.stop().await;
}

#[tokio::test]
async fn test_a_content_is_read_in_part_and_only_when_it_is_new() {
    let app = TestApp::start().await;
    let run = Run::begin(&app, Vec::new()).await;
    // Over several pieces.
    let content: Vec<u8> = (0..1_300_000_u32).map(|at| (at % 251) as u8).collect();
    let body = ArtifactBody::of("text/html", content.clone());
    let version = run.client.leave_artifact(run.execution, "page.html", &[], body).await.unwrap();
    assert_eq!(version.size, 1_300_000);
    let path = "/api/v1/artifacts/demo.page.page.html/versions/1";
    let whole = app.as_admin(Method::GET, path).send().await.unwrap();
    let header =
        |response: &reqwest::Response, name: &str| response.headers()[name].to_str().unwrap().to_owned();
    let tag = header(&whole, "etag");
    assert_eq!(tag, format!("\"{}\"", version.sha256));
    assert_eq!(header(&whole, "content-type"), "text/html");
    assert!(header(&whole, "content-disposition").starts_with("attachment; "), "never a page of the server");
    assert_eq!(header(&whole, "x-content-type-options"), "nosniff");
    assert_eq!(header(&whole, "content-length"), "1300000");
    assert_eq!(whole.bytes().await.unwrap(), content);
    let fresh = app.as_admin(Method::GET, path).header("if-none-match", &tag).send().await.unwrap();
    assert_eq!(fresh.status().as_u16(), 304);
    for (range, from, to) in [
        ("bytes=0-9", 0, 10),
        ("bytes=524280-1048600", 524_280, 1_048_601),
        ("bytes=-7", 1_299_993, 1_300_000),
    ] {
        let part = app.as_admin(Method::GET, path).header("range", range).send().await.unwrap();
        assert_eq!(part.status().as_u16(), 206);
        assert_eq!(header(&part, "content-range"), format!("bytes {from}-{}/1300000", to - 1));
        assert_eq!(part.bytes().await.unwrap(), content[from..to], "{range}");
    }
    let beyond = app.as_admin(Method::GET, path).header("range", "bytes=1300000-").send().await.unwrap();
    problem_of(beyond, 416).await;
    let other =
        app.as_admin(Method::GET, "/api/v1/artifacts/demo.page.page.html/versions/2").send().await.unwrap();
    problem_of(other, 404).await;
    app.stop().await;
}

#[tokio::test]
async fn test_what_is_too_large_or_breaks_off_leaves_nothing() {
    let settings = attune_api::Settings { max_artifact_bytes: 1000, ..attune_api::Settings::default() };
    let app = TestApp::start_with(settings).await;
    let run = Run::begin(&app, Vec::new()).await;
    let exact = ArtifactBody::of("text/plain", vec![b'x'; 1000]);
    run.client.leave_artifact(run.execution, "log", &[], exact).await.unwrap();
    let announced = ArtifactBody::of("text/plain", vec![b'x'; 1001]);
    assert_eq!(problem(run.client.leave_artifact(run.execution, "log", &[], announced).await).status, 413);
    // Without a length, which is found out on the way.
    let pieces =
        futures::stream::iter((0..100).map(|_| Ok::<_, std::io::Error>(bytes::Bytes::from(vec![b'x'; 100]))));
    let path = format!("/api/v1/executions/{}/artifacts/stream", run.execution);
    let request = app.request(Method::POST, &path).bearer_auth(&run.token);
    let refused = request.body(reqwest::Body::wrap_stream(pieces)).send().await.unwrap();
    problem_of(refused, 413).await;
    // The sender is gone before the end.
    let pieces = futures::stream::iter([Ok(bytes::Bytes::from("half")), Err(std::io::Error::other("gone"))]);
    let request = app.request(Method::POST, &path).bearer_auth(&run.token);
    assert!(request.body(reqwest::Body::wrap_stream(pieces)).send().await.is_err());
    assert_eq!((app.count("artifact").await, app.count("artifact_version").await), (1, 1));
    app.stop().await;
}

#[tokio::test]
async fn test_artifacts_of_packs_are_made_by_who_may() {
    let app = TestApp::start().await;
    let run = Run::begin(&app, vec![grant("artifact", &["create"])]).await;
    let made = run.client.add_artifact_version("demo.inventory", &[], text("hosts")).await.unwrap();
    assert_eq!((made.version, made.execution), (1, Some(run.execution)));
    let by_hand = app.admin.add_artifact_version("demo.inventory", &[], text("hosts")).await.unwrap();
    assert_eq!((by_hand.version, by_hand.execution), (2, None));
    let nowhere = app.admin.add_artifact_version("nowhere.inventory", &[], text("x")).await;
    assert_eq!(problem(nowhere).status, 404);
    // A ref has one owner.
    leave(&run, "log", "x").await;
    let taken = problem(app.admin.add_artifact_version("demo.page.log", &[], text("x")).await);
    assert_eq!(
        (taken.status, taken.detail.as_str()),
        (409, "demo.page.log belongs to demo.page; nothing was stored")
    );
    let link = [("type", "link".to_owned()), ("keep_versions", "1".to_owned())];
    let body = ArtifactBody::of("application/json", r#"{"url": "https://example.test"}"#);
    app.admin.add_artifact_version("demo.dashboard", &link, body).await.unwrap();
    let refs = async |query: &[(&str, &str)]| -> Vec<String> {
        let query: Vec<_> = query.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let page = app.admin.artifacts(&query).await.unwrap();
        page.items.into_iter().map(|artifact| artifact.artifact_ref).collect()
    };
    assert_eq!(refs(&[]).await, ["demo.dashboard", "demo.inventory", "demo.page.log"]);
    assert_eq!(refs(&[("owner", "demo")]).await, ["demo.dashboard", "demo.inventory"]);
    assert_eq!(refs(&[("type", "link")]).await, ["demo.dashboard"]);
    assert_eq!(refs(&[("match", "inv")]).await, ["demo.inventory"]);
    assert_eq!(refs(&[("limit", "1"), ("cursor", "demo.dashboard")]).await, ["demo.inventory"]);
    app.stop().await;
}
