//! The keys that packs declare: an installation makes none of those without a default, and says which have no value.

use attune_client::types::{DeclaredKeyView, KeyRequest};

use crate::app::{TestApp, pointers, problem};
use crate::demo::{Files, archive, files_with};

fn pack(version: &str, keys: &[(&str, &str)]) -> Files {
    let manifest = format!("ref: demo\nversion: {version}\n");
    let mut files = files_with(&[("pack.yaml", &manifest)]);
    files.extend(keys.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())));
    files
}

const SECRET: (&str, &str) =
    ("keys/push_secret.yaml", "ref: demo.push_secret\ndescription: Signs what is pushed\n");
const OTHER: (&str, &str) = ("keys/other.yaml", "ref: demo.other\nlabel: Other\nrequired: false\n");

fn told(keys: &[DeclaredKeyView]) -> Vec<(&str, bool, bool)> {
    keys.iter().map(|key| (key.key_ref.as_str(), key.required, key.set)).collect()
}

#[tokio::test]
async fn test_an_installation_makes_no_key_and_says_what_is_missing() {
    let app = TestApp::start().await;
    let first = archive(&pack("1.0.0", &[SECRET]));
    let plan = app.admin.plan_packs(first.clone(), None).await.unwrap().packs.remove(0);
    assert_eq!(told(&plan.missing_keys), [("demo.push_secret", true, false)]);
    assert!(
        plan.changes.iter().any(|change| (change.kind.as_str(), change.change.as_str()) == ("key", "added"))
    );
    let installed = app.admin.install_pack(first, "test").await.unwrap();
    assert_eq!(told(&installed.pack.keys), [("demo.push_secret", true, false)]);
    assert_eq!(installed.pack.keys[0].description.as_deref(), Some("Signs what is pushed"));
    assert_eq!(app.count("key").await, 0);

    app.admin.set_key("demo.push_secret", "hunter2").await.unwrap();
    assert_eq!(told(&app.admin.pack("demo").await.unwrap().keys), [("demo.push_secret", true, true)]);
    // Another version declares others; a value stays whatever becomes of the declaration.
    let second = archive(&pack("1.1.0", &[SECRET, OTHER]));
    let plan = app.admin.plan_packs(second.clone(), None).await.unwrap().packs.remove(0);
    assert_eq!(told(&plan.missing_keys), [("demo.other", false, false)]);
    let installed = app.admin.install_pack(second, "test").await.unwrap();
    assert_eq!(told(&installed.pack.keys), [("demo.other", false, false), ("demo.push_secret", true, true)]);
    let installed = app.admin.install_pack(archive(&pack("1.2.0", &[])), "test").await.unwrap();
    assert!(installed.pack.keys.is_empty());
    assert_eq!(app.count("key").await, 1);
    app.stop().await;
}

#[tokio::test]
async fn test_a_value_in_a_file_is_refused_and_not_repeated() {
    let app = TestApp::start().await;
    let file = ("keys/push_secret.yaml", "ref: demo.push_secret\nvalue: hunter2\n");
    let refused = problem(app.admin.install_pack(archive(&pack("1.0.0", &[file])), "test").await);
    assert_eq!(refused.status, 422);
    assert!(!serde_json::to_string(&refused).unwrap().contains("hunter2"), "{refused:?}");
    assert!(refused.errors[0].detail.contains("no place for the value of a key"), "{refused:?}");
    assert_eq!(problem(app.admin.pack("demo").await).status, 404);
    app.stop().await;
}

#[tokio::test]
async fn test_keys_that_only_actions_name_are_needed_as_well() {
    let app = TestApp::start().await;
    let action = |name: &str, keys: &str| {
        format!("ref: demo.{name}\nruntime: demo.shell\nentrypoint: {name}.sh\nkeys: [{keys}]\n")
    };
    let (tell, call) = (
        action("tell", "demo.push_secret, {ref: net.api, required: false}, demo.config.pin"),
        action("call", "net.api, {ref: demo.proxy, required: false}"),
    );
    let manifest = "ref: demo\nversion: 1.0.0\nconfig_schema: {pin: {type: string, secret: true}}\n";
    let own = files_with(&[
        ("pack.yaml", manifest),
        ("actions/tell.yaml", &tell),
        ("actions/tell.sh", "#!/bin/sh\n"),
        ("actions/call.yaml", &call),
        ("actions/call.sh", "#!/bin/sh\n"),
        SECRET,
        ("keys/proxy.yaml", "ref: demo.proxy\nrequired: false\n"),
    ]);
    app.admin.set_key("demo.push_secret", "hunter2").await.unwrap();
    let plan = app.admin.plan_packs(archive(&own), None).await.unwrap().packs.remove(0);
    assert_eq!(told(&plan.missing_keys), [("demo.proxy", false, false), ("net.api", true, false)]);
    let installed = app.admin.install_pack(archive(&own), "test").await.unwrap();
    let expected = [("demo.proxy", false, false), ("demo.push_secret", true, true), ("net.api", true, false)];
    assert_eq!(told(&installed.pack.keys), expected);
    assert_eq!(installed.pack.keys[2].description.as_deref(), Some("named by demo.call, demo.tell"));
    app.stop().await;
}

#[tokio::test]
async fn test_a_declared_secret_that_is_stored_as_none_is_told() {
    let app = TestApp::start().await;
    let plain = |value: &str| KeyRequest { value: Some(value.to_owned()), secret: Some(false) };
    app.admin.put_key("demo.push_secret", &plain("hunter2")).await.unwrap();
    app.admin.put_key("net.api", &plain("https://api.example")).await.unwrap();
    // What only an action names is declared by nobody.
    let action = "ref: demo.tell\nruntime: demo.shell\nentrypoint: tell.sh\nkeys: [net.api]\n";
    let files = [SECRET, ("actions/tell.yaml", action), ("actions/tell.sh", "#!/bin/sh\n")];
    let pack = archive(&pack("1.0.0", &files));
    let plan = app.admin.plan_packs(pack.clone(), None).await.unwrap().packs.remove(0);
    let exposed = |keys: &[DeclaredKeyView]| -> Vec<String> {
        keys.iter().filter(|key| key.exposed).map(|key| key.key_ref.clone()).collect()
    };
    assert_eq!(exposed(&plan.exposed_keys), ["demo.push_secret"]);
    assert!(plan.missing_keys.is_empty());
    let installed = app.admin.install_pack(pack, "test").await.unwrap();
    assert_eq!(exposed(&installed.pack.keys), ["demo.push_secret"]);

    // Who sets it again has to say what it is; nothing changes until then.
    let refused = problem(app.admin.set_key("demo.push_secret", "hunter3").await);
    assert_eq!((refused.status, pointers(&refused)), (422, vec!["/secret"]));
    assert!(refused.detail.contains("the pack demo declares `demo.push_secret` a secret"), "{refused:?}");
    assert_eq!(app.admin.key("demo.push_secret").await.unwrap().value.as_deref(), Some("hunter2"));
    assert_eq!(app.admin.set_key("net.api", "https://other.example").await.unwrap().version, 2);
    app.admin.put_key("demo.push_secret", &plain("hunter4")).await.unwrap();
    assert_eq!(exposed(&app.admin.pack("demo").await.unwrap().keys), ["demo.push_secret"]);
    let hide = KeyRequest { value: None, secret: Some(true) };
    app.admin.put_key("demo.push_secret", &hide).await.unwrap();
    assert!(exposed(&app.admin.pack("demo").await.unwrap().keys).is_empty());
    assert!(app.admin.set_key("demo.push_secret", "hunter5").await.unwrap().secret);
    app.stop().await;
}
