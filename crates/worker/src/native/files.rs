//! Files of installed packs, as parameters name them.

use attune_common::error::StoreError;
use attune_common::pack_cache::OpenPack;
use attune_common::repositories::PackRepository;
use serde::Deserialize;

use super::{Context, NativeError};

/// A file of a pack.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PackFile {
    pub(super) pack: String,
    pub(super) path: String,
}

/// The content of a file of an installed pack.
pub(super) async fn read_file(context: &Context<'_>, file: &PackFile) -> Result<Vec<u8>, NativeError> {
    let platform = context.platform()?;
    let mut connection = platform.pool.acquire().await.map_err(StoreError::from)?;
    let PackFile { pack, path } = file;
    let content = PackRepository::file(&mut *connection, pack, path).await?;
    content.ok_or_else(|| NativeError::NoFile { pack: pack.clone(), path: path.clone() })
}

/// The pack of a file, taken into use: its files are on the disk then.
pub(super) async fn open_pack(context: &Context<'_>, file: &PackFile) -> Result<OpenPack, NativeError> {
    let platform = context.platform()?;
    let missing = || NativeError::NoFile { pack: file.pack.clone(), path: file.path.clone() };
    let pack = PackRepository::find_by_ref(platform.pool, &file.pack).await?.ok_or_else(missing)?;
    let opened = platform.packs.open(pack.id, &file.pack, pack.checksum.as_deref()).await;
    Ok(opened.map_err(Box::new)?)
}
