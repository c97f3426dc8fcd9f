//! An action asks, a person answers, the action goes on; and no question outlives whoever asked it.

use std::time::Instant;

use attune_client::types::{ExecutionDetail, ExecutionRequest, InquiryAnswer, InquiryView};
use serde_json::{Value, json};

use crate::support::{PATIENCE, System, attune};

const DEPLOY: &str = "\
import attune
from attune import action

@action
def deploy(service: str, timeout: float = 600) -> dict:
    try:
        answer = attune.ask(
            f'Deploy {service}?',
            schema={'approved': {'type': 'boolean', 'required': True}, 'reason': {'type': 'string'}},
            assigned_to='admin',
            timeout=timeout,
        )
    except attune.NotAnswered as error:
        return {'deployed': False, 'why': str(error)}
    if not answer.value['approved']:
        raise attune.Failure(f'refused by {answer.by}')
    return {'deployed': True, 'by': answer.by, 'reason': answer.value['reason'], 'tz': str(answer.at.tzinfo)}

if __name__ == '__main__':
    deploy.run()
";

const PACK: [(&str, &str); 3] = [
    ("pack.yaml", "ref: approvals\nversion: 1.0.0\nlabel: Approvals\n"),
    (
        "actions/deploy.yaml",
        "ref: approvals.deploy\nruntime: core.python\nentrypoint: deploy.py\noutput_format: json\nparameters:\n  \
         service: {type: string, required: true}\n  timeout: {type: number}\n\
         permissions:\n  - {resource: inquiry, actions: [create]}\n",
    ),
    ("actions/deploy.py", DEPLOY),
];

async fn start(system: &System, parameters: Value) -> i64 {
    let request = ExecutionRequest::of("approvals.deploy", parameters);
    system.client.create_execution(&request).await.unwrap().id
}

/// What the execution asks, as soon as it does.
async fn asked(system: &System, execution: i64) -> InquiryView {
    let until = Instant::now() + PATIENCE;
    loop {
        let query = [("execution", execution.to_string())];
        if let Some(inquiry) = system.client.inquiries(&query).await.unwrap().items.pop() {
            return inquiry;
        }
        assert!(Instant::now() < until, "it asks nothing: {:?}", system.client.execution(execution).await);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

async fn ended(system: &System, execution: i64) -> ExecutionDetail {
    let until = Instant::now() + PATIENCE;
    loop {
        let detail = system.client.wait_for_execution(execution, 30).await.unwrap();
        if detail.execution.is_finished() {
            return detail;
        }
        assert!(Instant::now() < until, "it does not end: {detail:?}");
    }
}

/// The inquiry once it has ended.
async fn over(system: &System, inquiry: i64) -> InquiryView {
    let inquiry = system.client.wait_for_inquiry(inquiry, 60).await.unwrap();
    assert!(!inquiry.is_pending(), "{inquiry:?}");
    inquiry
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_an_action_asks_and_goes_on_with_the_answer() {
    let system = System::start().await;
    system.install(&PACK).await;
    let execution = start(&system, json!({"service": "web"})).await;
    let inquiry = asked(&system, execution).await;
    assert_eq!((inquiry.prompt.as_str(), inquiry.status.as_str()), ("Deploy web?", "pending"));
    let mut command = attune();
    command.args(["inquiry", "respond", &inquiry.id.to_string()]);
    command.args(["--field", "approved=true", "--field", "reason=It is time"]);
    command.args(["--url", system.client.base().as_str()]).env("ATTUNE_TOKEN", system.token().await);
    let output = command.output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let sentence = format!("inquiry {} is answered; execution {execution} goes on", inquiry.id);
    assert!(said.contains(&sentence), "{said}");
    let detail = ended(&system, execution).await;
    assert_eq!(detail.execution.status, "completed", "{detail:?}");
    let result = json!({"deployed": true, "by": "admin", "reason": "It is time", "tz": "UTC"});
    assert_eq!(detail.execution.result, Some(result));

    // No is an answer as well.
    let execution = start(&system, json!({"service": "db"})).await;
    let inquiry = asked(&system, execution).await;
    let refusal = InquiryAnswer { response: json!({"approved": false}) };
    system.client.respond_to_inquiry(inquiry.id, &refusal).await.unwrap();
    let detail = ended(&system, execution).await;
    assert_eq!(detail.execution.status, "failed");
    assert!(detail.stderr.contains("error: refused by admin"), "{detail:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_an_action_that_nobody_answers_learns_it() {
    let system = System::start().await;
    system.install(&PACK).await;
    let detail = system.run("approvals.deploy", json!({"service": "web", "timeout": 0.5})).await;
    let inquiry = asked(&system, detail.execution.id).await;
    assert_eq!(inquiry.status, "timeout");
    let why = format!("inquiry {} was not answered in time", inquiry.id);
    assert_eq!(detail.execution.result, Some(json!({"deployed": false, "why": why})));

    let execution = start(&system, json!({"service": "web"})).await;
    let inquiry = asked(&system, execution).await;
    system.client.cancel_inquiry(inquiry.id).await.unwrap();
    let detail = ended(&system, execution).await;
    assert_eq!(detail.execution.status, "failed");
    let said = format!("attune._inquiries.Cancelled: inquiry {} was cancelled", inquiry.id);
    assert!(detail.stderr.contains(&said), "{detail:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_no_question_outlives_whoever_asked_it() {
    let mut system = System::start().await;
    system.install(&PACK).await;
    let execution = start(&system, json!({"service": "web"})).await;
    let inquiry = asked(&system, execution).await;
    system.client.cancel_execution(execution).await.unwrap();
    assert_eq!(system.client.inquiry(inquiry.id).await.unwrap().status, "cancelled");
    assert_eq!(ended(&system, execution).await.execution.status, "cancelled");
    // Its worker is killed with everything else.
    let execution = start(&system, json!({"service": "web"})).await;
    let inquiry = asked(&system, execution).await;
    system.kill().await;
    system.restart().await;
    assert_eq!(ended(&system, execution).await.execution.status, "abandoned");
    assert_eq!(over(&system, inquiry.id).await.status, "cancelled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_a_script_asks_by_the_command() {
    let system = System::start().await;
    let script = "#!/bin/sh\nanswer=$(\"$ATTUNE_ACTION_ATTUNE\" inquiry ask 'Restart?' --schema '{\"type\": \"boolean\"}') || exit\n\
                  echo \"{\\\"answer\\\": $answer}\"\n";
    let action = "ref: approvals.restart\nruntime: core.shell\nentrypoint: restart.sh\noutput_format: json\n\
                  parameter_delivery: env\nparameters: {attune: {type: string}}\n\
                  permissions:\n  - {resource: inquiry, actions: [create]}\n";
    system.install(&[PACK[0], ("actions/restart.yaml", action), ("actions/restart.sh", script)]).await;
    let request = ExecutionRequest::of("approvals.restart", json!({"attune": env!("CARGO_BIN_EXE_attune")}));
    let execution = system.client.create_execution(&request).await.unwrap().id;
    let inquiry = asked(&system, execution).await;
    system.client.respond_to_inquiry(inquiry.id, &InquiryAnswer { response: json!(true) }).await.unwrap();
    let detail = ended(&system, execution).await;
    assert_eq!(detail.execution.result, Some(json!({"answer": true})), "{detail:?}");
}
