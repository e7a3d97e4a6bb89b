//! What the argument of `build` names: a folder, a git repository, an archive or a Dockerfile at a URL or on
//! standard input.
//!
//! | argument | context | Dockerfile |
//! |---|---|---|
//! | folder | the folder | `-f`, else `Dockerfile` in it; `-f -` takes standard input |
//! | `https://HOST/R.git#REF:FOLDER` and others of git | its files, without `.git` | `-f` in it |
//! | `https://HOST/FILE`, `-` | what the archive holds, where it is one | `-f` in it |
//! | | else nothing | the text itself |

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

use builder::{BuildError, BuildOptions, GitSource};
use layer::{ApplyOptions, Devices, Owners, TarReader, Whiteouts};
use tempfile::TempDir;

use crate::error::Error;
use crate::session::Session;

/// The bytes that tell what comes.
const HEAD_BYTES: u64 = 512;
/// Longest Dockerfile that is taken from elsewhere.
const MOST_DOCKERFILE_BYTES: u64 = 16 << 20;

/// A context and its Dockerfile, both as files of this machine. What was fetched goes when this is dropped.
#[derive(Debug)]
pub struct GivenContext {
    /// The folder that COPY and ADD read.
    pub folder: PathBuf,
    /// The Dockerfile.
    pub dockerfile: PathBuf,
    /// What messages call it.
    pub dockerfile_name: String,
    scratch: Option<TempDir>,
}

/// Whether an argument of `build` can be nothing but a context.
pub fn is_elsewhere(argument: &str) -> bool {
    argument == "-" || GitSource::parse(argument).is_some() || is_url(argument)
}

fn is_url(argument: &str) -> bool {
    ["http://", "https://"].iter().any(|scheme| argument.starts_with(scheme))
}

impl GivenContext {
    /// Opens the context that `argument` names, fetching it where it is elsewhere.
    pub fn open(
        session: &Session,
        argument: &str,
        file: Option<&Path>,
        options: &BuildOptions,
    ) -> Result<Self, Error> {
        let here = session.environment.folder.join(argument);
        if argument == "-" {
            if file == Some(Path::new("-")) {
                return Err(Error::usage("standard input is the context or the Dockerfile, not both"));
            }
            return Self::scratch(session)?.stream(io::stdin(), "standard input", file);
        }
        if here.is_dir() {
            return Self::local(session, argument, file);
        }
        match GitSource::parse_context(argument) {
            Some(source) => {
                let source = source.map_err(|reason| Error::usage(format!("{argument}: {reason}")))?;
                Self::scratch(session)?.repository(&source, file, options)
            }
            None if is_url(argument) => Self::scratch(session)?.address(argument, file, options),
            None => Self::local(session, argument, file),
        }
    }

    /// Fetches what a named context is, a git repository or an archive, into a folder of its own.
    pub fn fetch(session: &Session, address: &str, options: &BuildOptions) -> Result<Self, Error> {
        let fetched = Self::scratch(session)?;
        match GitSource::parse(address) {
            Some(source) => {
                let source = source.map_err(|reason| Error::usage(format!("{address}: {reason}")))?;
                fetched.repository(&source, None, options)
            }
            None => {
                let given = fetched.address(address, None, options)?;
                match given.dockerfile.parent() == Some(given.place()) {
                    true => Err(Error::usage(format!("{address} is neither a repository nor an archive"))),
                    false => Ok(given),
                }
            }
        }
    }

    /// Whether it was fetched, so that nothing of it is there the next time.
    pub fn is_transient(&self) -> bool {
        self.scratch.is_some()
    }

    fn local(session: &Session, argument: &str, file: Option<&Path>) -> Result<Self, Error> {
        let folder = session.environment.folder.join(argument);
        if file == Some(Path::new("-")) {
            let mut given = Self::scratch(session)?;
            given.dockerfile_name = "-".to_owned();
            given.write_dockerfile(&mut io::stdin(), "standard input")?;
            given.folder = folder;
            return Ok(given);
        }
        let name = file.map(Path::to_owned).unwrap_or_else(|| match argument == "." {
            true => "Dockerfile".into(),
            false => Path::new(argument).join("Dockerfile"),
        });
        let dockerfile = session.environment.folder.join(&name);
        Ok(Self { folder, dockerfile, dockerfile_name: name.display().to_string(), scratch: None })
    }

    /// An empty context in a folder of its own, with the Dockerfile beside it.
    fn scratch(session: &Session) -> Result<Self, Error> {
        let parent = session.scratch()?;
        let failed = |source| Error::file("make a folder in", &parent, source);
        let scratch = tempfile::tempdir_in(&parent).map_err(failed)?;
        let folder = scratch.path().join("context");
        std::fs::create_dir(&folder).map_err(failed)?;
        let dockerfile = scratch.path().join("Dockerfile");
        Ok(Self { folder, dockerfile, dockerfile_name: "Dockerfile".to_owned(), scratch: Some(scratch) })
    }

    fn repository(
        mut self,
        source: &GitSource,
        file: Option<&Path>,
        options: &BuildOptions,
    ) -> Result<Self, Error> {
        let fetcher =
            options.git.as_ref().ok_or_else(|| Error::usage("git repositories cannot be fetched here"))?;
        let failed = |error| unusable(&source.remote, error);
        let commit = fetcher.resolve(source).map_err(failed)?;
        fetcher.checkout(source, &commit, source.keep_git_dir == Some(true), &self.folder).map_err(failed)?;
        self.folder = self.folder.join(&source.folder);
        self.within(file)
    }

    fn address(self, url: &str, file: Option<&Path>, options: &BuildOptions) -> Result<Self, Error> {
        let fetcher = options.fetch.as_ref().ok_or_else(|| Error::usage("URLs cannot be fetched here"))?;
        let failed = |error| unusable(url, error);
        let mut fetched = tempfile::tempfile_in(self.place()).map_err(|error| failed(error.into()))?;
        fetcher.fetch(url, &mut fetched).map_err(failed)?;
        io::Seek::rewind(&mut fetched).map_err(|error| failed(error.into()))?;
        self.stream(fetched, url, file)
    }

    fn place(&self) -> &Path {
        self.scratch.as_ref().map_or(&self.folder, TempDir::path)
    }

    /// Takes an archive, or the text of a Dockerfile.
    fn stream(
        self,
        mut input: impl Read + Send + 'static,
        what: &str,
        file: Option<&Path>,
    ) -> Result<Self, Error> {
        let failed = |error: io::Error| unusable(what, error.into());
        let mut head = Vec::new();
        (&mut input).take(HEAD_BYTES).read_to_end(&mut head).map_err(failed)?;
        let is_archive = is_archive(&head);
        let mut whole = Cursor::new(head).chain(input);
        if !is_archive {
            if file.is_some() {
                let message = format!("{what} is no archive, so there is nothing in it for -f to name");
                return Err(Error::usage(message));
            }
            self.write_dockerfile(&mut whole, what)?;
            return Ok(self);
        }
        let options = ApplyOptions {
            whiteouts: Whiteouts::Remove,
            owners: Owners::Ignore,
            devices: Devices::Skip,
            lower: None,
        };
        let mut tar = layer::decompress(whole).map_err(failed)?;
        layer::apply(&mut tar, &self.folder, &options).map_err(|error| unusable(what, error.into()))?;
        self.within(file)
    }

    fn write_dockerfile(&self, input: &mut dyn Read, what: &str) -> Result<(), Error> {
        let failed = |error: io::Error| unusable(what, error.into());
        let mut file = File::create(&self.dockerfile).map_err(failed)?;
        let written = io::copy(&mut input.take(MOST_DOCKERFILE_BYTES + 1), &mut file).map_err(failed)?;
        match written {
            0 => Err(Error::usage(format!("{what} is empty: neither a Dockerfile nor an archive"))),
            bytes if bytes > MOST_DOCKERFILE_BYTES => {
                Err(Error::usage(format!("{what} is neither an archive nor a Dockerfile of sensible size")))
            }
            _ => Ok(()),
        }
    }

    /// Names the Dockerfile in the context, which it may not lead out of.
    fn within(mut self, file: Option<&Path>) -> Result<Self, Error> {
        let name = file.unwrap_or(Path::new("Dockerfile"));
        self.dockerfile_name = name.display().to_string();
        self.dockerfile = self.folder.join(name);
        let real = |path: &Path| path.canonicalize().ok();
        if let (Some(file), Some(folder)) = (real(&self.dockerfile), real(&self.folder))
            && !file.starts_with(&folder)
        {
            return Err(Error::usage(format!("{} is not in the context", name.display())));
        }
        Ok(self)
    }
}

fn unusable(what: &str, source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    BuildError::Layer { action: format!("read the context {what}"), source }.into()
}

/// Whether something starts like an archive: compressed, or with the header of a tar.
fn is_archive(head: &[u8]) -> bool {
    const COMPRESSED: [&[u8]; 4] = [b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"];
    let is_tar =
        || head.len() as u64 == HEAD_BYTES && matches!(TarReader::new(head).next_entry(), Ok(Some(_)));
    COMPRESSED.iter().any(|magic| head.starts_with(magic)) || is_tar()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_told_from_dockerfiles() {
        let tar = testkit::tar::TarBuilder::new().directory("a").finish();
        assert!(is_archive(&tar[..512]) && is_archive(b"\x1f\x8bx") && is_archive(b"BZh9"));
        assert!(!is_archive(b"FROM scratch\n") && !is_archive(b"") && !is_archive(&[b'#'; 512]));
    }

    #[test]
    fn contexts_elsewhere_are_known_by_their_names() {
        assert!(is_elsewhere("-") && is_elsewhere("https://h/r.git#a:b") && is_elsewhere("git@h:r"));
        assert!(is_elsewhere("https://h/context.tar.gz"));
        assert!(!is_elsewhere("api") && !is_elsewhere("./-") && !is_elsewhere("../x"));
    }
}
