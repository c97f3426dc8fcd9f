//! Keys that are no secrets: whoever may read them sees their values; what was stored as a secret is never shown.

use attune_client::types::{KeyRequest, KeyView};
use attune_common::models::identity::{Constraints, Grant};
use reqwest::Method;
use serde_json::json;

use crate::app::{TestApp, grant, pointers, problem};
use crate::demo::{Files, archive, files_with};

async fn set_plain(app: &TestApp, key_ref: &str, value: &str) -> KeyView {
    app.admin.put_key(key_ref, &request(Some(value), Some(false))).await.unwrap()
}

fn request(value: Option<&str>, secret: Option<bool>) -> KeyRequest {
    KeyRequest { value: value.map(str::to_owned), secret }
}

/// What is shown of a key: whether it is a secret, the number of its value, and that.
fn told(key: &KeyView) -> (bool, i32, Option<&str>) {
    (key.secret, key.version, key.value.as_deref())
}

#[tokio::test]
async fn test_the_value_of_a_plain_key_is_shown() {
    let app = TestApp::start().await;
    let set = set_plain(&app, "demo.level", "80").await;
    assert_eq!(told(&set), (false, 1, Some("80")));
    app.admin.set_key("demo.token", "hunter2").await.unwrap();
    assert_eq!(told(&app.admin.key("demo.level").await.unwrap()), (false, 1, Some("80")));
    assert_eq!(told(&app.admin.key("demo.token").await.unwrap()), (true, 1, None));
    let listed = app.admin.keys().await.unwrap().items;
    assert_eq!(listed.iter().map(told).collect::<Vec<_>>(), [(false, 1, Some("80")), (true, 1, None)]);
    assert_eq!((listed[0].owner.as_str(), listed[1].owner.as_str()), ("system", "system"));
    // It is encrypted all the same, so that one rotation does for all.
    let stored: Vec<u8> = sqlx::query_scalar("select value from attune.key where ref = 'demo.level'")
        .fetch_one(app.pool())
        .await
        .unwrap();
    assert_eq!(stored.len(), 12 + 2 + 16);
    app.stop().await;
}

#[tokio::test]
async fn test_a_key_stays_what_it_is_unless_said() {
    let app = TestApp::start().await;
    set_plain(&app, "demo.level", "80").await;
    assert_eq!(told(&app.admin.set_key("demo.level", "90").await.unwrap()), (false, 2, Some("90")));
    app.admin.set_key("demo.token", "one").await.unwrap();
    assert_eq!(told(&app.admin.set_key("demo.token", "two").await.unwrap()), (true, 2, None));
    let to_secret = app.admin.put_key("demo.level", &request(Some("s3cret"), Some(true))).await.unwrap();
    assert_eq!(told(&to_secret), (true, 3, None));
    assert_eq!(told(&app.admin.key("demo.level").await.unwrap()), (true, 3, None));
    app.stop().await;
}

#[tokio::test]
async fn test_what_was_stored_as_a_secret_is_never_shown() {
    let app = TestApp::start().await;
    app.admin.set_key("demo.token", "hunter2").await.unwrap();
    let refused = problem(app.admin.put_key("demo.token", &request(None, Some(false))).await);
    assert_eq!((refused.status, pointers(&refused)), (422, vec!["/value"]));
    assert!(refused.detail.contains("give the value that the key is to have"), "{refused:?}");
    assert_eq!(told(&app.admin.key("demo.token").await.unwrap()), (true, 1, None));
    // With a value, that one is shown.
    assert_eq!(told(&set_plain(&app, "demo.token", "public").await), (false, 2, Some("public")));
    // Nor does the database make one a value that is shown.
    app.admin.set_key("demo.other", "hunter3").await.unwrap();
    sqlx::query("update attune.key set secret = false where ref = 'demo.other'")
        .execute(app.pool())
        .await
        .unwrap();
    assert_eq!(problem(app.admin.key("demo.other").await).status, 500);
    let listed = app.admin.keys().await.unwrap().items;
    assert_eq!(listed.iter().map(told).collect::<Vec<_>>(), [(false, 1, None), (false, 2, Some("public"))]);
    app.stop().await;
}

#[tokio::test]
async fn test_a_plain_key_is_made_a_secret_with_the_value_that_it_has() {
    let app = TestApp::start().await;
    set_plain(&app, "demo.level", "80").await;
    let hide = request(None, Some(true));
    assert_eq!(told(&app.admin.put_key("demo.level", &hide).await.unwrap()), (true, 2, None));
    assert_eq!(told(&app.admin.put_key("demo.level", &hide).await.unwrap()), (true, 2, None));
    let vault = app.vault().await;
    assert_eq!(vault.reveal(app.pool(), "demo.level").await.unwrap().as_deref(), Some("80"));
    app.stop().await;
}

#[tokio::test]
async fn test_what_makes_no_sense_is_refused() {
    let app = TestApp::start().await;
    set_plain(&app, "demo.level", "80").await;
    for (key_ref, wanted, expected) in [
        ("demo.level", request(None, None), (422, vec!["/value"])),
        ("demo.none", request(None, None), (404, vec![])),
        ("demo.none", request(None, Some(true)), (404, vec![])),
        ("demo.none", request(None, Some(false)), (404, vec![])),
        ("demo.config.token", request(Some("x"), Some(false)), (422, vec!["/secret"])),
        ("demo.level", request(Some(&"x".repeat(65_537)), None), (422, vec!["/value"])),
        ("demo.level", request(Some("8\0"), None), (422, vec!["/value"])),
        ("demo.level", request(Some(""), Some(true)), (422, vec!["/value"])),
    ] {
        let refused = problem(app.admin.put_key(key_ref, &wanted).await);
        assert_eq!((refused.status, pointers(&refused)), expected, "{key_ref} {refused:?}");
    }
    let null = app.as_admin(Method::PUT, "/api/v1/keys/demo.level").json(&json!({"secret": "no"})).send();
    assert_eq!(null.await.unwrap().status(), 422);
    assert_eq!(told(&app.admin.key("demo.level").await.unwrap()), (false, 1, Some("80")));
    assert_eq!(problem(app.admin.key("demo.none").await).status, 404);
    // Said again, it is so already.
    let again = app.admin.put_key("demo.level", &request(None, Some(false))).await.unwrap();
    assert_eq!((again.secret, again.version), (false, 1));
    // What is no secret may be empty.
    assert_eq!(told(&set_plain(&app, "demo.level", "").await), (false, 2, Some("")));
    app.stop().await;
}

#[tokio::test]
async fn test_a_list_shows_short_values() {
    let app = TestApp::start().await;
    let (short, long) = ("x".repeat(256), "x".repeat(257));
    set_plain(&app, "demo.long", &long).await;
    set_plain(&app, "demo.short", &short).await;
    let listed = app.admin.keys().await.unwrap().items;
    assert_eq!(listed.iter().map(told).collect::<Vec<_>>(), [(false, 1, None), (false, 1, Some(&*short))]);
    assert_eq!(app.admin.key("demo.long").await.unwrap().value, Some(long));
    app.stop().await;
}

#[tokio::test]
async fn test_a_value_is_shown_to_whoever_may_read_the_key() {
    let app = TestApp::start().await;
    set_plain(&app, "demo.level", "80").await;
    set_plain(&app, "other.level", "81").await;
    let constraints = Constraints { packs: vec!["demo".to_owned()], ..Constraints::default() };
    let reader = app.client_with("reader", vec![Grant { constraints, ..grant("key", &["read"]) }]).await;
    assert_eq!(reader.key("demo.level").await.unwrap().value.as_deref(), Some("80"));
    assert_eq!(problem(reader.key("other.level").await).status, 403);
    let listed = reader.keys().await.unwrap().items;
    assert_eq!(listed.iter().map(|key| key.key_ref.as_str()).collect::<Vec<_>>(), ["demo.level"]);
    // Whoever may only change it is not told what it was.
    let writer = app.client_with("writer", vec![grant("key", &["update"])]).await;
    assert_eq!(problem(writer.key("demo.level").await).status, 403);
    assert_eq!(writer.put_key("demo.level", &request(None, Some(false))).await.unwrap().value, None);
    app.stop().await;
}

fn pack(version: &str, default: &str) -> Files {
    let manifest = format!("ref: demo\nversion: {version}\n");
    let level = format!("ref: demo.level\nsecret: false\ndefault: \"{default}\"\n");
    files_with(&[
        ("pack.yaml", &manifest),
        ("keys/level.yaml", &level),
        ("keys/host.yaml", "ref: demo.host\nsecret: false\n"),
        ("keys/push_secret.yaml", "ref: demo.push_secret\n"),
    ])
}

#[tokio::test]
async fn test_an_installation_gives_keys_their_defaults() {
    let app = TestApp::start().await;
    let plan = app.admin.plan_packs(archive(&pack("1.0.0", "80")), None).await.unwrap().packs.remove(0);
    let missing: Vec<_> = plan.missing_keys.iter().map(|key| (key.key_ref.as_str(), key.secret)).collect();
    assert_eq!(missing, [("demo.host", false), ("demo.push_secret", true)]);
    assert_eq!(app.count("key").await, 0, "nothing is changed by a plan");
    let installed = app.admin.install_pack(archive(&pack("1.0.0", "80")), "test").await.unwrap();
    let keys: Vec<_> = installed.pack.keys.iter().map(|key| (key.default.as_deref(), key.set)).collect();
    assert_eq!(keys, [(None, false), (Some("80"), true), (None, false)]);
    let level = app.admin.key("demo.level").await.unwrap();
    assert_eq!((told(&level), level.owner.as_str()), ((false, 1, Some("80")), "pack"));

    // What has a value keeps it, the default of before too; a plan tells of another default.
    let second = archive(&pack("1.1.0", "85"));
    let plan = app.admin.plan_packs(second.clone(), None).await.unwrap().packs.remove(0);
    let changed = plan.changes.iter().find(|change| change.component == "demo.level").unwrap();
    assert_eq!((changed.kind.as_str(), changed.change.as_str()), ("key", "changed"));
    app.admin.install_pack(second.clone(), "test").await.unwrap();
    assert_eq!(told(&app.admin.key("demo.level").await.unwrap()), (false, 1, Some("80")));
    app.admin.set_key("demo.level", "99").await.unwrap();
    let after_rotation = app.vault().await.rotate(app.pool()).await.unwrap();
    assert_eq!(after_rotation.resealed, 1);
    // The server still seals under the data key of before, and follows.
    app.admin.install_pack(archive(&pack("1.2.0", "85")), "test").await.unwrap();
    assert_eq!(told(&app.admin.key("demo.level").await.unwrap()), (false, 2, Some("99")));
    app.admin.delete_key("demo.level").await.unwrap();
    app.admin.install_pack(archive(&pack("1.3.0", "85")), "test").await.unwrap();
    assert_eq!(told(&app.admin.key("demo.level").await.unwrap()), (false, 1, Some("85")));
    app.stop().await;
}

#[tokio::test]
async fn test_a_secret_with_the_name_of_a_key_that_has_a_default_stays() {
    let app = TestApp::start().await;
    app.admin.set_key("demo.level", "hunter2").await.unwrap();
    app.admin.install_pack(archive(&pack("1.0.0", "80")), "test").await.unwrap();
    let level = app.admin.key("demo.level").await.unwrap();
    assert_eq!((told(&level), level.owner.as_str()), ((true, 1, None), "system"));
    app.stop().await;
}
