//! Keys.

use attune_common::error::Result;
use attune_common::models::key::{DataKey, Key, KeyOwner, NewKey};
use attune_common::repositories::{DataKeyRepository, KeyRepository};
use sqlx::PgConnection;

use super::unique_suffix;

/// A ref for a key.
pub(crate) fn unique_key_ref() -> String {
    format!("test.key_{}", unique_suffix())
}

/// The data key in force, which nobody can open.
pub(crate) async fn data_key(connection: &mut PgConnection) -> Result<DataKey> {
    DataKeyRepository::first_or_create(connection, b"wrapped", "fingerprint").await
}

/// A new data key in force, which nobody can open.
pub(crate) async fn next_data_key(connection: &mut PgConnection) -> DataKey {
    let created = DataKeyRepository::create(connection, b"wrapped anew", "fingerprint").await;
    created.expect("a data key can be made").expect("all are sealed under one master key")
}

/// Builds a key with a value that is not encrypted at all: for what only looks at names.
#[derive(Debug, Clone)]
pub(crate) struct KeyFixture {
    pub(crate) key_ref: String,
    pub(crate) owner: KeyOwner,
    pub(crate) secret: bool,
    pub(crate) value: Vec<u8>,
}

impl KeyFixture {
    pub(crate) fn new(key_ref: &str) -> Self {
        Self { key_ref: key_ref.to_owned(), owner: KeyOwner::System, secret: true, value: b"sealed".to_vec() }
    }

    pub(crate) fn new_unique() -> Self {
        Self::new(&unique_key_ref())
    }

    pub(crate) fn with_owner(mut self, owner: KeyOwner) -> Self {
        self.owner = owner;
        self
    }

    pub(crate) fn plain(mut self) -> Self {
        self.secret = false;
        self
    }

    pub(crate) fn with_value(mut self, value: &[u8]) -> Self {
        self.value = value.to_vec();
        self
    }

    pub(crate) async fn new_key(self, connection: &mut PgConnection) -> Result<NewKey> {
        let data_key = data_key(connection).await?.id;
        let Self { key_ref, owner, secret, value } = self;
        Ok(NewKey { key_ref, owner, data_key, secret, value })
    }

    pub(crate) async fn create(self, connection: &mut PgConnection) -> Result<Key> {
        let new = self.new_key(&mut *connection).await?;
        KeyRepository::create(connection, &new).await
    }

    pub(crate) async fn put(self, connection: &mut PgConnection) -> Result<Key> {
        let new = self.new_key(&mut *connection).await?;
        KeyRepository::put(connection, &new).await
    }

    pub(crate) async fn put_alike(self, connection: &mut PgConnection) -> Result<Option<Key>> {
        let new = self.new_key(&mut *connection).await?;
        KeyRepository::put_alike(connection, &new).await
    }
}
