//! Secrets stay in: what is logged, said in errors, or shown of any value on the way, holds no plain text and no key.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::io::Write;
use std::sync::{Arc, Mutex};

use attune_common::crypto::SecretKey;
use attune_common::models::key::{KeyOwner, NewKey};
use attune_common::repositories::{DataKeyRepository, KeyRepository};
use attune_common::vault::rotation::change_master_key;
use attune_common::vault::{KeyValue, Vault};
use attune_testkit::TestDatabase;
use tracing_subscriber::fmt::MakeWriter;

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Begins to record everything that this process logs, down to the last detail. Only one test may do so.
    fn record(&self) {
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(self.clone())
            .finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Neither the plain text nor any key, in any of the forms that Rust prints bytes in.
#[track_caller]
fn check_keeps_secrets(text: &str, secrets: &[&[u8]]) {
    for secret in secrets {
        let plain = String::from_utf8_lossy(secret);
        let numbers = format!("{secret:?}");
        let inner = numbers.trim_matches(['[', ']']);
        for form in [&*plain, &hex::encode(secret), &hex::encode_upper(secret), inner] {
            assert!(!text.contains(form), "{form} is in: {text}");
        }
    }
}

#[tokio::test]
async fn test_plain_text_is_never_logged_nor_in_errors() {
    const PLAIN: &str = "hunter2-correct-horse";
    let log = Log::default();
    log.record();
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let master = SecretKey::generate();
    let vault = Vault::open(pool, &master).await.unwrap();
    let mut said = Vec::new();
    let mut say = |what: String| said.push(what);
    say(format!("{:?}", vault.set(pool, "ops.token", PLAIN).await));
    say(format!("{:?}", vault.set(pool, "ops.token", PLAIN).await));
    say(format!("{:?}", vault.create(pool, KeyValue::secret("ops.token", PLAIN)).await));
    say(format!("{:?}", vault.set(pool, "Token", PLAIN).await));
    say(format!(
        "{:?}",
        vault.put(pool, KeyValue::secret("ops.x", PLAIN).of(KeyOwner::Pack(9_000_000_000))).await
    ));
    assert_eq!(vault.reveal(pool, "ops.token").await.unwrap().as_deref(), Some(PLAIN));
    let first = DataKeyRepository::find_in_force(pool).await.unwrap().unwrap();
    let first = master.open(&first.wrapped, "data key").unwrap();
    say(format!("{:?}", vault.rotate(pool).await));
    let second = DataKeyRepository::find_in_force(pool).await.unwrap().unwrap();
    let second = master.open(&second.wrapped, "data key").unwrap();
    say(format!("{:?}", KeyRepository::list(pool).await));
    say(format!("{:?}", KeyRepository::find_sealed(pool, "ops.token").await));
    say(format!("{:?}", DataKeyRepository::list(pool).await));
    let damage = "update attune.key set value = set_byte(value, 20, get_byte(value, 20) # 1)";
    sqlx::query(damage).execute(pool).await.unwrap();
    say(format!("{:?}", vault.reveal(pool, "ops.token").await));
    say(format!("{:?}", vault.rotate(pool).await));
    let other = SecretKey::generate();
    say(format!("{:?}", Vault::open(pool, &other).await));
    say(format!("{:?}", change_master_key(pool, &other, &master).await));
    say(format!("{:?}", change_master_key(pool, &master, &other).await));
    say(format!("{vault:?} {master:?} {other:?}"));
    let logged = log.text();
    assert!(logged.contains("insert into attune.key"), "statements are logged: {logged}");
    assert!(logged.contains("a new data key is in force"), "{logged}");
    said.push(logged);
    let secrets = [PLAIN.as_bytes(), &first, &second, master.as_bytes(), other.as_bytes()];
    for text in &said {
        check_keeps_secrets(text, &secrets);
    }
}

#[test]
fn test_what_makes_a_key_shows_its_value_sealed_only() {
    let value = SecretKey::generate().seal(b"hunter2", "key:ops.token").unwrap();
    let new =
        NewKey { key_ref: "ops.token".to_owned(), owner: KeyOwner::System, data_key: 1, secret: true, value };
    check_keeps_secrets(&format!("{new:?}"), &[b"hunter2"]);
    // What is serialized may stand in an error.
    let serialized = serde_json::to_value(&new).unwrap();
    assert_eq!(
        serialized.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["data_key", "owner", "ref", "secret"]
    );
}
