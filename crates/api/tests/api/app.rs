//! A server with a database of its own, and ways to look at both.

use attune_api::{Api, Settings};
use attune_client::types::Problem;
use attune_client::{Client, ClientError};
use attune_common::auth::{hash_password, new_token, token_hash};
use attune_common::bus::Bus;
use attune_common::crypto::SecretKey;
use attune_common::db::{self, PoolOptions};
use attune_common::models::identity::{Constraints, Grant, NewIdentity, NewPermissionSet};
use attune_common::models::pack::NewPack;
use attune_common::repositories::{
    IdentityRepository, PackRepository, PermissionRepository, TokenRepository,
};
use attune_common::run_token::{RunToken, RunTokenKey};
use attune_common::sensor_token::SensorTokenKey;
use attune_common::vault::Vault;
use attune_testkit::TestDatabase;
use metrics_exporter_prometheus::PrometheusBuilder;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The largest webhook body of the servers under test.
pub(crate) const MAX_WEBHOOK: usize = 4096;

/// The largest pack archive, and what it may unpack to.
pub(crate) const MAX_PACK: usize = 256 << 10;

pub(crate) struct TestApp {
    database: TestDatabase,
    /// What the server works with; the tests look through the database's own pool.
    pub(crate) server_pool: PgPool,
    master: SecretKey,
    pub(crate) bus: Bus,
    /// Makes tokens of runs that the server takes.
    pub(crate) run_tokens: RunTokenKey,
    pub(crate) base: String,
    /// May do everything.
    pub(crate) admin: Client,
    pub(crate) admin_token: String,
    pub(crate) shutdown: CancellationToken,
    server: JoinHandle<std::io::Result<()>>,
}

impl TestApp {
    pub(crate) async fn start() -> Self {
        Self::start_with(Settings {
            max_webhook_bytes: MAX_WEBHOOK,
            max_pack_bytes: MAX_PACK,
            ..Settings::default()
        })
        .await
    }

    pub(crate) async fn start_with(settings: Settings) -> Self {
        let database = TestDatabase::create().await;
        let server_pool = db::connect(database.url(), &PoolOptions::default()).await.unwrap();
        let master = SecretKey::generate();
        let vault = Vault::open(&server_pool, &master).await.unwrap();
        let run_tokens = vault.run_token_key();
        let bus = Bus::new();
        let shutdown = CancellationToken::new();
        let api = Api {
            pool: server_pool.clone(),
            bus: bus.clone(),
            vault,
            settings,
            metrics: PrometheusBuilder::new().build_recorder().handle(),
            extra: axum::Router::new(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(attune_api::serve(api, listener, shutdown.clone()));
        let admin_token = token(database.pool(), "admin", vec![grant("*", &["*"])]).await;
        let admin = Client::new(&base, Some(admin_token.clone())).unwrap();
        Self { database, server_pool, master, bus, run_tokens, base, admin, admin_token, shutdown, server }
    }

    /// Lets nobody connect to the database any more.
    pub(crate) async fn refuse_connections(&self) {
        self.database.accept_connections(false).await;
    }

    /// The tests' own view of the database.
    pub(crate) fn pool(&self) -> &PgPool {
        self.database.pool()
    }

    pub(crate) fn anonymous(&self) -> Client {
        Client::new(&self.base, None).unwrap()
    }

    /// Makes tokens of sensors that the server takes.
    pub(crate) fn sensor_tokens(&self) -> SensorTokenKey {
        SensorTokenKey::of(&self.master)
    }

    /// The vault as another process opens it.
    pub(crate) async fn vault(&self) -> Vault {
        Vault::open(self.pool(), &self.master).await.unwrap()
    }

    /// A client of a new identity with these grants.
    pub(crate) async fn client_with(&self, login: &str, grants: Vec<Grant>) -> Client {
        self.admin.with_token(token(self.pool(), login, grants).await)
    }

    /// The token of an attempt.
    pub(crate) fn run_token(&self, execution: i64, attempt: i32) -> String {
        let expires = chrono::Utc::now().timestamp() + 600;
        self.run_tokens.token(&RunToken { execution, attempt, expires })
    }

    /// A request as it is, for what the client does not do.
    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        // The client has installed the provider by now.
        reqwest::Client::new().request(method, format!("{}{path}", self.base))
    }

    /// A request as the administrator.
    pub(crate) fn as_admin(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.request(method, path).bearer_auth(&self.admin_token)
    }

    pub(crate) async fn count(&self, table: &str) -> i64 {
        let query = sqlx::AssertSqlSafe(format!("select count(*) from attune.{table}"));
        sqlx::query_scalar(query).fetch_one(self.pool()).await.unwrap()
    }

    /// Stops the server and waits for its end.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.server.await.unwrap().unwrap();
    }
}

pub(crate) fn grant(resource: &str, actions: &[&str]) -> Grant {
    Grant {
        resource: resource.to_owned(),
        actions: actions.iter().map(|action| (*action).to_owned()).collect(),
        constraints: Constraints::default(),
    }
}

/// A token of a new identity with these grants.
pub(crate) async fn token(pool: &PgPool, login: &str, grants: Vec<Grant>) -> String {
    let new = NewIdentity { login: login.to_owned(), ..NewIdentity::default() };
    let identity = IdentityRepository::create(pool, &new).await.unwrap();
    if !grants.is_empty() {
        let pack = NewPack {
            r#ref: format!("grants-{login}"),
            label: login.to_owned(),
            version: "1.0.0".to_owned(),
            ..NewPack::default()
        };
        let pack = PackRepository::create(pool, &pack).await.unwrap();
        let set =
            NewPermissionSet { r#ref: format!("grants-{login}.all"), grants, ..NewPermissionSet::default() };
        let set = PermissionRepository::put(pool, pack.id, &set).await.unwrap();
        PermissionRepository::assign(pool, identity.id, set.id).await.unwrap();
    }
    let token = new_token();
    TokenRepository::create(pool, identity.id, "test", &token_hash(&token), None).await.unwrap();
    token
}

/// An identity that signs in with a password.
pub(crate) async fn identity_with_password(pool: &PgPool, login: &str, password: &str) -> i64 {
    let new = NewIdentity {
        login: login.to_owned(),
        password_hash: Some(hash_password(password).unwrap()),
        ..NewIdentity::default()
    };
    IdentityRepository::create(pool, &new).await.unwrap().id
}

/// The problem that a call was answered with.
pub(crate) fn problem<T>(outcome: Result<T, ClientError>) -> Problem {
    match outcome {
        Err(ClientError::Problem(problem)) => *problem,
        Err(other) => panic!("expected a problem document, got {other:?}"),
        Ok(_) => panic!("expected a problem document, got a success"),
    }
}

/// The problem in an answer, which must be of that status and content type.
pub(crate) async fn problem_of(response: reqwest::Response, status: u16) -> Problem {
    assert_eq!(response.status(), StatusCode::from_u16(status).unwrap());
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let problem: Problem = response.json().await.unwrap();
    assert_eq!(problem.status, status);
    problem
}

/// The pointers of the single faults.
pub(crate) fn pointers(problem: &Problem) -> Vec<&str> {
    problem.errors.iter().map(|item| item.pointer.as_deref().unwrap_or("(none)")).collect()
}

/// The answer's body as JSON.
pub(crate) async fn json(response: reqwest::Response) -> Value {
    response.json().await.unwrap()
}
