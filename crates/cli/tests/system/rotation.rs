//! `attune key rotate` beside an Attune that serves.

use std::path::Path;
use std::process::Output;

use attune_common::crypto::SecretKey;
use attune_common::vault::Vault;

use crate::support::{System, attune, directory, migrate};
use crate::up::Up;

/// Runs `attune key rotate` with the master key in the data directory.
async fn rotate(arguments: &[&str], data: &Path) -> Output {
    let mut command = attune();
    command.args(["key", "rotate", "--data-dir"]).arg(data).args(arguments);
    command.env("ATTUNE_LOG", "trace").output().await.unwrap()
}

fn said(output: &Output) -> String {
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_keys_rotate_while_attune_serves() {
    let system = System::start().await;
    let url = system.database.url();
    let pool = system.database.pool();
    let secret = "hunter2-correct-horse";
    system.client.set_key("ops.token", secret).await.unwrap();

    let output = rotate(&["--database-url", url], system.data()).await;
    let told = said(&output);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("1 secret encrypted anew; 1 older data key removed"), "{told}");
    // The serving process, whose data key is gone, goes on.
    system.client.set_key("ops.other", secret).await.unwrap();

    let elsewhere = directory();
    let new_file = elsewhere.path().join("new.key");
    let new_path = new_file.to_str().unwrap();
    let arguments = ["--database-url", url, "--new-master-key-file", new_path];
    let output = rotate(&arguments, system.data()).await;
    let master_told = said(&output);
    assert!(output.status.success(), "{master_told}");
    assert!(master_told.contains("1 data key encrypted under the new master key"), "{master_told}");
    let output = rotate(&arguments, system.data()).await;
    assert!(output.status.success() && said(&output).contains("already"), "again is harmless");
    system.client.set_key("ops.third", secret).await.unwrap();

    // The old master key opens nothing any more, and that is said.
    let output = rotate(&["--database-url", url], system.data()).await;
    let refused = said(&output);
    assert!(!output.status.success() && refused.contains("the master key is not the one"), "{refused}");
    let new = SecretKey::load(&new_file).unwrap();
    let vault = Vault::open(pool, &new).await.unwrap();
    for key_ref in ["ops.token", "ops.other", "ops.third"] {
        assert_eq!(vault.reveal(pool, key_ref).await.unwrap().as_deref(), Some(secret));
    }
    let digits = std::fs::read_to_string(&new_file).unwrap();
    for text in [told, master_told, refused] {
        assert!(!text.contains(secret) && !text.contains(digits.trim()), "{text}");
    }

    // A damaged secret is named, and keeps nothing else from being rotated.
    std::fs::copy(&new_file, system.data().join("master.key")).unwrap();
    let damage =
        "update attune.key set value = set_byte(value, 20, get_byte(value, 20) # 1) where ref = 'ops.other'";
    sqlx::query(damage).execute(pool).await.unwrap();
    let output = rotate(&["--database-url", url], system.data()).await;
    let told = said(&output);
    assert!(!output.status.success(), "{told}");
    assert!(
        told.contains("2 secrets encrypted anew") && told.contains("set them again: ops.other"),
        "{told}"
    );
}

#[tokio::test]
async fn test_rotate_beside_up_needs_no_url() {
    let directory = directory();
    let data = directory.path().join("data");
    let up = Up::start(&data).await;
    let output = rotate(&[], &data).await;
    let told = said(&output);
    assert!(output.status.success() && told.contains("0 secrets encrypted anew"), "{told}");
    up.interrupt().await;
    let output = rotate(&[], &data).await;
    let told = said(&output);
    assert!(!output.status.success() && told.contains("DATABASE_URL"), "{told}");
}

#[tokio::test]
async fn test_rotate_makes_no_master_key_of_its_own() {
    let database = attune_testkit::TestDatabase::create().await;
    migrate(database.url()).await;
    let empty = directory();
    let output = rotate(&["--database-url", database.url()], empty.path()).await;
    let told = said(&output);
    assert!(!output.status.success() && told.contains("ATTUNE_MASTER_KEY"), "{told}");
    assert!(!empty.path().join("master.key").exists());
}

#[tokio::test]
async fn test_rotate_to_the_master_key_in_use() {
    let database = attune_testkit::TestDatabase::create().await;
    migrate(database.url()).await;
    let data = directory();
    let file = data.path().join("master.key");
    SecretKey::load_or_create(&file).unwrap();
    let arguments = ["--database-url", database.url(), "--new-master-key-file", file.to_str().unwrap()];
    let output = rotate(&arguments, data.path()).await;
    let told = said(&output);
    assert!(!output.status.success() && told.contains("holds the master key that is in use"), "{told}");
}
