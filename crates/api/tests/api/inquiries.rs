//! Questions that runs put to people: who may answer, what, how often, and until when.

use std::time::Duration;

use attune_client::Client;
use attune_client::types::{InquiryAnswer, InquiryRequest, InquiryView};
use attune_common::models::identity::{Grant, NewPermissionSet};
use attune_common::repositories::{IdentityRepository, InquiryRepository, PermissionRepository};
use reqwest::Method;
use serde_json::{Value, json};

use crate::app::{TestApp, grant, pointers, problem, problem_of};
use crate::executions::start_page;
use crate::run_tokens::Run;

const PATIENCE: Duration = Duration::from_secs(30);

async fn asking(app: &TestApp) -> Run {
    Run::begin(app, vec![grant("inquiry", &["create"])]).await
}

fn answer(response: Value) -> InquiryAnswer {
    InquiryAnswer { response }
}

fn approval() -> InquiryRequest {
    InquiryRequest {
        response_schema: Some(json!({
            "approved": {"type": "boolean", "required": true},
            "reason": {"type": "string", "default": "none"},
        })),
        ..InquiryRequest::of("Deploy?")
    }
}

async fn respond(client: &Client, inquiry: i64, response: Value) -> Result<InquiryView, u16> {
    let outcome = client.respond_to_inquiry(inquiry, &answer(response)).await;
    outcome.map_err(|error| error.status().unwrap())
}

/// Gives somebody a role, with nothing granted by it.
async fn role(app: &TestApp, login: &str, role_ref: &str) {
    let set = NewPermissionSet { r#ref: role_ref.to_owned(), ..NewPermissionSet::default() };
    let set = PermissionRepository::create(app.pool(), None, &set).await.unwrap();
    let identity = IdentityRepository::get_by_login(app.pool(), login).await.unwrap();
    PermissionRepository::assign(app.pool(), identity.id, set.id).await.unwrap();
}

#[tokio::test]
async fn test_a_run_asks_and_reads_the_answer() {
    let app = TestApp::start().await;
    let run = asking(&app).await;
    let asked = run.client.create_inquiry(&approval()).await.unwrap();
    assert_eq!((asked.status.as_str(), asked.execution), ("pending", run.execution));
    assert_eq!((asked.action.as_str(), asked.prompt.as_str()), ("demo.page", "Deploy?"));
    assert_eq!(asked.response_schema["required"], json!(["approved"]));
    assert_eq!((asked.timeout_at, asked.response.clone()), (None, None));
    assert_eq!(run.client.inquiry(asked.id).await.unwrap(), asked);
    assert_eq!(app.admin.inquiry(asked.id).await.unwrap(), asked);
    let waiting = async || app.admin.execution(run.execution).await.unwrap().execution.waiting;
    assert_eq!(waiting().await, Some(format!("for an answer to inquiry {}", asked.id)));
    let answered = respond(&app.admin, asked.id, json!({"approved": true})).await.unwrap();
    assert_eq!(waiting().await, None);
    assert_eq!(answered.response, Some(json!({"approved": true, "reason": "none"})), "with its default");
    assert_eq!((answered.status.as_str(), answered.responded_by.as_deref()), ("responded", Some("admin")));
    assert!(answered.responded_at.is_some());
    assert_eq!(run.client.inquiry(asked.id).await.unwrap(), answered);
    app.stop().await;
}

#[tokio::test]
async fn test_asked_again_under_its_key_it_is_the_same_question() {
    let app = TestApp::start().await;
    let run = asking(&app).await;
    let request = InquiryRequest { dedup_key: Some("deploy".to_owned()), ..approval() };
    let ask = || app.request(Method::POST, "/api/v1/inquiries").bearer_auth(&run.token).json(&request).send();
    let (first, second) = (ask().await.unwrap(), ask().await.unwrap());
    assert_eq!((first.status().as_u16(), second.status().as_u16()), (201, 200));
    let location = first.headers()["location"].to_str().unwrap().to_owned();
    assert_eq!(second.headers()["location"].to_str().unwrap(), location);
    let (first, second): (InquiryView, InquiryView) =
        (first.json().await.unwrap(), second.json().await.unwrap());
    assert_eq!(first, second);
    assert_eq!(location, format!("/api/v1/inquiries/{}", first.id));
    assert_eq!(app.count("inquiry").await, 1);
    app.stop().await;
}

#[tokio::test]
async fn test_everything_wrong_with_a_question_is_said() {
    let app = TestApp::start().await;
    let run = asking(&app).await;
    let wrong = InquiryRequest {
        prompt: " ".to_owned(),
        response_schema: Some(json!({"approved": {"type": "bool"}})),
        assigned_to: Some("admim".to_owned()),
        assigned_role: Some("no.such".to_owned()),
        timeout_seconds: Some(0.0),
        dedup_key: Some(String::new()),
        ..InquiryRequest::of("")
    };
    let refused = problem(run.client.create_inquiry(&wrong).await);
    assert_eq!(refused.status, 422);
    assert_eq!(
        pointers(&refused),
        [
            "/prompt",
            "/dedup_key",
            "/timeout_seconds",
            "/response_schema/approved/type",
            "/assigned_to",
            "/assigned_role"
        ]
    );
    assert_eq!(refused.errors[3].suggestion.as_deref(), Some("boolean"));
    assert_eq!(refused.errors[4].suggestion.as_deref(), Some("admin"));
    for schema in [json!([1]), json!({"type": "nothing"})] {
        let wrong = InquiryRequest { response_schema: Some(schema.clone()), ..approval() };
        let refused = problem(run.client.create_inquiry(&wrong).await);
        assert!(refused.errors[0].pointer.as_deref().unwrap().starts_with("/response_schema"), "{schema}");
    }
    let nul = InquiryRequest { prompt: "a\0".to_owned(), ..approval() };
    assert_eq!(pointers(&problem(run.client.create_inquiry(&nul).await)), ["/prompt"]);
    assert_eq!(app.count("inquiry").await, 0);
    // People do not ask.
    assert_eq!(problem(app.admin.create_inquiry(&approval()).await).status, 409);
    app.stop().await;
}

#[tokio::test]
async fn test_an_answer_has_to_fit_and_the_first_one_counts() {
    let app = TestApp::start().await;
    let run = asking(&app).await;
    let asked = run.client.create_inquiry(&approval()).await.unwrap();
    let wrong = answer(json!({"approved": "s3cret", "extra": 1}));
    let refused = problem(app.admin.respond_to_inquiry(asked.id, &wrong).await);
    assert_eq!(refused.status, 422);
    assert_eq!(pointers(&refused), ["/response/approved", "/response/extra"]);
    assert!(!format!("{refused:?}").contains("s3cret"), "{refused:?}");
    let path = format!("/api/v1/inquiries/{}/respond", asked.id);
    let unreadable =
        app.as_admin(Method::POST, &path).json(&json!({"answer": "s3cret"})).send().await.unwrap();
    assert!(!format!("{:?}", problem_of(unreadable, 422).await).contains("s3cret"));
    // Many at once: one is taken.
    let mut answers = tokio::task::JoinSet::new();
    for number in 0..8 {
        let client = app.admin.clone();
        answers.spawn(async move {
            respond(&client, asked.id, json!({"approved": true, "reason": number.to_string()})).await
        });
    }
    let outcomes = answers.join_all().await;
    let taken: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
    assert_eq!(taken.len(), 1);
    assert!(outcomes.iter().all(|outcome| outcome.as_ref().map_or_else(|status| *status == 409, |_| true)));
    let late = problem(app.admin.respond_to_inquiry(asked.id, &answer(json!({}))).await);
    assert_eq!(
        (late.status, late.detail),
        (409, format!("inquiry {} was answered before by admin; the first answer counts", asked.id))
    );
    assert_eq!(run.client.inquiry(asked.id).await.unwrap().response, taken[0].response);
    app.stop().await;
}

#[tokio::test]
async fn test_an_answer_need_not_be_an_object() {
    let app = TestApp::start().await;
    let run = asking(&app).await;
    let request =
        InquiryRequest { response_schema: Some(json!({"type": "boolean"})), ..InquiryRequest::of("Deploy?") };
    let asked = run.client.create_inquiry(&request).await.unwrap();
    for wrong in [json!(null), json!({}), json!("true")] {
        assert_eq!(respond(&app.admin, asked.id, wrong).await, Err(422));
    }
    assert_eq!(respond(&app.admin, asked.id, json!(true)).await.unwrap().response, Some(json!(true)));
    let any = run.client.create_inquiry(&InquiryRequest::of("Anything?")).await.unwrap();
    assert_eq!(respond(&app.admin, any.id, json!(null)).await.unwrap().status, "responded");
    app.stop().await;
}

#[tokio::test]
async fn test_who_may_answer() {
    let app = TestApp::start().await;
    let run = asking(&app).await;
    let nobody = app.client_with("nobody", Vec::new()).await;
    let asked_one = app.client_with("ada", Vec::new()).await;
    let by_role = app.client_with("grace", Vec::new()).await;
    role(&app, "grace", "demo.approvers").await;
    let granted = app.client_with("granted", vec![grant("inquiry", &["respond"])]).await;
    let open = async || run.client.create_inquiry(&InquiryRequest::of("Go?")).await.unwrap().id;
    let to_ada = InquiryRequest { assigned_to: Some("ada".to_owned()), ..InquiryRequest::of("Go?") };
    let to_role =
        InquiryRequest { assigned_role: Some("demo.approvers".to_owned()), ..InquiryRequest::of("Go?") };
    let ask = async |request: &InquiryRequest| run.client.create_inquiry(request).await.unwrap().id;

    let inquiry = open().await;
    for client in [&nobody, &asked_one, &by_role] {
        assert_eq!(respond(client, inquiry, json!(1)).await, Err(403));
        assert_eq!(problem(client.inquiry(inquiry).await).status, 403);
        assert_eq!(problem(client.cancel_inquiry(inquiry).await).status, 403);
    }
    // Whoever may answer sees what is asked.
    assert_eq!(granted.inquiry(inquiry).await.unwrap().prompt, "Go?");
    assert_eq!(problem(granted.inquiries(&[]).await).status, 403);
    assert_eq!(respond(&granted, inquiry, json!(1)).await.unwrap().responded_by.as_deref(), Some("granted"));

    for (request, may, other) in [(&to_ada, &asked_one, &by_role), (&to_role, &by_role, &asked_one)] {
        let inquiry = ask(request).await;
        assert_eq!(respond(other, inquiry, json!(1)).await, Err(403));
        assert_eq!(respond(&nobody, inquiry, json!(1)).await, Err(403));
        let shown = may.inquiry(inquiry).await.unwrap();
        assert_eq!(
            (shown.assigned_to, shown.assigned_role),
            (request.assigned_to.clone(), request.assigned_role.clone())
        );
        let listed = may.inquiries(&[("assigned_to_me", "true".to_owned())]).await.unwrap().items;
        assert_eq!(listed.iter().map(|listed| listed.id).collect::<Vec<_>>(), [inquiry]);
        assert_eq!(problem(may.inquiries(&[]).await).status, 403);
        respond(may, inquiry, json!(1)).await.unwrap();
        respond(&granted, ask(request).await, json!(1)).await.unwrap();
    }
    // A run answers nothing, whatever it declares.
    let inquiry = open().await;
    assert_eq!(respond(&run.client, inquiry, json!(1)).await, Err(403));
    let may = json!([{"resource": "inquiry", "actions": ["respond"]}]);
    let declared = "update attune.action set permissions = $1 where ref = 'demo.page'";
    sqlx::query(declared).bind(may).execute(app.pool()).await.unwrap();
    let refused = problem(run.client.respond_to_inquiry(inquiry, &answer(json!(1))).await);
    assert_eq!((refused.status, refused.detail.as_str()), (403, "people answer; a run cannot"));
    app.stop().await;
}

#[tokio::test]
async fn test_whoever_started_the_run_does_not_approve_it() {
    let app = TestApp::start().await;
    let run = asking(&app).await;
    let other = app.client_with("other", vec![grant("inquiry", &["respond"])]).await;
    let request = InquiryRequest {
        allow_self_approval: false,
        assigned_to: Some("admin".to_owned()),
        ..InquiryRequest::of("Go?")
    };
    let inquiry = run.client.create_inquiry(&request).await.unwrap().id;
    let refused = problem(app.admin.respond_to_inquiry(inquiry, &answer(json!(1))).await);
    assert_eq!(refused.status, 403);
    assert!(refused.detail.contains("somebody else than whoever started the run"), "{}", refused.detail);
    assert_eq!(respond(&other, inquiry, json!(1)).await.unwrap().status, "responded");
    app.stop().await;
}

#[tokio::test]
async fn test_secret_answers_are_for_the_run_alone() {
    let app = TestApp::start().await;
    let run = asking(&app).await;
    let request = InquiryRequest {
        response_schema: Some(json!({
            "pin": {"type": "string", "secret": true, "default": "0000"},
            "ok": {"type": "boolean"},
        })),
        ..InquiryRequest::of("The PIN?")
    };
    let asked = run.client.create_inquiry(&request).await.unwrap();
    let masked = Some(json!({"pin": "********", "ok": true}));
    let answered = respond(&app.admin, asked.id, json!({"pin": "hunter2", "ok": true})).await.unwrap();
    assert_eq!(answered.response, masked);
    assert_eq!(app.admin.inquiry(asked.id).await.unwrap().response, masked);
    let listed = app.admin.inquiries(&[]).await.unwrap();
    let text = serde_json::to_string(&listed).unwrap();
    assert!(!text.contains("hunter2") && !text.contains("0000"), "{text}");
    let own = run.client.inquiry(asked.id).await.unwrap().response;
    assert_eq!(own, Some(json!({"pin": "hunter2", "ok": true})));
    app.stop().await;
}

#[tokio::test]
async fn test_after_its_time_no_answer_is_taken() {
    let app = TestApp::start().await;
    let run = asking(&app).await;
    let request = InquiryRequest { timeout_seconds: Some(0.001), ..InquiryRequest::of("Go?") };
    let asked = run.client.create_inquiry(&request).await.unwrap();
    let until = asked.timeout_at.unwrap();
    assert!(until > asked.created);
    // Whether or not it is marked.
    while chrono::Utc::now() <= until {
        tokio::task::yield_now().await;
    }
    for _ in 0..2 {
        let refused = problem(app.admin.respond_to_inquiry(asked.id, &answer(json!(1))).await);
        assert_eq!(refused.status, 409);
        assert_eq!(refused.detail, format!("the time to answer inquiry {} is over", asked.id));
        InquiryRepository::expire(app.pool(), 10).await.unwrap();
    }
    let refused = problem(app.admin.cancel_inquiry(asked.id).await);
    assert_eq!(refused.status, 409);
    app.stop().await;
}

/// A request that waits for an inquiry.
fn waiting(client: &Client, inquiry: i64) -> tokio::task::JoinHandle<InquiryView> {
    let client = client.clone();
    tokio::spawn(async move { client.wait_for_inquiry(inquiry, 60).await.unwrap() })
}

async fn in_time(waiting: tokio::task::JoinHandle<InquiryView>) -> InquiryView {
    tokio::time::timeout(PATIENCE, waiting).await.expect("it still waits").unwrap()
}

#[tokio::test]
async fn test_those_who_wait_learn_how_it_ended() {
    let app = TestApp::start().await;
    let run = asking(&app).await;
    let ask = async || run.client.create_inquiry(&InquiryRequest::of("Go?")).await.unwrap().id;
    let (answered, cancelled, open) = (ask().await, ask().await, ask().await);
    let many: Vec<_> = (0..20).map(|_| waiting(&run.client, answered)).collect();
    let other = waiting(&run.client, cancelled);
    respond(&app.admin, answered, json!("yes")).await.unwrap();
    for waiting in many {
        assert_eq!(in_time(waiting).await.response, Some(json!("yes")));
    }
    // What has ended is not waited for.
    assert_eq!(in_time(waiting(&run.client, answered)).await.status, "responded");
    // A run may take its own question back, and cancelling is cancelling however often.
    for _ in 0..2 {
        assert_eq!(run.client.cancel_inquiry(cancelled).await.unwrap().status, "cancelled");
    }
    assert_eq!(in_time(other).await.status, "cancelled");
    assert_eq!(problem(app.admin.cancel_inquiry(answered).await).status, 409);
    assert_eq!(problem(app.admin.respond_to_inquiry(cancelled, &answer(json!(1))).await).status, 409);
    assert_eq!(run.client.wait_for_inquiry(open, 0).await.unwrap().status, "pending");
    assert_eq!(problem(run.client.wait_for_inquiry(open, 61).await).status, 400);
    app.stop().await;
}

#[tokio::test]
async fn test_cancelling_an_execution_cancels_what_it_asks() {
    let app = TestApp::start().await;
    let run = asking(&app).await;
    let asked = run.client.create_inquiry(&InquiryRequest::of("Go?")).await.unwrap().id;
    let waiting = waiting(&run.client, asked);
    app.admin.cancel_execution(run.execution).await.unwrap();
    assert_eq!(app.admin.inquiry(asked).await.unwrap().status, "cancelled");
    assert_eq!(in_time(waiting).await.status, "cancelled");
    let refused = problem(run.client.create_inquiry(&InquiryRequest::of("Go on?")).await);
    assert_eq!(refused.status, 409);
    assert!(refused.detail.contains("is being cancelled or has ended"), "{}", refused.detail);
    app.stop().await;
}

#[tokio::test]
async fn test_inquiries_are_listed_by_filters() {
    let app = TestApp::start().await;
    let run = asking(&app).await;
    let ask = async || run.client.create_inquiry(&InquiryRequest::of("Go?")).await.unwrap().id;
    let (first, second, third) = (ask().await, ask().await, ask().await);
    respond(&app.admin, second, json!(1)).await.unwrap();
    let listed = async |client: &Client, query: &[(&str, String)]| -> Vec<i64> {
        client.inquiries(query).await.unwrap().items.iter().map(|inquiry| inquiry.id).collect()
    };
    assert_eq!(listed(&app.admin, &[]).await, [third, second, first]);
    assert_eq!(listed(&app.admin, &[("status", "responded".to_owned())]).await, [second]);
    let own = [("execution", run.execution.to_string())];
    assert_eq!(listed(&run.client, &own).await, [third, second, first]);
    let other = start_page(&app).await;
    assert_eq!(listed(&app.admin, &[("execution", other.to_string())]).await, [0; 0]);
    assert_eq!(problem(run.client.inquiries(&[("execution", other.to_string())]).await).status, 403);
    let page = app.admin.inquiries(&[("limit", "2".to_owned())]).await.unwrap();
    assert_eq!(page.items.len(), 2);
    let rest = [("cursor", page.next_cursor.unwrap())];
    assert_eq!(listed(&app.admin, &rest).await, [first]);
    assert_eq!(problem(app.admin.inquiries(&[("status", "open".to_owned())]).await).status, 400);
    assert_eq!(problem(run.client.inquiries(&[("assigned_to_me", "true".to_owned())]).await).status, 403);
    app.stop().await;
}

#[tokio::test]
async fn test_a_question_needs_a_declared_permission() {
    let app = TestApp::start().await;
    let run = Run::begin(&app, Vec::<Grant>::new()).await;
    let refused = problem(run.client.create_inquiry(&InquiryRequest::of("Go?")).await);
    assert_eq!(refused.status, 403);
    assert!(refused.detail.contains("declare `create` on `inquiry`"), "{}", refused.detail);
    app.stop().await;
}
