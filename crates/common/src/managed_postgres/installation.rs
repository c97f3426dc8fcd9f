//! Finds the PostgreSQL programs that are installed on this machine, and says how to install them when there are none.
//!
//! Nothing is ever downloaded: a system package is patched by the system's own updates.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::ManagedPostgresError;

/// The oldest major version that Attune's schema runs on.
pub const MINIMUM_MAJOR: u32 = 15;

/// Where systems put server programs that are not on the PATH. A `*` stands for one whole or partial directory name.
const USUAL_PLACES: &[&str] = &[
    "/usr/lib/postgresql/*/bin",
    "/usr/lib/postgresql*/bin",
    "/usr/pgsql-*/bin",
    "/usr/libexec/postgresql*",
    "/usr/local/pgsql/bin",
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
    "/home/linuxbrew/.linuxbrew/opt/postgresql*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
];

/// A directory with `initdb` and `postgres` of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Installation {
    pub(super) bin_dir: PathBuf,
    pub(super) major: u32,
}

impl Installation {
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.bin_dir.join(name)
    }
}

/// The installation to use: the one that made the cluster when there is a cluster, else the newest.
///
/// `path` is the value of the PATH variable.
pub(super) fn find(
    path: Option<&OsStr>,
    cluster: Option<(&Path, u32)>,
) -> Result<Installation, ManagedPostgresError> {
    let mut found = installations(path, USUAL_PLACES);
    let suits = |i: &Installation| match cluster {
        Some((_, major)) => i.major == major,
        None => i.major >= MINIMUM_MAJOR,
    };
    if !found.iter().any(suits) {
        // Asked last: on many systems pg_config is a script that takes longer than the whole search.
        found.extend(pg_config_bindir(path).and_then(|dir| inspect(&dir)));
    }
    choose(found, cluster)
}

fn choose(
    mut found: Vec<Installation>,
    cluster: Option<(&Path, u32)>,
) -> Result<Installation, ManagedPostgresError> {
    let newest = found.iter().map(|i| i.major).max();
    found.retain(|i| i.major >= MINIMUM_MAJOR);
    let Some(best) = found.iter().max_by_key(|i| i.major) else {
        return Err(ManagedPostgresError::NotInstalled {
            found: newest.map(|major| format!(" (only version {major} is installed)")).unwrap_or_default(),
            install: install_command(),
        });
    };
    let Some((directory, major)) = cluster else {
        return Ok(best.clone());
    };
    found.iter().find(|i| i.major == major).cloned().ok_or_else(|| ManagedPostgresError::VersionMismatch {
        directory: directory.to_owned(),
        cluster: major,
        installed: best.major,
    })
}

/// Every installation on the PATH and in the given places, each once.
fn installations(path: Option<&OsStr>, places: &[&str]) -> Vec<Installation> {
    let on_path = path.map(|path| std::env::split_paths(path).collect::<Vec<_>>()).unwrap_or_default();
    let linked = on_path.iter().filter_map(|dir| {
        // A link on the PATH may be alone there; the programs that belong together are where it leads.
        let program = dir.join("postgres").canonicalize().ok()?;
        program.parent().map(Path::to_owned)
    });
    let usual = places.iter().flat_map(|place| expand(place)).filter_map(|dir| dir.canonicalize().ok());
    let directories: BTreeSet<PathBuf> = linked.chain(usual).collect();
    directories.iter().filter_map(|dir| inspect(dir)).collect()
}

/// The directories that a pattern with `*` names.
fn expand(pattern: &str) -> Vec<PathBuf> {
    pattern.split('/').filter(|part| !part.is_empty()).fold(vec![PathBuf::from("/")], |bases, part| {
        let Some((prefix, suffix)) = part.split_once('*') else {
            return bases.iter().map(|base| base.join(part)).collect();
        };
        let matches = |name: &str| {
            name.len() >= prefix.len() + suffix.len() && name.starts_with(prefix) && name.ends_with(suffix)
        };
        bases
            .iter()
            .filter_map(|base| std::fs::read_dir(base).ok())
            .flatten()
            .filter_map(Result::ok)
            .filter(|entry| entry.file_name().to_str().is_some_and(matches))
            .map(|entry| entry.path())
            .collect()
    })
}

/// The installation in a directory, if both programs are there and say their version.
fn inspect(bin_dir: &Path) -> Option<Installation> {
    if !bin_dir.join("initdb").is_file() {
        return None;
    }
    let output = Command::new(bin_dir.join("postgres")).arg("--version").output().ok()?;
    let major = parse_major(&String::from_utf8_lossy(&output.stdout))?;
    Some(Installation { bin_dir: bin_dir.to_owned(), major })
}

fn pg_config_bindir(path: Option<&OsStr>) -> Option<PathBuf> {
    let program = std::env::split_paths(path?).map(|dir| dir.join("pg_config")).find(|p| p.is_file())?;
    let output = Command::new(program).arg("--bindir").output().ok()?;
    PathBuf::from(String::from_utf8(output.stdout).ok()?.trim()).canonicalize().ok()
}

/// The major version out of `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`, `.. 18beta1`, `.. 17devel`.
fn parse_major(version: &str) -> Option<u32> {
    let number = version.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    let end = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    number[..end].parse().ok()
}

fn install_command() -> &'static str {
    if cfg!(target_os = "macos") {
        return "brew install postgresql@17";
    }
    install_command_for(&std::fs::read_to_string("/etc/os-release").unwrap_or_default())
}

/// The command for the system that an `os-release` file describes; families are told by `ID` and `ID_LIKE`.
fn install_command_for(os_release: &str) -> &'static str {
    let families: Vec<&str> = os_release
        .lines()
        .filter_map(|line| line.strip_prefix("ID=").or_else(|| line.strip_prefix("ID_LIKE=")))
        .flat_map(|value| value.trim_matches(['"', '\'']).split_whitespace())
        .collect();
    let is = |names: &[&str]| families.iter().any(|family| names.contains(family));
    if is(&["debian", "ubuntu"]) {
        "sudo apt-get install postgresql"
    } else if is(&["fedora", "rhel", "centos"]) {
        "sudo dnf install postgresql-server"
    } else if is(&["suse", "opensuse"]) {
        "sudo zypper install postgresql-server"
    } else if is(&["alpine"]) {
        "sudo apk add postgresql"
    } else if is(&["arch"]) {
        "sudo pacman -S postgresql"
    } else {
        "the PostgreSQL server package of this system"
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn installation(major: u32) -> Installation {
        Installation { bin_dir: PathBuf::from(format!("/pg/{major}/bin")), major }
    }

    /// A directory with programs that do nothing but say this version.
    fn fake_programs(dir: &Path, version: &str) {
        std::fs::create_dir_all(dir).unwrap();
        for name in ["postgres", "initdb"] {
            let program = dir.join(name);
            std::fs::write(&program, format!("#!/bin/sh\necho '{name} (PostgreSQL) {version}'\n")).unwrap();
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    #[test]
    fn test_parse_major_reads_what_postgres_prints() {
        let check = |text: &str, expected: Option<u32>| assert_eq!(parse_major(text), expected, "{text}");
        check("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n", Some(15));
        check("postgres (PostgreSQL) 18beta1", Some(18));
        check("postgres (PostgreSQL) 17devel", Some(17));
        check("postgres (PostgreSQL) 9.6.24", Some(9));
        check("command not found", None);
        check("", None);
    }

    #[test]
    fn test_links_on_the_path_and_usual_places_are_found_once() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fake_programs(&root.join("lib/16/bin"), "16.4");
        fake_programs(&root.join("lib/14/bin"), "14.9");
        std::fs::create_dir_all(root.join("lib/17/bin")).unwrap();
        std::fs::create_dir(root.join("bin")).unwrap();
        symlink(root.join("lib/16/bin/postgres"), root.join("bin/postgres")).unwrap();

        let path = OsString::from(root.join("bin"));
        let place = format!("{}/lib/*/bin", root.display());
        let mut found = installations(Some(&path), &[&place]);
        found.sort_by_key(|i| i.major);

        assert_eq!(
            found,
            [
                Installation { bin_dir: root.join("lib/14/bin"), major: 14 },
                Installation { bin_dir: root.join("lib/16/bin"), major: 16 },
            ]
        );
    }

    #[test]
    fn test_choose_takes_the_newest_for_a_new_cluster() {
        let chosen = choose(vec![installation(15), installation(17), installation(16)], None).unwrap();
        assert_eq!(chosen.major, 17);
    }

    #[test]
    fn test_choose_takes_the_version_of_the_cluster() {
        let cluster = Some((Path::new("/data/postgres"), 15));
        assert_eq!(choose(vec![installation(15), installation(17)], cluster).unwrap().major, 15);
    }

    #[test]
    fn test_choose_refuses_a_cluster_of_a_version_that_is_not_installed() {
        let cluster = Some((Path::new("/data/postgres"), 15));
        let message = choose(vec![installation(16), installation(17)], cluster).unwrap_err().to_string();
        assert!(message.contains("/data/postgres was made by PostgreSQL 15"), "{message}");
        assert!(message.contains("17"), "{message}");
    }

    #[test]
    fn test_choose_says_how_to_install_when_none_is_recent_enough() {
        let message = choose(vec![installation(13), installation(14)], None).unwrap_err().to_string();
        assert!(message.contains("PostgreSQL 15 or newer"), "{message}");
        assert!(message.contains("only version 14 is installed"), "{message}");
        let message = choose(Vec::new(), None).unwrap_err().to_string();
        assert!(message.contains("install"), "{message}");
    }

    #[test]
    fn test_install_command_follows_the_family_of_the_system() {
        let check = |os_release: &str, expected: &str| assert_eq!(install_command_for(os_release), expected);
        check("NAME=\"Debian GNU/Linux\"\nID=debian\n", "sudo apt-get install postgresql");
        check("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", "sudo apt-get install postgresql");
        check("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", "sudo dnf install postgresql-server");
        check("ID=alpine\n", "sudo apk add postgresql");
        check("", "the PostgreSQL server package of this system");
    }
}
