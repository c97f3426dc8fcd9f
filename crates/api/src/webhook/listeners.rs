//! Which rules listen on the shared webhook, in memory: a request costs no query before its event is written.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, RwLock};

use attune_common::error::Result;
use attune_common::models::key::KeyOwner;
use attune_common::models::trigger::{SignatureScheme, Webhook, WebhookSignature};
use attune_common::repositories::{KeyRepository, RuleRepository, RuleSetRepository, TriggerRepository};
use attune_rules::webhook::{Listener, Scheme, Signature, TRIGGER};
use serde_json::Value;
use tokio::sync::Mutex;

use super::directory::{NotReadYet, Secret, Secrets, WebhookEntry};

/// What is accepted on one path.
#[derive(Debug)]
pub(crate) struct HookPath {
    pub(crate) trigger: i64,
    /// A rule listens that names no secret: what brings a token is accepted.
    pub(crate) takes_token: bool,
    /// The ways of signing that rules name, each once.
    pub(crate) signed: Vec<SignedHook>,
}

/// A way of signing, ready to check requests.
#[derive(Debug)]
pub(crate) struct SignedHook {
    pub(crate) entry: WebhookEntry,
    /// The configuration of the events that come in so.
    pub(crate) config: Value,
}

type Paths = HashMap<String, Arc<HookPath>>;

/// The paths of all enabled rules.
#[derive(Debug, Clone)]
pub(crate) struct HookDirectory {
    secrets: Secrets,
    /// None until they were read for the first time.
    paths: Arc<RwLock<Option<Arc<Paths>>>>,
    /// Held while they are read, lest what was read earlier be kept later.
    read: Arc<Mutex<Option<Read>>>,
}

/// What was read of the rules, and at which version of them.
#[derive(Debug)]
struct Read {
    version: i64,
    trigger: Option<i64>,
    listeners: Vec<(Option<i64>, Listener)>,
}

impl HookDirectory {
    /// An empty directory; [`HookDirectory::reload`] fills it.
    pub(crate) fn new(secrets: Secrets) -> Self {
        Self { secrets, paths: Arc::default(), read: Arc::default() }
    }

    /// What is accepted on the path, if a rule listens there.
    pub(crate) fn find(&self, path: &str) -> std::result::Result<Option<Arc<HookPath>>, NotReadYet> {
        let paths = self.paths.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        paths.map(|paths| paths.get(path).cloned()).ok_or(NotReadYet)
    }

    /// Reads the rules again if they have changed, and their secrets.
    pub(crate) async fn reload(&self) -> Result<()> {
        let pool = &self.secrets.pool;
        let mut read = self.read.lock().await;
        // Before the rules: those that come in between are read once more.
        let version = RuleSetRepository::version(pool).await?;
        if read.as_ref().is_none_or(|read| read.version != version) {
            let trigger = TriggerRepository::find_by_ref(pool, TRIGGER).await?;
            let trigger = trigger.filter(|trigger| trigger.enabled).map(|trigger| trigger.id);
            let listening = match trigger {
                Some(trigger) => RuleRepository::list_listening(pool, trigger).await?,
                None => Vec::new(),
            };
            let mut listeners = Vec::new();
            for rule in listening {
                match Listener::read(&rule.trigger_params) {
                    Ok(listener) => listeners.push((rule.pack, listener)),
                    Err(problems) => {
                        let problem = problems.first().map(ToString::to_string).unwrap_or_default();
                        tracing::warn!(
                            rule = rule.r#ref,
                            problem,
                            "a rule on the shared webhook listens nowhere"
                        );
                    }
                }
            }
            *read = Some(Read { version, trigger, listeners });
        }
        let paths = match read.as_ref() {
            Some(Read { trigger: Some(trigger), listeners, .. }) => {
                self.assemble(*trigger, listeners).await?
            }
            Some(Read { trigger: None, .. }) | None => Paths::new(),
        };
        *self.paths.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(Arc::new(paths));
        Ok(())
    }

    async fn assemble(&self, trigger: i64, listeners: &[(Option<i64>, Listener)]) -> Result<Paths> {
        let mut secrets: BTreeMap<(&str, Option<i64>), Secret> = BTreeMap::new();
        let mut paths: HashMap<&str, HookPath> = HashMap::new();
        for (pack, listener) in listeners {
            let empty = || HookPath { trigger, takes_token: false, signed: Vec::new() };
            let path = paths.entry(&listener.path).or_insert_with(empty);
            let Some(signature) = &listener.signature else {
                path.takes_token = true;
                continue;
            };
            let config = listener.config();
            let known = secrets.entry((&signature.secret, *pack));
            let secret = match known {
                std::collections::btree_map::Entry::Occupied(known) => known.get().clone(),
                std::collections::btree_map::Entry::Vacant(new) => {
                    new.insert(self.secret(&signature.secret, *pack).await?).clone()
                }
            };
            // Of rules that sign alike one is enough, unless only the other may use the key.
            match path.signed.iter_mut().find(|signed| signed.config == config) {
                Some(SignedHook { entry, .. }) if matches!(entry.secret, Secret::Missing) => {
                    entry.secret = secret;
                }
                Some(_) => {}
                None => {
                    let settings = Webhook { signature: Some(settings(signature)), delivery_id_header: None };
                    let trigger_ref = TRIGGER.to_owned();
                    path.signed.push(SignedHook {
                        entry: WebhookEntry { trigger, trigger_ref, settings, secret },
                        config,
                    });
                }
            }
        }
        Ok(paths.into_iter().map(|(path, hook)| (path.to_owned(), Arc::new(hook))).collect())
    }

    /// A rule may use keys of the system and of its own pack, as in its parameters.
    async fn secret(&self, key_ref: &str, pack: Option<i64>) -> Result<Secret> {
        let key = KeyRepository::find_by_ref(&self.secrets.pool, key_ref).await?;
        match key.map(|key| key.owner) {
            Some(KeyOwner::System) => self.secrets.of(key_ref).await,
            Some(KeyOwner::Pack(owner)) if pack == Some(owner) => self.secrets.of(key_ref).await,
            Some(KeyOwner::Pack(_) | KeyOwner::Identity(_) | KeyOwner::Action(_) | KeyOwner::Sensor(_)) => {
                tracing::warn!(
                    key = key_ref,
                    "a rule on the shared webhook names a key that it may not use: only keys of the system and of its pack"
                );
                Ok(Secret::Missing)
            }
            None => Ok(Secret::Missing),
        }
    }
}

fn settings(signature: &Signature) -> WebhookSignature {
    let scheme = match signature.scheme {
        Scheme::Github => SignatureScheme::Github,
        Scheme::HmacSha256 => SignatureScheme::HmacSha256,
    };
    WebhookSignature { scheme, secret: signature.secret.clone(), header: Some(signature.header.clone()) }
}
