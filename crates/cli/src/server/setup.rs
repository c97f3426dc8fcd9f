//! What a database needs before roles can serve from it: the secrets' vault, the core pack, somebody who may sign in.

use std::path::{Path, PathBuf};

use anyhow::Context;
use attune_api::install::{self, Candidate, Edits, InstallOptions};
use attune_common::auth;
use attune_common::bus::Bus;
use attune_common::crypto::SecretKey;
use attune_common::db;
use attune_common::environment;
use attune_common::models::identity::NewIdentity;
use attune_common::repositories::{IdentityRepository, PermissionRepository, TriggerRepository};
use attune_common::vault::Vault;
use attune_pack::PackFiles;
use sqlx::PgPool;

use super::content;

/// The permission set of the first administrator.
const ADMINISTRATOR: &str = "core.admin";
/// The trigger that the demo's webhook fires.
const DEMO_TRIGGER: &str = "demo.hello";

/// Opens the vault with the master key from the environment, or from the file in the data directory.
pub(super) async fn vault(pool: &PgPool, data_dir: &Path) -> anyhow::Result<Vault> {
    let master = match std::env::var(environment::MASTER_KEY) {
        Ok(digits) => SecretKey::from_hex(&digits, environment::MASTER_KEY)?,
        Err(_) => SecretKey::load_or_create(&master_key_file(data_dir))?,
    };
    Ok(Vault::open(pool, &master).await?)
}

/// The master key from the environment, or from the file in the data directory; None when there is neither.
pub(super) fn master_key_if_any(data_dir: &Path) -> anyhow::Result<Option<SecretKey>> {
    let is_given = std::env::var_os(environment::MASTER_KEY).is_some() || master_key_file(data_dir).exists();
    if is_given { existing_master_key(data_dir).map(Some) } else { Ok(None) }
}

/// The master key in use, from the environment, or from the file in the data directory, which must be there.
pub(super) fn existing_master_key(data_dir: &Path) -> anyhow::Result<SecretKey> {
    match std::env::var(environment::MASTER_KEY) {
        Ok(digits) => Ok(SecretKey::from_hex(&digits, environment::MASTER_KEY)?),
        Err(_) => SecretKey::load(&master_key_file(data_dir)).context(
            "the master key in use is not known: set ATTUNE_MASTER_KEY, or name the data directory with --data-dir",
        ),
    }
}

/// Where the master key is unless the environment holds it.
pub(super) fn master_key_file(data_dir: &Path) -> PathBuf {
    data_dir.join("master.key")
}

/// Refuses a database that is not migrated, or by a newer Attune.
pub(super) async fn check_schema(pool: &PgPool) -> anyhow::Result<()> {
    if db::is_current(pool).await? {
        return Ok(());
    }
    anyhow::bail!("the schema of the database is older than this attune: run `attune migrate` first")
}

/// What the embedded packs brought.
#[derive(Debug)]
pub(crate) struct Content {
    /// Path of the demo's webhook, where the demo is installed.
    pub(crate) demo_webhook: Option<String>,
}

/// Installs the core pack, and the demo pack if wanted; what is there already stays as it is.
pub(crate) async fn install_content(pool: &PgPool, demo: bool) -> anyhow::Result<Content> {
    install_embedded(pool, &content::core(), true).await.context("the core pack cannot be installed")?;
    if demo {
        install_embedded(pool, &content::demo(), false).await.context("the demo pack cannot be installed")?;
    }
    let trigger = match demo {
        true => TriggerRepository::find_by_ref(pool, DEMO_TRIGGER).await?,
        false => None,
    };
    let demo_webhook = trigger.and_then(|t| t.webhook_key).map(|key| format!("/api/v1/webhooks/{key}"));
    Ok(Content { demo_webhook })
}

async fn install_embedded(pool: &PgPool, files: &PackFiles, is_standard: bool) -> anyhow::Result<()> {
    let definition = attune_pack::read(files).map_err(|findings| {
        anyhow::anyhow!(findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    })?;
    let source = Some("embedded".to_owned());
    // None of them has settings, or keys with defaults.
    let candidate = Candidate::for_environment(definition, files.clone(), source, None);
    // Nobody is there to be asked what becomes of changes.
    let options = InstallOptions { is_standard, edits: Edits::Keep };
    // No role runs in this process yet; other processes are told by NOTIFY.
    install::install(pool, &Bus::new(), &[candidate], options).await?;
    Ok(())
}

/// Somebody who was just made, with the password that nobody sees again.
pub(crate) struct Administrator {
    pub(crate) login: String,
    pub(crate) password: String,
}

impl std::fmt::Debug for Administrator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Administrator").field("login", &self.login).finish_non_exhaustive()
    }
}

/// Makes the first administrator where there is nobody yet.
pub(crate) async fn first_administrator(pool: &PgPool) -> anyhow::Result<Option<Administrator>> {
    if IdentityRepository::any_exists(pool).await? {
        return Ok(None);
    }
    let password = auth::generate_password();
    let hash = tokio::task::spawn_blocking({
        let password = password.clone();
        move || auth::hash_password(&password)
    })
    .await??;
    let new = NewIdentity {
        login: "admin".to_owned(),
        display_name: Some("Administrator".to_owned()),
        password_hash: Some(hash),
        attributes: None,
    };
    let mut transaction = attune_common::db::begin(pool).await?;
    let set = PermissionRepository::get_by_ref(&mut *transaction, ADMINISTRATOR).await?;
    let identity = IdentityRepository::create(&mut *transaction, &new).await?;
    PermissionRepository::assign(&mut *transaction, identity.id, set.id).await?;
    transaction.commit().await?;
    Ok(Some(Administrator { login: identity.login, password }))
}
