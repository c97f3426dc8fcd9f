//! The vault: values are sealed, opened, and sealed anew while others work; what was tampered with is noticed; plain text
//! stays in.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod helpers;

use attune_common::crypto::{CryptoError, SecretKey};
use attune_common::error::StoreError;
use attune_common::models::key::{Key, KeyOwner, NewKey};
use attune_common::repositories::{DataKeyRepository, KeyRepository};
use attune_common::vault::rotation::{Rotated, change_master_key};
use attune_common::vault::{KeyValue, Vault, VaultError};
use attune_testkit::TestDatabase;
use helpers::steps::*;
use helpers::*;
use sqlx::PgPool;

/// A database, its vault and the master key.
struct Safe {
    database: TestDatabase,
    vault: Vault,
    master: SecretKey,
}

impl Safe {
    async fn new() -> Self {
        let database = TestDatabase::create().await;
        let master = SecretKey::generate();
        let vault = Vault::open(database.pool(), &master).await.unwrap();
        Self { database, vault, master }
    }

    fn pool(&self) -> &PgPool {
        self.database.pool()
    }

    /// Another process.
    async fn other(&self) -> Vault {
        Vault::open(self.pool(), &self.master).await.unwrap()
    }

    async fn set(&self, key_ref: &str, value: &str) -> Key {
        self.vault.set(self.pool(), key_ref, value).await.unwrap()
    }

    async fn set_plain(&self, key_ref: &str, value: &str) -> Key {
        self.vault.put(self.pool(), KeyValue::plain(key_ref, value)).await.unwrap()
    }

    /// What may be shown of the value.
    async fn shown(&self, key_ref: &str) -> Result<Option<String>, VaultError> {
        let found = KeyRepository::find_with_value(self.pool(), key_ref).await.unwrap().unwrap();
        self.vault.shown(&found.sealed)
    }

    async fn data_keys(&self) -> Vec<i64> {
        DataKeyRepository::list(self.pool()).await.unwrap().into_iter().map(|key| key.id).collect()
    }

    async fn sealed(&self, key_ref: &str) -> Vec<u8> {
        KeyRepository::find_sealed(self.pool(), key_ref).await.unwrap().unwrap().value
    }

    /// Writes bytes into the database behind the vault's back.
    async fn overwrite(&self, key_ref: &str, value: &[u8]) {
        let done = sqlx::query("update attune.key set value = $2 where ref = $1")
            .bind(key_ref)
            .bind(value)
            .execute(self.pool())
            .await
            .unwrap();
        assert_eq!(done.rows_affected(), 1);
    }

    async fn damage(&self, key_ref: &str) {
        let mut value = self.sealed(key_ref).await;
        *value.last_mut().unwrap() ^= 1;
        self.overwrite(key_ref, &value).await;
    }

    async fn check(&self, vault: &Vault, key_ref: &str, expect: Option<&str>) {
        assert_eq!(vault.reveal(self.pool(), key_ref).await.unwrap().as_deref(), expect);
    }
}

fn assert_tampered<T: std::fmt::Debug>(result: Result<T, VaultError>) {
    match result {
        Err(VaultError::Crypto(CryptoError::Tampered)) => {}
        other => panic!("expected Tampered, got {other:?}"),
    }
}

fn assert_wrong_master_key<T: std::fmt::Debug>(
    result: Result<T, VaultError>,
    wrong: &SecretKey,
    right: &SecretKey,
) {
    match result {
        Err(VaultError::WrongMasterKey { given, expected }) => {
            assert_eq!((given, expected), (wrong.fingerprint(), right.fingerprint()));
        }
        other => panic!("expected WrongMasterKey, got {other:?}"),
    }
}

#[tokio::test]
async fn test_reveal_what_was_set() {
    let safe = Safe::new().await;
    for (key_ref, value) in
        [("ops.token", "hunter2"), ("ops.empty", ""), ("ops.text", "zweite Zeile\n\u{0}ß")]
    {
        assert_eq!(safe.set(key_ref, value).await.key_ref, key_ref);
        safe.check(&safe.vault, key_ref, Some(value)).await;
    }
    safe.check(&safe.vault, "ops.none", None).await;
}

#[tokio::test]
async fn test_set_makes_a_key_of_the_system_and_replaces_its_value() {
    let safe = Safe::new().await;
    let before = safe.set("ops.token", "old").await;
    assert_eq!(before.owner, KeyOwner::System);
    let after = safe.set("ops.token", "new").await;
    assert_eq!((after.id, after.version), (before.id, 2));
    safe.check(&safe.vault, "ops.token", Some("new")).await;
}

#[tokio::test]
async fn test_put_makes_a_key_of_the_owner_that_set_keeps() {
    let safe = Safe::new().await;
    let mut connection = safe.pool().acquire().await.unwrap();
    let owner = KeyOwner::Pack(PackFixture::new_unique().create(&mut connection).await.unwrap().id);
    let key = safe.vault.put(safe.pool(), KeyValue::secret("ops.token", "hunter2").of(owner)).await.unwrap();
    assert_eq!(key.owner, owner);
    assert_eq!(safe.set("ops.token", "hunter3").await.owner, owner);
    safe.check(&safe.vault, "ops.token", Some("hunter3")).await;
}

#[tokio::test]
async fn test_create_refuses_a_ref_that_is_taken() {
    let safe = Safe::new().await;
    let create = async |value| safe.vault.create(safe.pool(), KeyValue::secret("ops.token", value)).await;
    assert_eq!(create("hunter2").await.unwrap().version, 1);
    let again = create("other").await;
    assert!(matches!(again, Err(VaultError::Store(StoreError::AlreadyExists { .. }))), "{again:?}");
    safe.check(&safe.vault, "ops.token", Some("hunter2")).await;
}

#[tokio::test]
async fn test_what_is_no_secret_is_shown() {
    let safe = Safe::new().await;
    assert!(safe.set("ops.level", "hunter2").await.secret);
    assert_eq!(safe.shown("ops.level").await.unwrap(), None);
    let plain = safe.set_plain("ops.level", "80").await;
    assert_eq!((plain.secret, plain.version), (false, 2));
    assert_eq!(safe.shown("ops.level").await.unwrap().as_deref(), Some("80"));
    safe.check(&safe.other().await, "ops.level", Some("80")).await;
    assert!(safe.set("ops.level", "hunter3").await.secret);
    assert_eq!(safe.shown("ops.level").await.unwrap(), None);
    let created = safe.vault.create(safe.pool(), KeyValue::plain("ops.other", "")).await.unwrap();
    assert!(!created.secret);
    assert_eq!(safe.shown("ops.other").await.unwrap().as_deref(), Some(""));
}

#[tokio::test]
async fn test_hide_keeps_the_value() {
    let safe = Safe::new().await;
    assert_eq!(safe.vault.hide(safe.pool(), "ops.level").await.unwrap(), None);
    safe.set_plain("ops.level", "80").await;
    let hidden = safe.vault.hide(safe.pool(), "ops.level").await.unwrap().unwrap();
    assert_eq!((hidden.secret, hidden.version), (true, 2));
    assert_eq!(safe.shown("ops.level").await.unwrap(), None);
    safe.check(&safe.vault, "ops.level", Some("80")).await;
    // Again, there is nothing to be done.
    assert_eq!(safe.vault.hide(safe.pool(), "ops.level").await.unwrap(), Some(hidden));
}

#[tokio::test]
async fn test_hide_follows_a_rotation_by_another_process() {
    let safe = Safe::new().await;
    safe.set_plain("ops.old", "80").await;
    safe.set_plain("ops.new", "81").await;
    let other = safe.other().await;
    // One is sealed anew already when it is hidden, the other is not.
    safe.vault.renew_data_key(safe.pool()).await.unwrap();
    assert!(other.hide(safe.pool(), "ops.old").await.unwrap().unwrap().secret);
    safe.vault.rotate(safe.pool()).await.unwrap();
    assert!(other.hide(safe.pool(), "ops.new").await.unwrap().unwrap().secret);
    safe.check(&safe.vault, "ops.old", Some("80")).await;
    safe.check(&safe.vault, "ops.new", Some("81")).await;
    let in_force = *safe.data_keys().await.last().unwrap();
    for key_ref in ["ops.old", "ops.new"] {
        let key = KeyRepository::get_by_ref(safe.pool(), key_ref).await.unwrap();
        assert_eq!((key.secret, key.data_key), (true, in_force), "{key_ref}");
    }
}

#[tokio::test]
async fn test_what_was_hidden_meanwhile_is_not_shown_by_a_later_value() {
    let safe = Safe::new().await;
    safe.set_plain("ops.level", "80").await;
    let hidden = safe.vault.hide(safe.pool(), "ops.level").await.unwrap().unwrap();
    // Read when it was none.
    let late = async |value| safe.vault.put_alike(safe.pool(), value).await.unwrap();
    assert_eq!(late(KeyValue::plain("ops.level", "90")).await, None);
    assert_eq!(KeyRepository::get_by_ref(safe.pool(), "ops.level").await.unwrap(), hidden);
    safe.check(&safe.vault, "ops.level", Some("80")).await;
    let set = late(KeyValue::secret("ops.level", "90")).await.unwrap();
    assert_eq!((set.secret, set.version), (true, 3));
    // Another process follows a rotation, and only then says that the key is another.
    let other = safe.other().await;
    safe.vault.rotate(safe.pool()).await.unwrap();
    let late = async |value| other.put_alike(safe.pool(), value).await.unwrap();
    assert_eq!(late(KeyValue::plain("ops.level", "91")).await, None);
    assert_eq!(late(KeyValue::secret("ops.level", "92")).await.unwrap().version, 4);
    safe.check(&safe.vault, "ops.level", Some("92")).await;
}

#[tokio::test]
async fn test_a_value_that_was_set_meanwhile_is_hidden_instead() {
    let safe = Safe::new().await;
    let key = safe.set_plain("ops.level", "80").await;
    // A writer that has not committed yet: it is waited for, and what it wrote is what is hidden.
    let mut writer = attune_common::db::begin(safe.pool()).await.unwrap();
    let new = safe.vault.sealed(KeyValue::plain("ops.level", "90")).unwrap();
    KeyRepository::put(&mut *writer, &new).await.unwrap();
    let (hidden, ()) = tokio::join!(safe.vault.hide(safe.pool(), "ops.level"), async {
        until_blocked(safe.pool(), 1).await;
        writer.commit().await.unwrap();
    });
    let hidden = hidden.unwrap().unwrap();
    assert_eq!((hidden.id, hidden.secret, hidden.version), (key.id, true, 3));
    safe.check(&safe.vault, "ops.level", Some("90")).await;
}

#[tokio::test]
async fn test_a_secret_that_is_said_to_be_none_is_not_shown() {
    let safe = Safe::new().await;
    safe.set("ops.token", "hunter2").await;
    safe.set_plain("ops.level", "80").await;
    sqlx::query("update attune.key set secret = not secret").execute(safe.pool()).await.unwrap();
    assert_tampered(safe.shown("ops.token").await);
    assert_tampered(safe.vault.reveal(safe.pool(), "ops.token").await);
    assert_tampered(safe.vault.reveal(safe.pool(), "ops.level").await);
}

#[tokio::test]
async fn test_equal_values_are_stored_differently() {
    let safe = Safe::new().await;
    safe.set("ops.one", "hunter2").await;
    safe.set("ops.two", "hunter2").await;
    assert_ne!(safe.sealed("ops.one").await, safe.sealed("ops.two").await);
}

#[tokio::test]
async fn test_no_plain_text_is_stored() {
    let safe = Safe::new().await;
    safe.set("ops.token", "hunter2-hunter2").await;
    safe.set_plain("ops.plain", "hunter2-hunter2").await;
    for key_ref in ["ops.token", "ops.plain"] {
        assert!(!safe.sealed(key_ref).await.windows(7).any(|bytes| bytes == b"hunter2"));
    }
    let wrapped = DataKeyRepository::find_in_force(safe.pool()).await.unwrap().unwrap().wrapped;
    let data_key = safe.master.open(&wrapped, "data key").unwrap();
    assert!(!wrapped.windows(data_key.len()).any(|bytes| bytes == data_key));
}

#[tokio::test]
async fn test_opened_again_reveals_older_values() {
    let safe = Safe::new().await;
    safe.set("ops.token", "hunter2").await;
    safe.check(&safe.other().await, "ops.token", Some("hunter2")).await;
}

#[tokio::test]
async fn test_opened_by_two_processes_at_once() {
    let database = TestDatabase::create().await;
    let master = SecretKey::generate();
    let (one, other) =
        tokio::join!(Vault::open(database.pool(), &master), Vault::open(database.pool(), &master));
    one.unwrap().set(database.pool(), "ops.token", "hunter2").await.unwrap();
    let revealed = other.unwrap().reveal(database.pool(), "ops.token").await.unwrap();
    assert_eq!(revealed.as_deref(), Some("hunter2"));
}

#[tokio::test]
async fn test_a_wrong_master_key_is_refused() {
    let safe = Safe::new().await;
    let wrong = SecretKey::generate();
    let opened = Vault::open(safe.pool(), &wrong).await;
    let sentence = opened.as_ref().unwrap_err().to_string();
    assert!(sentence.contains("ATTUNE_MASTER_KEY") && sentence.contains("master.key"), "{sentence}");
    assert_wrong_master_key(opened, &wrong, &safe.master);
    // The refused one has changed nothing.
    assert_eq!(safe.data_keys().await.len(), 1);
    safe.other().await;
}

#[tokio::test]
async fn test_a_changed_data_key_is_noticed() {
    let safe = Safe::new().await;
    sqlx::query("update attune.data_key set wrapped = set_byte(wrapped, 20, get_byte(wrapped, 20) # 1)")
        .execute(safe.pool())
        .await
        .unwrap();
    assert_tampered(Vault::open(safe.pool(), &safe.master).await);
}

#[tokio::test]
async fn test_a_value_under_another_data_key_is_noticed() {
    let safe = Safe::new().await;
    safe.set("ops.token", "hunter2").await;
    safe.vault.renew_data_key(safe.pool()).await.unwrap();
    sqlx::query("update attune.key set data_key = (select max(id) from attune.data_key)")
        .execute(safe.pool())
        .await
        .unwrap();
    assert_tampered(safe.vault.reveal(safe.pool(), "ops.token").await);
}

#[tokio::test]
async fn test_exchanged_data_keys_are_noticed() {
    let safe = Safe::new().await;
    safe.set("ops.token", "hunter2").await;
    safe.vault.renew_data_key(safe.pool()).await.unwrap();
    sqlx::query(
        "update attune.data_key
         set wrapped = other.wrapped
         from attune.data_key other
         where other.id <> data_key.id",
    )
    .execute(safe.pool())
    .await
    .unwrap();
    assert_tampered(safe.other().await.reveal(safe.pool(), "ops.token").await);
}

#[tokio::test]
async fn test_a_changed_value_is_noticed() {
    let safe = Safe::new().await;
    safe.set("ops.token", "hunter2").await;
    safe.damage("ops.token").await;
    assert_tampered(safe.vault.reveal(safe.pool(), "ops.token").await);
}

#[tokio::test]
async fn test_a_truncated_value_is_noticed() {
    let safe = Safe::new().await;
    safe.set("ops.token", "hunter2").await;
    let value = safe.sealed("ops.token").await;
    for length in [0, 11, 12, value.len() - 1] {
        safe.overwrite("ops.token", &value[..length]).await;
        assert_tampered(safe.vault.reveal(safe.pool(), "ops.token").await);
    }
}

#[tokio::test]
async fn test_an_exchanged_value_is_noticed() {
    let safe = Safe::new().await;
    safe.set("ops.mine", "mine").await;
    safe.set("ops.admin", "admin").await;
    let foreign = safe.sealed("ops.admin").await;
    safe.overwrite("ops.mine", &foreign).await;
    assert_tampered(safe.vault.reveal(safe.pool(), "ops.mine").await);
}

#[tokio::test]
async fn test_a_renamed_key_is_noticed() {
    let safe = Safe::new().await;
    safe.set("ops.admin", "admin").await;
    sqlx::query("update attune.key set ref = 'ops.mine'").execute(safe.pool()).await.unwrap();
    assert_tampered(safe.vault.reveal(safe.pool(), "ops.mine").await);
}

#[tokio::test]
async fn test_a_value_that_is_not_text() {
    let safe = Safe::new().await;
    let data_key = DataKeyRepository::find_in_force(safe.pool()).await.unwrap().unwrap();
    let opened = SecretKey::from_bytes(&safe.master.open(&data_key.wrapped, "data key").unwrap()).unwrap();
    let value = opened.seal(b"\xff\xfe", "key:ops.blob").unwrap();
    let new = NewKey {
        key_ref: "ops.blob".to_owned(),
        owner: KeyOwner::System,
        data_key: data_key.id,
        secret: true,
        value,
    };
    KeyRepository::create(safe.pool(), &new).await.unwrap();
    let error = safe.vault.reveal(safe.pool(), "ops.blob").await.unwrap_err();
    assert!(matches!(&error, VaultError::NotText { key_ref } if key_ref == "ops.blob"), "{error:?}");
}

#[tokio::test]
async fn test_set_invalid_ref() {
    let safe = Safe::new().await;
    let set = safe.vault.set(safe.pool(), "Token", "hunter2").await;
    match &set {
        Err(VaultError::Store(StoreError::InvalidValue { field, value, .. })) => {
            assert_eq!((&**field, value.as_deref()), ("ref", Some("Token")));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(KeyRepository::list(safe.pool()).await.unwrap(), []);
}

#[tokio::test]
async fn test_rotate_seals_every_value_anew() {
    let safe = Safe::new().await;
    let mut before = Vec::new();
    for number in 0..3 {
        let (key_ref, value) = (format!("ops.key_{number}"), format!("value {number}"));
        let key = match number {
            1 => safe.set_plain(&key_ref, &value).await,
            _ => safe.set(&key_ref, &value).await,
        };
        before.push((safe.sealed(&key.key_ref).await, key));
    }
    let rotated = safe.vault.rotate(safe.pool()).await.unwrap();
    let data_key = safe.data_keys().await[0];
    assert_eq!(rotated, Rotated { data_key, resealed: 3, removed: 1, damaged: Vec::new() });
    assert_eq!(safe.data_keys().await, [data_key], "the old one is gone");
    for (number, (sealed, key)) in before.into_iter().enumerate() {
        assert_ne!(safe.sealed(&key.key_ref).await, sealed);
        safe.check(&safe.vault, &key.key_ref, Some(&format!("value {number}"))).await;
        let after = KeyRepository::get_by_id(safe.pool(), key.id).await.unwrap();
        assert_eq!(after, Key { data_key, ..key });
    }
}

#[tokio::test]
async fn test_rotate_without_values() {
    let safe = Safe::new().await;
    let rotated = safe.vault.rotate(safe.pool()).await.unwrap();
    assert_eq!((rotated.resealed, rotated.removed), (0, 1));
    safe.set("ops.token", "hunter2").await;
    safe.check(&safe.other().await, "ops.token", Some("hunter2")).await;
}

#[tokio::test]
async fn test_rotate_more_values_than_a_batch() {
    let safe = Safe::new().await;
    let data_key = DataKeyRepository::find_in_force(safe.pool()).await.unwrap().unwrap();
    let opened = SecretKey::from_bytes(&safe.master.open(&data_key.wrapped, "data key").unwrap()).unwrap();
    let refs: Vec<String> = (0..250).map(|number| format!("ops.key_{number:03}")).collect();
    let values: Vec<_> =
        refs.iter().map(|key| opened.seal(key.as_bytes(), &format!("key:{key}")).unwrap()).collect();
    sqlx::query(
        "insert into attune.key (ref, name, data_key, value)
         select ref, ref, $1, value from unnest($2::text[], $3::bytea[]) as new (ref, value)",
    )
    .bind(data_key.id)
    .bind(&refs)
    .bind(values)
    .execute(safe.pool())
    .await
    .unwrap();
    let rotated = safe.vault.rotate(safe.pool()).await.unwrap();
    assert_eq!((rotated.resealed, rotated.removed), (250, 1));
    for key_ref in &refs {
        safe.check(&safe.vault, key_ref, Some(key_ref)).await;
    }
}

#[tokio::test]
async fn test_another_process_reads_and_writes_on_after_a_rotation() {
    let safe = Safe::new().await;
    let older = safe.other().await;
    safe.set("ops.token", "hunter2").await;
    let rotated = safe.vault.rotate(safe.pool()).await.unwrap();
    // Its data key is gone from the database.
    safe.check(&older, "ops.token", Some("hunter2")).await;
    let older = Vault::clone(&older);
    let key = older.set(safe.pool(), "ops.token", "hunter3").await.unwrap();
    assert_eq!((key.data_key, key.version), (rotated.data_key, 2));
    safe.check(&safe.vault, "ops.token", Some("hunter3")).await;
}

#[tokio::test]
async fn test_a_transaction_that_a_rotation_refused_seals_anew() {
    let safe = Safe::new().await;
    let other = safe.other().await;
    let rotated = safe.vault.rotate(safe.pool()).await.unwrap();
    let write = async |new: &NewKey| {
        let mut transaction = attune_common::db::begin(safe.pool()).await.unwrap();
        let written = KeyRepository::put(&mut *transaction, new).await?;
        transaction.commit().await.unwrap();
        Ok::<Key, StoreError>(written)
    };
    let refusal = write(&other.sealed(KeyValue::secret("ops.token", "hunter2")).unwrap()).await.unwrap_err();
    assert!(other.follows(safe.pool(), &refusal).await.unwrap());
    let key = write(&other.sealed(KeyValue::secret("ops.token", "hunter2")).unwrap()).await.unwrap();
    assert_eq!((key.data_key, key.owner), (rotated.data_key, KeyOwner::System));
    assert_eq!(safe.vault.reveal(safe.pool(), "ops.token").await.unwrap().as_deref(), Some("hunter2"));
    // Nothing newer is there to go over to, and other refusals are not its matter.
    assert!(!other.follows(safe.pool(), &refusal).await.unwrap());
    assert!(!other.follows(safe.pool(), &StoreError::not_found("key", "ops.token")).await.unwrap());
}

#[tokio::test]
async fn test_another_process_that_never_read_writes_on_after_a_rotation() {
    let safe = Safe::new().await;
    let older = safe.other().await;
    let rotated = safe.vault.rotate(safe.pool()).await.unwrap();
    let key = older.create(safe.pool(), KeyValue::secret("ops.token", "hunter2")).await.unwrap();
    assert_eq!(key.data_key, rotated.data_key);
    safe.check(&safe.vault, "ops.token", Some("hunter2")).await;
}

#[tokio::test]
async fn test_every_process_reads_every_value_in_the_middle_of_a_rotation() {
    let safe = Safe::new().await;
    let older = safe.other().await;
    safe.set("ops.old", "old").await;
    // The rotation died after its first step.
    safe.vault.renew_data_key(safe.pool()).await.unwrap();
    safe.set("ops.new", "new").await;
    for vault in [&older, &safe.vault, &safe.other().await] {
        safe.check(vault, "ops.old", Some("old")).await;
        safe.check(vault, "ops.new", Some("new")).await;
    }
    // And is run again, by another process.
    let again = safe.other().await.rotate(safe.pool()).await.unwrap();
    assert_eq!((again.resealed, again.removed), (2, 2));
    for vault in [&older, &safe.vault] {
        safe.check(vault, "ops.old", Some("old")).await;
        safe.check(vault, "ops.new", Some("new")).await;
    }
}

#[tokio::test]
async fn test_rotate_finishes_what_was_sealed_anew_in_part() {
    let safe = Safe::new().await;
    safe.set("ops.one", "one").await;
    safe.set("ops.two", "two").await;
    safe.vault.renew_data_key(safe.pool()).await.unwrap();
    safe.set("ops.one", "one, sealed anew").await;
    let rotated = safe.vault.reseal(safe.pool()).await.unwrap();
    assert_eq!((rotated.resealed, rotated.removed), (1, 1));
    safe.check(&safe.vault, "ops.one", Some("one, sealed anew")).await;
    safe.check(&safe.vault, "ops.two", Some("two")).await;
}

#[tokio::test]
async fn test_rotate_keeps_a_value_that_is_set_meanwhile() {
    let safe = Safe::new().await;
    let key = safe.set("ops.token", "old").await;
    safe.vault.renew_data_key(safe.pool()).await.unwrap();
    // Somebody sets the value when the rotation has read it: the row is locked until then.
    let mut holder = attune_common::db::begin(safe.pool()).await.unwrap();
    sqlx::query("select from attune.key where id = $1 for update")
        .bind(key.id)
        .execute(&mut *holder)
        .await
        .unwrap();
    let older = safe.other().await;
    let rotation = async { safe.vault.reseal(safe.pool()).await.unwrap() };
    let setting = async {
        until_blocked(safe.pool(), 1).await;
        let set = older.set(safe.pool(), "ops.token", "new");
        let release = async {
            until_blocked(safe.pool(), 2).await;
            holder.commit().await.unwrap();
        };
        tokio::join!(set, release).0.unwrap()
    };
    let (rotated, set) = tokio::join!(rotation, setting);
    assert_eq!((set.version, rotated.removed), (2, 1));
    safe.check(&safe.vault, "ops.token", Some("new")).await;
}

#[tokio::test]
async fn test_rotate_passes_over_a_deleted_key() {
    let safe = Safe::new().await;
    let key = safe.set("ops.token", "old").await;
    safe.set("ops.other", "other").await;
    safe.vault.renew_data_key(safe.pool()).await.unwrap();
    let mut deleting = attune_common::db::begin(safe.pool()).await.unwrap();
    assert!(KeyRepository::delete(&mut *deleting, key.id).await.unwrap());
    let (rotated, ()) = tokio::join!(safe.vault.reseal(safe.pool()), async {
        until_blocked(safe.pool(), 1).await;
        deleting.commit().await.unwrap();
    });
    let rotated = rotated.unwrap();
    assert_eq!((rotated.resealed, rotated.removed, rotated.damaged), (1, 1, Vec::new()));
    safe.check(&safe.vault, "ops.token", None).await;
    safe.check(&safe.vault, "ops.other", Some("other")).await;
}

#[tokio::test]
async fn test_rotate_by_two_processes_at_once_loses_nothing() {
    let safe = Safe::new().await;
    for number in 0..20 {
        safe.set(&format!("ops.key_{number}"), &format!("value {number}")).await;
    }
    let other = safe.other().await;
    let (one, two) = tokio::join!(safe.vault.rotate(safe.pool()), other.rotate(safe.pool()));
    assert!(one.is_ok() || two.is_ok(), "{one:?}, {two:?}");
    let last = safe.vault.rotate(safe.pool()).await.unwrap();
    assert_eq!(safe.data_keys().await, [last.data_key]);
    for number in 0..20 {
        safe.check(&safe.vault, &format!("ops.key_{number}"), Some(&format!("value {number}"))).await;
    }
}

#[tokio::test]
async fn test_rotate_names_damaged_values_and_goes_on() {
    let safe = Safe::new().await;
    for key_ref in ["ops.first", "ops.broken", "ops.last"] {
        safe.set(key_ref, "hunter2").await;
    }
    safe.damage("ops.broken").await;
    let rotated = safe.vault.rotate(safe.pool()).await.unwrap();
    assert_eq!((rotated.resealed, rotated.damaged), (2, vec!["ops.broken".to_owned()]));
    assert_eq!(rotated.removed, 0, "the data key of the damaged value stays");
    safe.check(&safe.vault, "ops.last", Some("hunter2")).await;
    // Once it is set again the next rotation clears everything away.
    safe.set("ops.broken", "mended").await;
    let rotated = safe.vault.rotate(safe.pool()).await.unwrap();
    assert_eq!((rotated.resealed, rotated.removed, rotated.damaged), (3, 2, Vec::new()));
    safe.check(&safe.vault, "ops.broken", Some("mended")).await;
}

#[tokio::test]
async fn test_change_master_key() {
    let safe = Safe::new().await;
    let new = SecretKey::generate();
    safe.set("ops.old", "old").await;
    safe.vault.renew_data_key(safe.pool()).await.unwrap();
    safe.set("ops.new", "new").await;
    assert_eq!(change_master_key(safe.pool(), &safe.master, &new).await.unwrap(), 2);
    let vault = Vault::open(safe.pool(), &new).await.unwrap();
    safe.check(&vault, "ops.old", Some("old")).await;
    safe.check(&vault, "ops.new", Some("new")).await;
    assert_wrong_master_key(Vault::open(safe.pool(), &safe.master).await, &safe.master, &new);
}

#[tokio::test]
async fn test_change_master_key_while_another_process_serves() {
    let safe = Safe::new().await;
    let new = SecretKey::generate();
    safe.set("ops.token", "hunter2").await;
    change_master_key(safe.pool(), &safe.master, &new).await.unwrap();
    safe.check(&safe.vault, "ops.token", Some("hunter2")).await;
    safe.set("ops.other", "set under the same data key").await;
    // A new data key is beyond the process with the old master key, and that is said.
    let renewed = safe.vault.renew_data_key(safe.pool()).await;
    assert_wrong_master_key(renewed, &safe.master, &new);
    assert_eq!(safe.data_keys().await.len(), 1);
    let vault = Vault::open(safe.pool(), &new).await.unwrap();
    safe.check(&vault, "ops.other", Some("set under the same data key")).await;
    vault.rotate(safe.pool()).await.unwrap();
    let revealed = safe.vault.reveal(safe.pool(), "ops.token").await;
    assert_wrong_master_key(revealed, &safe.master, &new);
    let set = safe.vault.set(safe.pool(), "ops.token", "late").await;
    assert_wrong_master_key(set, &safe.master, &new);
    safe.check(&vault, "ops.token", Some("hunter2")).await;
}

#[tokio::test]
async fn test_change_master_key_again_changes_nothing() {
    let safe = Safe::new().await;
    let new = SecretKey::generate();
    assert_eq!(change_master_key(safe.pool(), &safe.master, &new).await.unwrap(), 1);
    let stored = DataKeyRepository::list(safe.pool()).await.unwrap();
    assert_eq!(change_master_key(safe.pool(), &safe.master, &new).await.unwrap(), 0);
    assert_eq!(DataKeyRepository::list(safe.pool()).await.unwrap(), stored);
}

#[tokio::test]
async fn test_change_master_key_from_a_wrong_one() {
    let safe = Safe::new().await;
    let (wrong, new) = (SecretKey::generate(), SecretKey::generate());
    let changed = change_master_key(safe.pool(), &wrong, &new).await;
    assert_wrong_master_key(changed, &wrong, &safe.master);
    safe.other().await;
}

#[tokio::test]
async fn test_change_master_key_of_all_data_keys_or_of_none() {
    let safe = Safe::new().await;
    safe.vault.renew_data_key(safe.pool()).await.unwrap();
    let before = DataKeyRepository::list(safe.pool()).await.unwrap();
    // The oldest one, which comes last, cannot be opened.
    sqlx::query(
        "update attune.data_key set wrapped = '\\x00' where id = (select min(id) from attune.data_key)",
    )
    .execute(safe.pool())
    .await
    .unwrap();
    assert_tampered(change_master_key(safe.pool(), &safe.master, &SecretKey::generate()).await);
    let after = DataKeyRepository::find_in_force(safe.pool()).await.unwrap();
    assert_eq!(after.as_ref(), before.first());
}

#[tokio::test]
async fn test_change_master_key_and_rotation_at_once() {
    let safe = Safe::new().await;
    let new = SecretKey::generate();
    safe.set("ops.token", "hunter2").await;
    let mut changing = attune_common::db::begin(safe.pool()).await.unwrap();
    DataKeyRepository::lock(&mut *changing).await.unwrap();
    let (renewed, ()) = tokio::join!(safe.vault.renew_data_key(safe.pool()), async {
        until_blocked(safe.pool(), 1).await;
        // What `change_master_key` does while it holds the lock.
        let mut data_key = DataKeyRepository::find_in_force(&mut *changing).await.unwrap().unwrap();
        let opened = safe.master.open(&data_key.wrapped, "data key").unwrap();
        data_key.wrapped = new.seal(&opened, "data key").unwrap();
        data_key.master_fingerprint = new.fingerprint();
        DataKeyRepository::rewrap(&mut *changing, &[data_key]).await.unwrap();
        changing.commit().await.unwrap();
    });
    // No data key is left behind under the old master key.
    assert_wrong_master_key(renewed, &safe.master, &new);
    let vault = Vault::open(safe.pool(), &new).await.unwrap();
    safe.check(&vault, "ops.token", Some("hunter2")).await;
}
