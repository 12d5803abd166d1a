//! The JDK that plays the application's image.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

/// A JDK with a compiler.
#[derive(Clone, Debug)]
pub(super) struct Jdk {
    home: PathBuf,
}

impl Jdk {
    /// `--java-home`, `JAVA_HOME`, or the one on the PATH.
    pub(super) fn find(stated: Option<&Path>, search_path: Option<&OsStr>) -> anyhow::Result<Self> {
        if let Some(home) = stated {
            if !home.join("bin/javac").exists() {
                bail!(
                    "{} holds no JDK (bin/javac); set --java-home or JAVA_HOME to one",
                    home.display()
                );
            }
            return Ok(Self {
                home: home.to_owned(),
            });
        }
        std::env::split_paths(search_path.unwrap_or_default())
            .filter_map(|folder| folder.join("javac").canonicalize().ok())
            .find_map(|javac| Some(Self { home: javac.parent()?.parent()?.to_owned() }))
            .context("no JDK found: install one (Debian, Ubuntu: apt-get install default-jdk-headless) or set JAVA_HOME")
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.home.join("bin").join(name)
    }

    /// Compiles one source into a folder.
    pub(super) fn compile(&self, class: &str, source: &str, folder: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(folder)?;
        let file = folder.join(format!("{class}.java"));
        std::fs::write(&file, source)?;
        let compiled = Command::new(self.program("javac"))
            .arg("-d")
            .arg(folder)
            .arg(&file)
            .output();
        let compiled = compiled.with_context(|| format!("cannot run {}", self.program("javac").display()))?;
        if !compiled.status.success() {
            bail!(
                "javac refused {class}.java: {}",
                String::from_utf8_lossy(&compiled.stderr).trim()
            );
        }
        Ok(())
    }
}
