//! The file of the profiles: where it lies, and how it is read and replaced.

use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use attune_common::environment;

use super::{Profiles, variable};
use crate::failure::Fault;
use crate::output::say;

/// Readable and writable by the owner only: the file holds tokens.
const MODE: u32 = 0o600;

/// Where the profiles are kept.
#[derive(Debug, Clone)]
pub(crate) struct ProfileFile {
    path: PathBuf,
}

impl ProfileFile {
    /// `profiles.toml` in `ATTUNE_CONFIG_DIR`, else in `$XDG_CONFIG_HOME/attune`, else in `~/.config/attune`.
    pub(crate) fn locate() -> Result<Self, Fault> {
        let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
        let directory = variable(environment::CONFIG_DIR)
            .map(PathBuf::from)
            // The XDG specification says that a relative path is to be ignored.
            .or_else(|| {
                variable("XDG_CONFIG_HOME")
                    .map(PathBuf::from)
                    .filter(|path| path.is_absolute())
                    .map(|path| path.join("attune"))
            })
            .or_else(|| home.map(|home| home.join(".config/attune")))
            .ok_or_else(|| {
                Fault::new("there is no directory for the profiles: neither HOME nor XDG_CONFIG_HOME is set")
                    .hint(format!("name one with {}", environment::CONFIG_DIR))
            })?;
        Ok(Self { path: directory.join("profiles.toml") })
    }

    /// The profiles; none when there is no file yet.
    pub(crate) fn load(&self) -> anyhow::Result<Profiles> {
        let path = self.path.display();
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Profiles::default()),
            Err(error) => return Err(error).with_context(|| format!("cannot read the profiles in {path}")),
        };
        let mode = std::fs::metadata(&self.path).map_or(MODE, |metadata| metadata.permissions().mode());
        if mode & 0o077 != 0 {
            say(format_args!("warning: others may read the tokens in {path}; run `chmod 600 {path}`"));
        }
        toml::from_str(&text).map_err(|error| {
            // The error's own text would quote the line, which may be the one with the token.
            let line =
                error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            Fault::new(format!("{path}:{line}: {}", error.message()))
                .hint("correct the file, or remove it and run `attune login`")
                .into()
        })
    }

    /// Replaces the file as a whole: whoever reads it meanwhile sees the old one or the new one.
    pub(crate) fn save(&self, profiles: &Profiles) -> anyhow::Result<()> {
        let text = toml::to_string(profiles).context("cannot write the profiles as TOML")?;
        self.replace(text.as_bytes())
            .with_context(|| format!("cannot save the profiles in {}", self.path.display()))
    }

    fn replace(&self, content: &[u8]) -> io::Result<()> {
        let directory = self.path.parent().unwrap_or_else(|| Path::new("."));
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let mut file = tempfile::Builder::new()
            .prefix(".profiles")
            .permissions(std::fs::Permissions::from_mode(MODE))
            .tempfile_in(directory)?;
        file.write_all(content)?;
        file.as_file().sync_all()?;
        // A link is followed, for those who keep their configuration elsewhere.
        let target = std::fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        file.persist(target).map_err(|error| error.error)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::Profile;
    use super::*;

    fn file() -> (tempfile::TempDir, ProfileFile) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b/profiles.toml");
        (directory, ProfileFile { path })
    }

    #[test]
    fn test_profiles_are_saved_for_the_owner_only() {
        let (_directory, file) = file();
        assert_eq!(file.load().unwrap(), Profiles::default());
        let profile = Profile {
            url: "http://x".into(),
            login: Some("ada".into()),
            token: Some("attune_secret".into()),
        };
        let profiles =
            Profiles { current: Some("a.b:1".into()), by_name: BTreeMap::from([("a.b:1".into(), profile)]) };
        file.save(&profiles).unwrap();
        file.save(&profiles).unwrap();
        assert_eq!(file.load().unwrap(), profiles);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&file.path), 0o600);
        assert_eq!(mode(file.path.parent().unwrap()), 0o700);
        let left: Vec<_> = std::fs::read_dir(file.path.parent().unwrap()).unwrap().collect();
        assert_eq!(left.len(), 1, "a temporary file was left: {left:?}");
    }

    #[test]
    fn test_a_broken_file_is_named_by_line_and_its_token_not_shown() {
        let (_directory, file) = file();
        std::fs::create_dir_all(file.path.parent().unwrap()).unwrap();
        std::fs::write(&file.path, "[profile.x]\nurl = \"http://x\"\ntoken = \"attune_secret\" oops\n")
            .unwrap();
        let error = format!("{:#}", file.load().unwrap_err());
        assert!(error.contains("profiles.toml:3: "), "{error}");
        assert!(!error.contains("attune_secret"), "{error}");
    }
}
