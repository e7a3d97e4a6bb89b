//! `import`: a root file system becomes an image of the local store.

use std::fmt;
use std::path::PathBuf;

use jiff::Timestamp;
use oci::{Annotations, Digest, Platform, Reference, RuntimeConfig};
use pipeline::import::{Import, ImportError, Imported, Owners};
use serde::Serialize;
use store::ImageStore;

use super::load;
use crate::error::Error;
use crate::session::Session;
use crate::ui::quantity;

/// Makes an image of a root file system: a tar (plain, gz, xz, zst, bz2) or a folder; loads archives
#[derive(Debug, clap::Args)]
#[command(after_help = "The same content gives the same digest.

Examples:
  $ plimsoll import rootfs.tar.xz local/debian:12
  $ plimsoll import busybox/ local/busybox --cmd '[\"/bin/sh\"]' --label tier=base
  $ plimsoll import rootfs.tar local/debian:12 --platform linux/arm64 --created 2026-01-31T00:00:00Z")]
pub struct Arguments {
    /// The tar or folder
    file: PathBuf,
    /// Name of the image in the local store
    #[arg(value_name = "REF")]
    name: Reference,
    /// What it runs on [default: this machine's]
    #[arg(long, value_name = "OS/ARCHITECTURE")]
    platform: Option<Platform>,
    /// When the image was made, RFC 3339 or seconds since 1970; files of a folder are never newer
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = parse_time)]
    created: Timestamp,
    /// Program that is started; a JSON list gives it arguments
    #[arg(long, value_name = "PROGRAM", value_parser = parse_program)]
    entrypoint: Option<Words>,
    /// Default command, or arguments of the entry point; a JSON list of words, or a line for /bin/sh
    #[arg(long, value_name = "COMMAND", value_parser = parse_command)]
    cmd: Option<Words>,
    /// Environment variable
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_pair)]
    env: Vec<(String, String)>,
    /// Label
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_pair)]
    label: Vec<(String, String)>,
    /// Folder commands start in
    #[arg(long, value_name = "DIR", default_value = "")]
    workdir: String,
    /// User commands run as, `user[:group]`
    #[arg(long, value_name = "USER", default_value = "")]
    user: String,
}

/// A command as words.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Words(Vec<String>);

#[derive(Debug, Serialize)]
struct Answer {
    image: Reference,
    digest: Digest,
    platform: String,
    entries: usize,
    size: u64,
    uncompressed_size: u64,
}

impl Arguments {
    /// Imports the file system.
    pub fn run(&self, session: &Session) -> Result<(), Error> {
        session.refuse_dry_run("import")?;
        let Some(tag) = self.name.tag_or_latest().filter(|_| self.name.digest().is_none()) else {
            return Err(Error::usage("an image gets its digest from its content; give a name with a tag"));
        };
        let platform = self.platform.clone().unwrap_or_else(Platform::host);
        let import = Import {
            platform,
            created: self.created,
            runtime: self.runtime(),
            compression: oci::Compression::Gzip,
            owners: if rustix::process::geteuid().is_root() { Owners::AsFound } else { Owners::Root },
        };
        let repository = session.store()?.repository(self.name.repository());
        let _lock = repository.store().lock_shared()?;
        let imported = match import.run(&self.file, &repository) {
            Err(ImportError::Archive { .. }) => return self.load(session),
            imported => imported?,
        };
        repository.tag(&tag, &imported.document)?;
        self.report(session, &import, &imported)
    }

    /// An archive of images is loaded; it has a configuration already.
    fn load(&self, session: &Session) -> Result<(), Error> {
        if self.runtime() != RuntimeConfig::default() || self.platform.is_some() {
            return Err(Error::usage(format!(
                "{} is an archive of images, which have configurations of their own",
                self.file.display()
            )));
        }
        session.ui.answer("load", &load::load(session, &self.file, Some(&self.name))?)
    }

    fn runtime(&self) -> RuntimeConfig {
        let labels: Annotations = self.label.iter().cloned().collect();
        RuntimeConfig {
            user: self.user.clone(),
            env: self.env.iter().map(|(name, value)| format!("{name}={value}")).collect(),
            entrypoint: self.entrypoint.clone().map(|words| words.0),
            cmd: self.cmd.clone().map(|words| words.0),
            working_dir: self.workdir.clone(),
            labels: (!labels.is_empty()).then_some(labels),
            ..RuntimeConfig::default()
        }
    }

    fn report(&self, session: &Session, import: &Import, imported: &Imported) -> Result<(), Error> {
        for path in &imported.skipped {
            session.ui.warn(format_args!("{} was left out: a layer cannot hold sockets", path.display()));
        }
        let answer = Answer {
            image: self.name.clone(),
            digest: imported.document.digest(),
            platform: import.platform.to_string(),
            entries: imported.entries,
            size: imported.size,
            uncompressed_size: imported.uncompressed_size,
        };
        session.ui.note(format_args!(
            "imported {} for {}: {} files and folders, {} in {}",
            answer.image,
            answer.platform,
            answer.entries,
            quantity::size(answer.uncompressed_size),
            quantity::size(answer.size),
        ));
        session.ui.answer("import", &answer)
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.digest)
    }
}

fn parse_time(text: &str) -> Result<Timestamp, String> {
    match text.parse() {
        Ok(seconds) => Timestamp::from_second(seconds).map_err(|error| error.to_string()),
        Err(_) => text.parse().map_err(|error: jiff::Error| error.to_string()),
    }
}

/// Reads the two forms of a Dockerfile's `CMD`.
fn parse_command(text: &str) -> Result<Words, String> {
    listed_words(text).unwrap_or_else(|| Ok(Words(["/bin/sh", "-c", text].map(str::to_owned).into())))
}

/// Reads a program as `docker run --entrypoint` does, or a list of words.
fn parse_program(text: &str) -> Result<Words, String> {
    listed_words(text).unwrap_or_else(|| Ok(Words(vec![text.to_owned()])))
}

fn listed_words(text: &str) -> Option<Result<Words, String>> {
    let is_list = text.trim_start().starts_with('[');
    let read = || serde_json::from_str(text).map(Words);
    is_list.then(|| read().map_err(|error| format!("it is not a JSON list of words: {error}")))
}

fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_words_or_a_line_for_the_shell() {
        let words = |text| parse_command(text).map(|words| words.0);
        assert_eq!(words(r#"["a b", "c"]"#).unwrap(), ["a b", "c"]);
        assert_eq!(words("a b").unwrap(), ["/bin/sh", "-c", "a b"]);
        assert!(words("[a]").is_err());
        assert_eq!(parse_program("/my tool").map(|words| words.0).unwrap(), ["/my tool"]);
        assert_eq!(parse_program(r#"["/tool", "-x"]"#).map(|words| words.0).unwrap(), ["/tool", "-x"]);
    }

    #[test]
    fn times() {
        assert_eq!(parse_time("0"), Ok(Timestamp::UNIX_EPOCH));
        assert_eq!(parse_time("2026-01-31T00:00:00Z").unwrap().as_second(), 1_769_817_600);
        assert!(parse_time("yesterday").is_err());
    }
}
