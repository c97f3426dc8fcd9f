//! The system taken apart while webhooks stream in: the fault harness, briefly.

use attune_bench::faults::{Plan, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_faults_of_every_kind_break_no_promise() {
    let report = run(&Plan::brief(env!("CARGO_BIN_EXE_attune").into())).await.unwrap();
    assert!(report.is_clean(), "{report}");
}
