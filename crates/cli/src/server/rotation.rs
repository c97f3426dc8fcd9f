//! `attune key rotate`: new keys for the secrets of a database, while Attune serves from it. Works on the database itself,
//! because the master key never leaves the machines that hold it.

use std::path::{Path, PathBuf};

use anyhow::Context;
use attune_common::crypto::SecretKey;
use attune_common::db::{self, PoolOptions};
use attune_common::managed_postgres;
use attune_common::vault::Vault;
use attune_common::vault::rotation::change_master_key;
use clap::Args;
use sqlx::PgPool;

use super::{Common, setup};

/// Which keys to rotate, and where.
#[derive(Debug, Args)]
pub(crate) struct RotateArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Go over to the master key in this file, instead of making a new data key; made if it is missing
    #[arg(long, value_name = "PATH")]
    pub(crate) new_master_key_file: Option<PathBuf>,
}

/// Runs `attune key rotate`.
pub(crate) async fn rotate(args: RotateArgs) -> anyhow::Result<()> {
    let data_dir = args.common.data_dir()?;
    let url = args.common.database_url.or_else(|| managed_postgres::running_url(&data_dir)).with_context(|| {
        format!(
            "no database is given, and no `attune up` runs one in {}: set DATABASE_URL or give --database-url",
            data_dir.display()
        )
    })?;
    let master = setup::existing_master_key(&data_dir)?;
    let pool = db::connect(&url, &PoolOptions::default()).await.context("cannot connect to the database")?;
    setup::check_schema(&pool).await?;
    match &args.new_master_key_file {
        None => rotate_data_key(&pool, &master).await,
        Some(file) => rotate_master_key(&pool, &master, file, &data_dir).await,
    }
}

async fn rotate_data_key(pool: &PgPool, master: &SecretKey) -> anyhow::Result<()> {
    let rotated = Vault::open(pool, master).await?.rotate(pool).await?;
    eprintln!(
        "a new data key is in force; {} encrypted anew; {} removed",
        counted(rotated.resealed, "secret"),
        counted(rotated.removed, "older data key")
    );
    anyhow::ensure!(
        rotated.damaged.is_empty(),
        "these secrets cannot be decrypted and were left as they are; set them again: {}",
        rotated.damaged.join(", ")
    );
    Ok(())
}

async fn rotate_master_key(
    pool: &PgPool,
    master: &SecretKey,
    file: &Path,
    data_dir: &Path,
) -> anyhow::Result<()> {
    let new = SecretKey::load_or_create(file)?;
    anyhow::ensure!(
        new.fingerprint() != master.fingerprint(),
        "{} holds the master key that is in use: give another one",
        file.display()
    );
    let changed = change_master_key(pool, master, &new).await?;
    let done = match changed {
        0 => "every data key was encrypted under the new master key already".to_owned(),
        changed => format!("{} encrypted under the new master key", counted(changed, "data key")),
    };
    eprintln!(
        "{done} (fingerprint {}); whatever starts from now on needs it: move {} to {}, or put it into ATTUNE_MASTER_KEY, \
         then restart the processes that serve",
        new.fingerprint(),
        file.display(),
        setup::master_key_file(data_dir).display()
    );
    Ok(())
}

/// A number with its noun.
fn counted(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
