//! What processes give up: limits, rights, files, the network, and outliving the one who started them.

use std::fs;
use std::path::Path;

use attune_pack::isolation::{FilesystemAccess, Limits, NetworkAccess, Sandbox};
use attune_worker::process::{Exit, Finished};
use attune_worker::reasons;
use attune_worker::sandbox::{Abilities, Places};

use crate::helpers::{anywhere, directory, finish, shell};

/// Runs the script in a directory of its own under these settings.
async fn run_in(script: &str, limits: Limits, sandbox: Option<&Sandbox>, own: &Path) -> Finished {
    let abilities = Abilities::probe().await;
    let mut launch = shell(script, own);
    launch.confinement = abilities.confinement(&limits, sandbox, Places { own, read: &[] }).unwrap();
    finish(launch).await
}

async fn run(script: &str, limits: Limits, sandbox: Option<&Sandbox>) -> Finished {
    let own = directory();
    run_in(script, limits, sandbox, own.path()).await
}

async fn limited(script: &str, limits: Limits) -> (Finished, String) {
    let own = directory();
    let finished = run_in(script, limits, None, own.path()).await;
    let reason = reasons::of(&limits, own.path(), &finished).unwrap_or_default();
    (finished, reason)
}

#[tokio::test]
async fn every_process_gives_up_new_rights_and_core_files() {
    let finished = finish(shell("grep NoNewPrivs /proc/self/status; ulimit -c", anywhere())).await;
    assert_eq!(finished.stdout.to_text(), "NoNewPrivs:\t1\n0\n");
}

#[tokio::test]
async fn limits_are_set_and_have_defaults() {
    let finished = run("ulimit -n; ulimit -f; ulimit -v; ulimit -t", Limits::default(), None).await;
    // In the shell's units: blocks of 512 bytes for files.
    let blocks = (16u64 << 30) / 512;
    assert_eq!(finished.stdout.to_text(), format!("4096\n{blocks}\nunlimited\nunlimited\n"));
    let limits = Limits {
        memory: Some(1 << 30),
        cpu_time: Some(7),
        processes: Some(5000),
        open_files: Some(100),
        file_size: Some(1 << 20),
    };
    let finished =
        run("ulimit -n; ulimit -f; ulimit -v; ulimit -t; grep processes /proc/self/limits", limits, None)
            .await;
    let text = finished.stdout.to_text();
    assert!(text.starts_with("100\n2048\n1048576\n7\nMax processes             5000 "), "{text}");
}

#[tokio::test]
async fn who_reaches_a_limit_is_told_which() {
    let (finished, reason) =
        limited("while :; do :; done", Limits { cpu_time: Some(1), ..Limits::default() }).await;
    assert_eq!(finished.exit, Exit::Signal(24));
    assert!(reason.contains("limit of 1 s of processor time (`limits.cpu_time`)"), "{reason}");

    let script = "python3 -c 'x = bytearray(1 << 30)'";
    let (finished, reason) = limited(script, Limits { memory: Some(256 << 20), ..Limits::default() }).await;
    assert_eq!(finished.exit, Exit::Code(1), "{}", finished.stderr.to_text());
    assert!(reason.contains("268435456 bytes of memory (`limits.memory`)"), "{reason}");

    let limits = Limits { file_size: Some(1 << 16), ..Limits::default() };
    let (finished, reason) = limited("exec head -c 1000000 /dev/zero > big", limits).await;
    assert_eq!(finished.exit, Exit::Signal(25));
    assert!(reason.contains("65536 bytes (`limits.file_size`)"), "{reason}");

    let script = "python3 -c 'f = [open(\"/dev/null\") for _ in range(100)]'";
    let (_, reason) = limited(script, Limits { open_files: Some(50), ..Limits::default() }).await;
    assert!(reason.contains("50 open files (`limits.open_files`)"), "{reason}");

    let (_, reason) = limited("cat /etc/hostname > /dev/full", Limits::default()).await;
    assert!(reason.contains("a full disk: free space"), "{reason}");
    let script = "echo 'def broken(:' > a.py; exec python3 \"$PWD/a.py\"";
    let (_, reason) = limited(script, Limits::default()).await;
    assert!(reason.contains("a syntax error: correct"), "{reason}");
    let (_, reason) = limited("echo 'if then' > a.sh; exec sh \"$PWD/a.sh\"", Limits::default()).await;
    assert!(reason.contains("a syntax error: correct"), "{reason}");
    // What it was given to read is no file of the pack.
    let (_, reason) = limited("echo 'if then' | sh", Limits::default()).await;
    assert_eq!(reason, "");

    // An end that has nothing to do with limits is not explained by them.
    let (_, reason) = limited("exit 3", Limits { memory: Some(1 << 30), ..Limits::default() }).await;
    assert_eq!(reason, "");
}

#[tokio::test]
async fn a_private_filesystem_has_the_own_directory_and_what_programs_need() {
    let (secret, own, shared) = (directory(), directory(), directory());
    fs::write(secret.path().join("key"), "s3cret").unwrap();
    let script = format!(
        "echo mine > file && cat file
         cat '{secret}/key' || echo unreadable
         echo x > '{secret}/new' || echo unwritable
         echo x > /usr/attune-test || echo no system
         echo given > '{shared}/new' && cat '{shared}/new'
         python3 -c 'import json; print(json.dumps([1]))'
         echo > /dev/null && ls / > /dev/null || echo no root",
        secret = secret.path().display(),
        shared = shared.path().display(),
    );
    let sandbox = Sandbox {
        filesystem: FilesystemAccess::Private,
        write: vec![shared.path().display().to_string()],
        ..Sandbox::default()
    };
    let mut launch = shell(&script, own.path());
    let abilities = Abilities::probe().await;
    // What a worker gives: where the interpreter is.
    let interpreter = finish(shell("python3 -c 'import sys; print(sys.base_prefix)'", anywhere())).await;
    let read = [interpreter.stdout.to_text().trim().into()];
    let places = Places { own: own.path(), read: &read };
    launch.env.insert("PATH".into(), format!("{}/bin:/usr/bin:/bin", read[0].display()).into());
    launch.confinement = abilities.confinement(&Limits::default(), Some(&sandbox), places).unwrap();
    let finished = finish(launch).await;
    assert_eq!(
        finished.stdout.to_text(),
        "mine\nunreadable\nunwritable\nno system\ngiven\n[1]\nno root\n",
        "{}",
        finished.stderr.to_text()
    );
    assert!(!secret.path().join("new").exists());
}

/// A private run in a directory below that of Attune, which lies in one that it may read.
#[tokio::test]
async fn the_data_directory_is_hidden_from_a_private_filesystem_that_it_lies_in() {
    let opt = directory();
    let data = opt.path().join("attune");
    let (own, foreign) = (data.join("worker/runs/1-1"), data.join("worker/runs/2-1"));
    for path in [&own, &foreign, &opt.path().join("tool")] {
        fs::create_dir_all(path).unwrap();
    }
    for path in [data.join("master.key"), foreign.join("parameters"), opt.path().join("tool/data")] {
        fs::write(path, "read").unwrap();
    }
    let script = format!(
        "for file in tool/data attune/master.key attune/worker/runs/2-1/parameters; do
             cat '{}/'$file 2>/dev/null || echo hidden; echo
         done
         echo own > file && cat file",
        opt.path().display()
    );
    for access in [FilesystemAccess::Private, FilesystemAccess::ReadOnly] {
        let read = match access {
            FilesystemAccess::Private => vec![opt.path().display().to_string()],
            _ => Vec::new(),
        };
        let sandbox = Sandbox { filesystem: access, read, ..Sandbox::default() };
        let abilities = Abilities::probe().await.hiding([data.as_path()]);
        let mut launch = shell(&script, &own);
        let places = Places { own: &own, read: &[] };
        launch.confinement = abilities.confinement(&Limits::default(), Some(&sandbox), places).unwrap();
        let finished = finish(launch).await;
        let hidden = if access == FilesystemAccess::Private { "hidden\n" } else { "read" };
        assert_eq!(
            finished.stdout.to_text(),
            format!("read\n{hidden}\n{hidden}\nown\n"),
            "{}",
            finished.stderr.to_text()
        );
    }
}

#[tokio::test]
async fn a_private_run_neither_signals_others_nor_shares_memory_with_them() {
    let mut other = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    let script = format!(
        "kill -0 {} 2>/dev/null && echo signals || echo none
         sleep 600 & kill $! && echo own
         echo x > /dev/shm/attune-test || echo no memory",
        other.id()
    );
    let private = Sandbox { filesystem: FilesystemAccess::Private, ..Sandbox::default() };
    let finished = run(&script, Limits::default(), Some(&private)).await;
    let open = run(
        "echo x > /dev/shm/attune-test && rm /dev/shm/attune-test && echo memory",
        Limits::default(),
        None,
    );
    let open = open.await.stdout.to_text();
    other.kill().unwrap();
    other.wait().unwrap();
    let signals = match Abilities::probe().await.capabilities()["sandbox_signals"].as_str() {
        "yes" => "none",
        _ => "signals",
    };
    let text = finished.stdout.to_text();
    assert_eq!(text, format!("{signals}\nown\nno memory\n"), "{}", finished.stderr.to_text());
    assert_eq!(open, "memory\n");
}

#[tokio::test]
async fn a_read_only_filesystem_can_be_read() {
    let other = directory();
    fs::write(other.path().join("data"), "readable").unwrap();
    let script = format!(
        "cat '{0}/data'; echo x > '{0}/new' || echo ' unwritable'; echo own > file && cat file",
        other.path().display()
    );
    let sandbox = Sandbox { filesystem: FilesystemAccess::ReadOnly, ..Sandbox::default() };
    let finished = run(&script, Limits::default(), Some(&sandbox)).await;
    assert_eq!(finished.stdout.to_text(), "readable unwritable\nown\n", "{}", finished.stderr.to_text());
}

#[tokio::test]
async fn a_sandbox_without_network_has_none() {
    let sandbox = Sandbox { network: NetworkAccess::None, ..Sandbox::default() };
    let finished =
        run("cat /proc/net/dev | tail -n +3 | cut -d: -f1; id -u", Limits::default(), Some(&sandbox)).await;
    let lines: Vec<String> = finished.stdout.to_text().lines().map(|line| line.trim().to_owned()).collect();
    let uid = nix::unistd::getuid().to_string();
    // Nothing but a loopback that is down; the account stays the same.
    assert!(lines.last() == Some(&uid) && !lines.iter().any(|line| line.starts_with("eth")), "{lines:?}");
    let reach = "python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", 9), 2)'";
    let finished = run(reach, Limits::default(), Some(&sandbox)).await;
    assert!(finished.stderr.to_text().contains("Network is unreachable"), "{}", finished.stderr.to_text());
}

#[tokio::test]
async fn a_path_of_a_sandbox_that_does_not_exist_is_named() {
    let own = directory();
    let sandbox = Sandbox {
        filesystem: FilesystemAccess::Private,
        read: vec!["/no/such/place".to_owned()],
        ..Sandbox::default()
    };
    let abilities = Abilities::probe().await;
    let places = Places { own: own.path(), read: &[] };
    let error = abilities.confinement(&Limits::default(), Some(&sandbox), places).unwrap_err();
    assert!(error.to_string().contains("names /no/such/place, which cannot be opened"), "{error}");
}

#[tokio::test]
async fn a_sandbox_that_the_machine_cannot_give_is_an_error() {
    let own = directory();
    let unable = Abilities::none("this kernel has no Landlock", "user namespaces are not allowed");
    assert_eq!(unable.capabilities()["sandbox_filesystem"], "no");
    let places = Places { own: own.path(), read: &[] };
    for (sandbox, expected) in [
        (
            Sandbox { filesystem: FilesystemAccess::Private, ..Sandbox::default() },
            "`sandbox: {filesystem: private}`, which this worker cannot give (this kernel has no Landlock)",
        ),
        (
            Sandbox { network: NetworkAccess::None, ..Sandbox::default() },
            "`sandbox: {network: none}`, which this worker cannot give (user namespaces are not allowed)",
        ),
    ] {
        let error = unable.confinement(&Limits::default(), Some(&sandbox), places).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    // What is not asked for is not missed.
    unable.confinement(&Limits::default(), None, places).unwrap();
}
