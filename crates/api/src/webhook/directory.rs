//! Which webhooks there are, in memory: a request costs no query before its event is written.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use attune_common::crypto::CryptoError;
use attune_common::error::{Result, StoreError};
use attune_common::models::trigger::{SignatureScheme, Webhook};
use attune_common::repositories::{KeyRepository, TriggerRepository};
use attune_common::vault::{Vault, VaultError};
use sha2::{Digest, Sha256};
use sqlx::PgPool;
use tokio::sync::Mutex;

use super::listeners::{HookDirectory, HookPath};

/// One webhook, ready to check requests.
#[derive(Debug)]
pub(crate) struct WebhookEntry {
    pub(crate) trigger: i64,
    pub(crate) trigger_ref: String,
    pub(crate) settings: Webhook,
    pub(crate) secret: Secret,
}

/// The shared secret of a webhook.
#[derive(Clone)]
pub(crate) enum Secret {
    /// The webhook checks no signature.
    NotNeeded,
    Known(String),
    /// It checks one, but the key does not exist, or is no secret: every request is refused.
    Missing,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NotNeeded => "NotNeeded",
            Self::Known(_) => "Known(..)",
            Self::Missing => "Missing",
        })
    }
}

impl WebhookEntry {
    /// The header with the signature.
    pub(crate) fn signature_header(&self) -> Option<&str> {
        let signature = self.settings.signature.as_ref()?;
        match signature.scheme {
            SignatureScheme::Github => Some("x-hub-signature-256"),
            SignatureScheme::HmacSha256 => Some(signature.header.as_deref().unwrap_or("x-signature")),
        }
    }

    /// The header that names the delivery.
    pub(crate) fn delivery_id_header(&self) -> Option<&str> {
        self.settings.delivery_id_header.as_deref().or_else(|| {
            match self.settings.signature.as_ref().map(|signature| signature.scheme) {
                Some(SignatureScheme::Github) => Some("x-github-delivery"),
                Some(SignatureScheme::HmacSha256) | None => None,
            }
        })
    }
}

type Entries = HashMap<[u8; 32], Arc<WebhookEntry>>;

/// The webhooks of all enabled triggers, by a hash of their key (so that a lookup's time tells nothing of the key).
#[derive(Debug, Clone)]
pub(crate) struct WebhookDirectory {
    secrets: Secrets,
    /// The rules on the shared webhook.
    hooks: HookDirectory,
    /// None until they were read for the first time.
    entries: Arc<RwLock<Option<Arc<Entries>>>>,
    /// Held while they are read, lest what was read earlier be kept later.
    reading: Arc<Mutex<()>>,
}

/// The directory was not read yet: nothing can be said about any key.
#[derive(Debug)]
pub(crate) struct NotReadYet;

impl WebhookDirectory {
    /// An empty directory; [`WebhookDirectory::reload`] fills it.
    pub(crate) fn new(pool: PgPool, vault: Vault) -> Self {
        let secrets = Secrets { pool, vault };
        let hooks = HookDirectory::new(secrets.clone());
        Self { secrets, hooks, entries: Arc::default(), reading: Arc::default() }
    }

    /// The webhook with this key, if there is one.
    pub(crate) fn find(&self, key: &str) -> Result<Option<Arc<WebhookEntry>>, NotReadYet> {
        let entries = self.entries.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        entries.map(|entries| entries.get(&hash(key)).cloned()).ok_or(NotReadYet)
    }

    /// What is accepted on a path of the shared webhook, if a rule listens there.
    pub(crate) fn hook(&self, path: &str) -> Result<Option<Arc<HookPath>>, NotReadYet> {
        self.hooks.find(path)
    }

    /// Reads all webhooks and their secrets again.
    pub(crate) async fn reload(&self) -> Result<()> {
        let _turn = self.reading.lock().await;
        self.hooks.reload().await?;
        let mut entries = Entries::new();
        for trigger in TriggerRepository::list_webhooks(&self.secrets.pool).await? {
            let (Some(key), Some(settings)) = (trigger.webhook_key, trigger.webhook) else { continue };
            let secret = match &settings.signature {
                None => Secret::NotNeeded,
                Some(signature) => self.secrets.of(&signature.secret).await?,
            };
            let entry = WebhookEntry { trigger: trigger.id, trigger_ref: trigger.r#ref, settings, secret };
            entries.insert(hash(&key), Arc::new(entry));
        }
        *self.entries.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(Arc::new(entries));
        Ok(())
    }
}

/// Where the secrets of webhooks come from.
#[derive(Debug, Clone)]
pub(super) struct Secrets {
    pub(super) pool: PgPool,
    vault: Vault,
}

impl Secrets {
    pub(super) async fn of(&self, key_ref: &str) -> Result<Secret> {
        let Some(sealed) = KeyRepository::find_sealed(&self.pool, key_ref).await? else {
            return Ok(Secret::Missing);
        };
        if !sealed.secret {
            // Whoever may read the key could sign: that proves nothing.
            tracing::error!(
                key = key_ref,
                "the secret of a webhook is a key that is no secret: nothing is let in by it; run `attune key hide {key_ref}`"
            );
            return Ok(Secret::Missing);
        }
        match self.vault.reveal_sealed(&sealed) {
            Ok(secret) => Ok(Secret::Known(secret)),
            Err(VaultError::Store(error)) => Err(error),
            // One damaged secret must not take the other webhooks down.
            Err(error @ (VaultError::Crypto(CryptoError::Tampered) | VaultError::NotText { .. })) => {
                tracing::error!(key = key_ref, %error, "the secret of a webhook cannot be used");
                Ok(Secret::Missing)
            }
            Err(error) => Err(StoreError::Database(sqlx::Error::Protocol(error.to_string()))),
        }
    }
}

fn hash(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}
