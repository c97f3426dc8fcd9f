//! What a worker that died has left is ended by the next, and what belongs to a living one is not.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command};

use attune_worker::orphans::{Dead, Instance, RUN, dead, mark};

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

    let found = dead(root.path());
    assert_eq!(found.iter().map(Dead::name).collect::<Vec<_>>(), ["dead"]);
    assert!(!found[0].had_containers);
    found.iter().for_each(Dead::end_processes);
    assert!(!is_alive(&marked) && !is_alive(&within));
    assert!(is_alive(&of_the_living) && is_alive(&stranger));
    // Nobody else takes it up meanwhile.
    assert_eq!(dead(root.path()).len(), 0);
    found.into_iter().for_each(Dead::forget);
    assert!(!root.path().join("dead").exists() && !root.path().join("dead.lock").exists());
    assert!(living.runs().exists());
    assert_eq!(dead(root.path()).len(), 0);
    for child in [&mut marked, &mut within, &mut of_the_living, &mut stranger] {
        let _ended = child.kill();
        child.wait().unwrap();
    }
}

#[test]
fn what_was_not_tidied_up_is_left_to_the_next() {
    let root = directory();
    let instance = Instance::begin(root.path()).unwrap();
    let mode = fs::metadata(instance.runs()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "what runs leave is for nobody else");
    let name = instance.name().to_owned();
    for _ in 0..2 {
        instance.note_containers().unwrap();
    }
    // It dies with a run under way: its directory stays, and its lock with it.
    fs::create_dir(instance.runs().join("7-1-abc")).unwrap();
    drop(instance);
    for _ in 0..2 {
        let found = dead(root.path());
        assert_eq!(found.iter().map(Dead::name).collect::<Vec<_>>(), [name.as_str()]);
        assert!(found[0].had_containers);
    }
    dead(root.path()).into_iter().for_each(Dead::forget);
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
}

#[test]
fn an_instance_that_ends_well_leaves_nothing() {
    let root = directory();
    drop(Instance::begin(root.path()).unwrap());
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
}
