//! What a worker that died has left is ended by the next, and what belongs to a living one is not.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::process::{Child, Command};

use attune_worker::orphans::{Instance, RUN, end_left, mark};

use crate::helpers::{directory, is_running};

fn sleeper(run: Option<&str>, cwd: &std::path::Path) -> Child {
    let mut command = Command::new("sleep");
    command.arg("600").current_dir(cwd);
    if let Some(run) = run {
        command.env(RUN, run);
    }
    command.spawn().unwrap()
}

fn is_alive(child: &Child) -> bool {
    is_running(i32::try_from(child.id()).unwrap())
}

#[test]
fn what_a_dead_instance_left_is_ended_and_nothing_else() {
    let root = directory();
    let living = Instance::begin(root.path()).unwrap();
    let other = root.path().join("dead/7-1-abc");
    // As a killed worker leaves it: a lock that nobody holds.
    fs::create_dir_all(&other).unwrap();
    let lock = File::create(root.path().join("dead.lock")).unwrap();
    assert!(lock.as_raw_fd() > 0);
    drop(lock);
    let mut marked = sleeper(Some(&mark("dead", 7)), "/".as_ref());
    let mut within = sleeper(None, &other);
    let mut of_the_living = sleeper(Some(&mark(living.name(), 8)), living.runs());
    let mut stranger = sleeper(Some(&mark("deadly", 9)), "/".as_ref());

    assert_eq!(end_left(root.path()), ["dead"]);
    assert!(!is_alive(&marked) && !is_alive(&within));
    assert!(is_alive(&of_the_living) && is_alive(&stranger));
    assert!(!root.path().join("dead").exists() && !root.path().join("dead.lock").exists());
    assert!(living.runs().exists());
    assert_eq!(end_left(root.path()), [] as [String; 0]);
    for child in [&mut marked, &mut within, &mut of_the_living, &mut stranger] {
        let _ended = child.kill();
        child.wait().unwrap();
    }
}

#[test]
fn an_instance_that_ends_well_leaves_nothing() {
    let root = directory();
    drop(Instance::begin(root.path()).unwrap());
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
}
