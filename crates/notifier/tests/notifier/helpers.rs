//! A notifier at work, changes to tell of, and subscribers.

use std::time::Duration;

use attune_client::types::ChangeView;
use attune_common::auth::{new_token, token_hash};
use attune_common::bus::{Bus, Topic};
use attune_common::models::identity::{Constraints, Grant, NewIdentity, NewPermissionSet};
use attune_common::models::pack::NewPack;
use attune_common::repositories::{
    IdentityRepository, PackRepository, PermissionRepository, TokenRepository,
};
use attune_notifier::Notifier;
use attune_testkit::TestDatabase;
use axum::body::{Body, BodyDataStream};
use axum::http::{Request, StatusCode};
use axum::response::Response;
use futures::StreamExt;
use sqlx::{PgExecutor, PgPool};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// Longer than anything here takes unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// A notifier on a database of its own, and the token of somebody who may read executions.
pub(crate) struct World {
    pub(crate) database: TestDatabase,
    pub(crate) notifier: Notifier,
    pub(crate) token: String,
    pub(crate) shutdown: CancellationToken,
    bus: Bus,
    follower: JoinHandle<()>,
}

impl World {
    pub(crate) async fn create() -> Self {
        let database = TestDatabase::create().await;
        let bus = Bus::new();
        let shutdown = CancellationToken::new();
        let (notifier, follow) =
            attune_notifier::start(database.pool().clone(), bus.clone(), shutdown.clone());
        let token = token(database.pool(), "reader", "execution", "read").await;
        Self { database, notifier, token, shutdown, bus, follower: tokio::spawn(follow) }
    }

    pub(crate) fn pool(&self) -> &PgPool {
        self.database.pool()
    }

    /// Makes a change of an execution and gives the signal.
    pub(crate) async fn change(&self, entity: i64) {
        record(self.pool(), "execution", entity).await;
        self.wake();
    }

    pub(crate) fn wake(&self) {
        self.bus.wake(Topic::Change);
    }

    pub(crate) async fn request(&self, query: &str, headers: &[(&str, &str)]) -> Response {
        request(&self.notifier, query, headers).await
    }

    /// Subscribes; the query begins with `?` or is empty.
    pub(crate) async fn subscribe(&self, query: &str) -> Subscriber {
        self.subscribe_with(query, &[]).await
    }

    pub(crate) async fn subscribe_with(&self, query: &str, headers: &[(&str, &str)]) -> Subscriber {
        let bearer = format!("Bearer {}", self.token);
        let headers = [headers, &[("authorization", bearer.as_str())]].concat();
        let response = self.request(query, &headers).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Subscriber { body: response.into_body().into_data_stream(), text: String::new() }
    }

    /// Waits for the follower, which ends with the shutdown.
    pub(crate) async fn ended(self) {
        in_time("the end of the follower", self.follower).await.unwrap();
    }
}

pub(crate) async fn request(notifier: &Notifier, query: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = Request::get(format!("/api/v1/stream{query}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    notifier.router().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

/// The token of a new identity with one grant.
pub(crate) async fn token(pool: &PgPool, login: &str, resource: &str, action: &str) -> String {
    let mut connection = pool.acquire().await.unwrap();
    let new =
        NewPack { r#ref: "ops".into(), label: "Ops".into(), version: "1.0.0".into(), ..NewPack::default() };
    let pack = PackRepository::put(&mut *connection, &new).await.unwrap().id;
    let grants = vec![Grant {
        resource: resource.into(),
        actions: vec![action.into()],
        constraints: Constraints::default(),
    }];
    let new = NewPermissionSet { r#ref: format!("ops.{login}"), grants, ..NewPermissionSet::default() };
    let set = PermissionRepository::put(&mut *connection, pack, &new).await.unwrap().id;
    let new = NewIdentity { login: login.into(), ..NewIdentity::default() };
    let identity = IdentityRepository::create(&mut *connection, &new).await.unwrap().id;
    PermissionRepository::assign(&mut *connection, identity, set).await.unwrap();
    let token = new_token();
    TokenRepository::create(&mut *connection, identity, "test", &token_hash(&token), None).await.unwrap();
    token
}

/// Makes a change.
pub(crate) async fn record(executor: impl PgExecutor<'_>, entity_type: &str, entity: i64) {
    sqlx::query("insert into attune.change (entity_type, entities, ref, activity) values ($1, array[$2], 'ops.page', 'running')")
        .bind(entity_type)
        .bind(entity)
        .execute(executor)
        .await
        .unwrap();
}

/// Makes changes of the executions `from` to `to` at once.
pub(crate) async fn record_many(pool: &PgPool, from: i64, to: i64) {
    sqlx::query(
        "insert into attune.change (entity_type, entities, ref, activity)
         select 'execution', array[entity], 'ops.page', 'running' from generate_series($1, $2) entity order by entity",
    )
    .bind(from)
    .bind(to)
    .execute(pool)
    .await
    .unwrap();
}

/// An open stream.
pub(crate) struct Subscriber {
    body: BodyDataStream,
    text: String,
}

impl Subscriber {
    /// The next block of the stream, as it stands there; None at the end.
    pub(crate) async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let block = block.to_owned();
                self.text = rest.to_owned();
                return Some(block);
            }
            let bytes = self.body.next().await?.unwrap();
            self.text.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }

    /// The next change; None at the end.
    pub(crate) async fn next(&mut self) -> Option<ChangeView> {
        in_time("a change", async {
            loop {
                let block = self.block().await?;
                let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
                if let Some(data) = field("data: ") {
                    let view: ChangeView = serde_json::from_str(data).unwrap();
                    assert_eq!(
                        (field("event: "), field("id: ")),
                        (Some("change"), Some(view.cursor.as_str()))
                    );
                    return Some(view);
                }
            }
        })
        .await
    }

    /// The entities of the next changes.
    pub(crate) async fn entities(&mut self, count: usize) -> Vec<i64> {
        let mut entities = Vec::new();
        while entities.len() < count {
            entities.push(self.next().await.expect("the stream goes on").entity);
        }
        entities
    }
}
