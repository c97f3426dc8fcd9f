//! Actions in Python: with the SDK that Attune brings along, forked by an interpreter that waits.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::alertmanager::install_example_with;
use crate::support::{PATIENCE, System};

const PACK: [(&str, &str); 9] = [
    ("pack.yaml", "ref: snake\nversion: 1.0.0\nlabel: Python\n"),
    (
        "actions/greet.yaml",
        "ref: snake.greet\nruntime: core.python\nentrypoint: greet.py\noutput_format: json\nparameters:\n  \
         name: {type: string, required: true}\n  times: {type: integer}\n",
    ),
    (
        "actions/greet.py",
        "from attune import Failure, action\n\n@action\ndef greet(name: str, times: int = 1) -> dict:\n    \
         print('greeting', name)\n    if name == 'nobody':\n        raise Failure('there is nobody to greet')\n    \
         return {'greeting': 'Hello ' + ', '.join([name] * times)}\n\nif __name__ == '__main__':\n    greet.run()\n",
    ),
    (
        "actions/by_env.yaml",
        "ref: snake.by_env\nruntime: core.python\nentrypoint: greet.py\nparameter_delivery: env\noutput_format: json\n\
         parameters:\n  name: {type: string, required: true}\n  times: {type: integer}\n",
    ),
    (
        "actions/parent.yaml",
        "ref: snake.parent\nruntime: core.python\nentrypoint: parent.py\noutput_format: json\n",
    ),
    (
        "actions/cold.yaml",
        "ref: snake.cold\nruntime: core.python\nentrypoint: parent.py\noutput_format: json\nwarm: false\n",
    ),
    ("actions/parent.py", "import os\nprint(os.getppid())\n"),
    ("actions/wait.yaml", "ref: snake.wait\nruntime: core.python\nentrypoint: wait.py\n"),
    (
        "actions/wait.py",
        "import os, subprocess, time\np = subprocess.Popen(['sleep', '300'])\n\
         print(os.getpid(), p.pid, flush=True)\ntime.sleep(300)\n",
    ),
];

fn is_running(pid: i32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    !matches!(stat.rsplit(") ").next().and_then(|rest| rest.chars().next()), Some('Z' | 'X') | None)
}

async fn wait_until_gone(pid: i32) {
    let until = Instant::now() + PATIENCE;
    while is_running(pid) {
        assert!(Instant::now() < until, "process {pid} still runs");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Whose children the processes of an action are.
async fn parent(system: &System, action: &str) -> i32 {
    let detail = system.run(action, json!({})).await;
    assert_eq!(detail.execution.status, "completed", "{detail:?}");
    i32::try_from(detail.execution.result.as_ref().and_then(Value::as_i64).unwrap()).unwrap()
}

/// The interpreter that forks, once it does.
async fn runner(system: &System) -> i32 {
    let server = parent(system, "snake.cold").await;
    let until = Instant::now() + PATIENCE;
    loop {
        let parent = parent(system, "snake.parent").await;
        if parent != server {
            return parent;
        }
        assert!(Instant::now() < until, "no interpreter is kept warm");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_a_function_is_an_action() {
    let system = System::start().await;
    system.install(&PACK).await;
    // The ordinary way, and then forked.
    for _ in 0..2 {
        for action in ["snake.greet", "snake.by_env"] {
            let detail = system.run(action, json!({"name": "Ada", "times": 2})).await;
            assert_eq!(detail.execution.status, "completed", "{detail:?}");
            assert_eq!(detail.execution.result, Some(json!({"greeting": "Hello Ada, Ada"})));
            assert_eq!(
                (detail.stdout.as_str(), detail.stderr.as_str()),
                ("{\"greeting\": \"Hello Ada, Ada\"}\n", "greeting Ada\n")
            );
        }
        let detail = system.run("snake.greet", json!({"name": "nobody"})).await;
        assert_eq!((detail.execution.status.as_str(), detail.execution.exit_code), ("failed", Some(1)));
        assert_eq!(detail.stderr, "greeting nobody\nerror: there is nobody to greet\n");
        runner(&system).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_what_an_interpreter_forked_is_cancelled_and_ends_with_its_worker() {
    let mut system = System::start().await;
    system.install(&PACK).await;
    let runner = runner(&system).await;
    let begin = async |system: &System| {
        let request = attune_client::types::ExecutionRequest::of("snake.wait", json!({}));
        let id = system.client.create_execution(&request).await.unwrap().id;
        let until = Instant::now() + PATIENCE;
        let pids: Vec<i32> = loop {
            let stdout = system.client.execution(id).await.unwrap().stdout;
            if stdout.ends_with('\n') {
                break stdout.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
            }
            assert!(Instant::now() < until, "execution {id} says nothing");
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        assert_eq!(pids.len(), 2);
        (id, pids)
    };
    let (id, pids) = begin(&system).await;
    assert!(Path::new(&format!("/proc/{runner}")).exists() && pids.iter().all(|pid| is_running(*pid)));
    system.client.cancel_execution(id).await.unwrap();
    for pid in pids {
        wait_until_gone(pid).await;
    }
    let (_, pids) = begin(&system).await;
    system.kill().await;
    for pid in pids.into_iter().chain([runner]) {
        wait_until_gone(pid).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_the_example_pack_finds_what_fills_a_disk() {
    let system = System::start().await;
    let directory = crate::support::directory();
    std::fs::create_dir(directory.path().join("large")).unwrap();
    std::fs::write(directory.path().join("large/file"), vec![b'x'; 100_000]).unwrap();
    // Its sensor looks at this directory at once and takes it for full.
    let settings = json!({"paths": [directory.path()], "share": 0, "interval": 1});
    install_example_with(&system, "disks", &settings).await;
    let until = Instant::now() + PATIENCE;
    let result = loop {
        let page = system.client.executions(&[("status", "completed".to_owned())]).await.unwrap();
        if let Some(execution) = page.items.first() {
            break system.client.execution(execution.id).await.unwrap().execution.result.unwrap();
        }
        assert!(Instant::now() < until, "the sensor or its rule does nothing");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let first = &result["largest"][0];
    assert_eq!(first["directory"], json!(directory.path().join("large")));
    assert!(first["bytes"].as_u64().unwrap() >= 100_000, "{result}");
}
