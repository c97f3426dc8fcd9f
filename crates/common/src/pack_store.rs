//! Takes installed packs into use: from this machine's disk ([`crate::pack_cache`]), and where that lacks a pack, from
//! the database. For the roles that start processes.

use std::path::PathBuf;

use sqlx::postgres::PgPool;

use crate::error::StoreError;
use crate::pack_cache::{OpenPack, PackCache, PackCacheError};
use crate::repositories::PackRepository;

/// How often a pack is stored again that vanished between its being stored and being opened.
const ATTEMPTS: u32 = 3;

/// The installed packs, on disk as far as they are used.
#[derive(Debug)]
pub struct PackStore {
    pool: PgPool,
    cache: PackCache,
    /// Holds back whoever would read the same files from the database at the same time, and bounds the memory.
    one_at_a_time: tokio::sync::Mutex<()>,
}

/// Why a pack could not be taken into use.
#[derive(Debug, thiserror::Error)]
pub enum PackStoreError {
    #[error("the pack {pack_ref} is not installed, or has no files")]
    NotInstalled { pack_ref: String },
    #[error(transparent)]
    Cache(#[from] PackCacheError),
    #[error("the files of the pack {pack_ref} cannot be read from the database")]
    Store { pack_ref: String, source: StoreError },
    #[error("the pack {pack_ref} cannot be kept in the cache: it is removed as often as it is stored")]
    Vanishes { pack_ref: String },
    #[error("the task that writes the files of the pack {pack_ref} failed")]
    Interrupted { pack_ref: String, source: tokio::task::JoinError },
}

impl PackStore {
    /// The packs of this database, kept below `directory`.
    pub fn new(pool: PgPool, directory: impl Into<PathBuf>) -> Self {
        Self { pool, cache: PackCache::new(directory), one_at_a_time: tokio::sync::Mutex::default() }
    }

    /// Takes the pack into use in the version with this checksum; in the one that is installed now, if that version is
    /// neither on the disk nor in the database any more.
    pub async fn open(
        &self,
        pack: i64,
        pack_ref: &str,
        checksum: Option<&str>,
    ) -> Result<OpenPack, PackStoreError> {
        if let Some(checksum) = checksum
            && let Some(files) = self.open_stored(pack_ref, checksum).await?
        {
            return Ok(files);
        }
        let _one_at_a_time = self.one_at_a_time.lock().await;
        for _ in 0..ATTEMPTS {
            let installed = self.store(pack, pack_ref).await?;
            if let Some(files) = self.open_stored(pack_ref, &installed).await? {
                return Ok(files);
            }
        }
        Err(PackStoreError::Vanishes { pack_ref: pack_ref.to_owned() })
    }

    /// From the disk only.
    async fn open_stored(&self, pack_ref: &str, checksum: &str) -> Result<Option<OpenPack>, PackStoreError> {
        let (cache, name, checksum) = (self.cache.clone(), pack_ref.to_owned(), checksum.to_owned());
        // Looks at every file.
        let opened = tokio::task::spawn_blocking(move || cache.open(&name, &checksum)).await;
        Ok(opened.map_err(|source| interrupted(pack_ref, source))??)
    }

    /// Brings the installed version from the database to the disk and gives back its checksum.
    async fn store(&self, pack: i64, pack_ref: &str) -> Result<String, PackStoreError> {
        let read = async {
            let mut connection = self.pool.acquire().await?;
            PackRepository::files(&mut connection, pack).await
        };
        let not_installed = || PackStoreError::NotInstalled { pack_ref: pack_ref.to_owned() };
        let (checksum, files) = read.await.map_err(|source| match source {
            StoreError::NotFound { .. } => not_installed(),
            source => PackStoreError::Store { pack_ref: pack_ref.to_owned(), source },
        })?;
        let checksum = checksum.ok_or_else(not_installed)?;
        let (cache, name, key) = (self.cache.clone(), pack_ref.to_owned(), checksum.clone());
        let stored = tokio::task::spawn_blocking(move || {
            cache.store(&name, &key, files.into_iter().map(|file| (file.path, file.content, file.executable)))
        });
        stored.await.map_err(|source| interrupted(pack_ref, source))??;
        Ok(checksum)
    }
}

fn interrupted(pack_ref: &str, source: tokio::task::JoinError) -> PackStoreError {
    PackStoreError::Interrupted { pack_ref: pack_ref.to_owned(), source }
}
