//! Git repositories as sources of ADD and as whole contexts: how they are written, and what fetches them.
//!
//! | written | is |
//! |---|---|
//! | `https://HOST/PATH.git`, `http://` | a repository |
//! | `git://`, `ssh://`, `NAME@HOST:PATH` | a repository |
//! | `github.com/OWNER/NAME` | a repository, as a context only |
//! | `...#REF`, `...#REF:FOLDER`, `...#:FOLDER` | its branch, tag or commit; a folder in it |
//! | `...?ref=&branch=&tag=&commit=&checksum=&subdir=&submodules=&keep-git-dir=` | the same by name |
//!
//! Source: the Dockerfile reference, "Adding files from a git repository"; BuildKit's `dfgitutil`.

use std::error::Error;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A repository and what of it is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GitSource {
    /// What git fetches from.
    pub remote: String,
    /// A branch, a tag, a full reference or a commit; the remote's `HEAD` where `None`.
    pub reference: Option<String>,
    /// The folder that counts, without slashes at its ends; empty for all.
    pub folder: String,
    /// The commit that it must be, or the first digits of it.
    pub checksum: Option<String>,
    /// Whether `.git` belongs to the files, where that is said.
    pub keep_git_dir: Option<bool>,
    /// Whether submodules are left out.
    pub without_submodules: bool,
}

type Failure = Box<dyn Error + Send + Sync>;
type Resolve = dyn Fn(&GitSource) -> Result<String, Failure> + Send + Sync;
type Checkout = dyn Fn(&GitSource, &str, bool, &Path) -> Result<(), Failure> + Send + Sync;

/// What fetches repositories: programs and networks are not known here.
#[derive(Clone)]
pub struct GitFetcher {
    resolve: Arc<Resolve>,
    checkout: Arc<Checkout>,
}

impl GitFetcher {
    /// Fetches with `resolve`, which finds the commit of a source, and `checkout`, which writes the files of
    /// that commit into a folder, with `.git` where it is asked for.
    pub fn new(
        resolve: impl Fn(&GitSource) -> Result<String, Failure> + Send + Sync + 'static,
        checkout: impl Fn(&GitSource, &str, bool, &Path) -> Result<(), Failure> + Send + Sync + 'static,
    ) -> Self {
        Self { resolve: Arc::new(resolve), checkout: Arc::new(checkout) }
    }

    /// Returns the commit that a source is now.
    ///
    /// # Errors
    /// Why it cannot be had, and where it is another than the source's checksum says.
    pub fn resolve(&self, source: &GitSource) -> Result<String, Failure> {
        let commit = (self.resolve)(source)?;
        match &source.checksum {
            Some(wanted) if !commit.starts_with(wanted) => {
                Err(format!("{} is the commit {commit} and not {wanted}", source.remote).into())
            }
            _ => Ok(commit),
        }
    }

    /// Writes the files of a commit into an existing empty folder.
    ///
    /// # Errors
    /// Why they cannot be had.
    pub fn checkout(
        &self,
        source: &GitSource,
        commit: &str,
        keep_git_dir: bool,
        folder: &Path,
    ) -> Result<(), Failure> {
        (self.checkout)(source, commit, keep_git_dir, folder)
    }
}

impl fmt::Debug for GitFetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GitFetcher")
    }
}

impl GitSource {
    /// Reads a source; `None` where it is no repository.
    ///
    /// # Errors
    /// What is wrong with the part behind the address, for people.
    pub fn parse(text: &str) -> Option<Result<Self, String>> {
        let (address, fragment) =
            text.split_once('#').map_or((text, None), |(address, rest)| (address, Some(rest)));
        let (address, query) = match by_scheme(address) {
            true => address.split_once('?').map_or((address, None), |(address, rest)| (address, Some(rest))),
            false => (address, None),
        };
        let is_http = ["http://", "https://"].iter().any(|scheme| address.starts_with(scheme));
        let is_git = match is_http {
            true => address.ends_with(".git"),
            false => by_scheme(address) || is_scp(address),
        };
        is_git.then(|| Self::read(address.to_owned(), fragment, query))
    }

    /// Reads a source that is a whole context, where `github.com/...` means a repository too.
    ///
    /// # Errors
    /// As for [`Self::parse`].
    pub fn parse_context(text: &str) -> Option<Result<Self, String>> {
        match text.starts_with("github.com/") {
            true => {
                let (address, fragment) =
                    text.split_once('#').map_or((text, None), |(address, rest)| (address, Some(rest)));
                Some(Self::read(format!("https://{address}"), fragment, None))
            }
            false => Self::parse(text),
        }
    }

    fn read(remote: String, fragment: Option<&str>, query: Option<&str>) -> Result<Self, String> {
        let mut source = Self { remote, ..Self::default() };
        for field in query.into_iter().flat_map(|query| query.split('&')).filter(|field| !field.is_empty()) {
            let (name, value) = field.split_once('=').unwrap_or((field, ""));
            source.field(name, &decoded(value))?;
        }
        if let Some(fragment) = fragment.filter(|fragment| !fragment.is_empty()) {
            let (reference, folder) = fragment.split_once(':').unwrap_or((fragment, ""));
            if !reference.is_empty() {
                source.set_reference(reference.to_owned())?;
            }
            if !folder.is_empty() {
                source.set_folder(folder)?;
            }
        }
        Ok(source)
    }

    fn field(&mut self, name: &str, value: &str) -> Result<(), String> {
        let yes = |value: &str| match value {
            "" | "1" | "true" => Ok(true),
            "0" | "false" => Ok(false),
            _ => Err(format!("{name}={value} in the address of a repository is neither true nor false")),
        };
        match name {
            "ref" if !value.is_empty() => self.set_reference(value.to_owned()),
            "branch" if !value.is_empty() => self.set_reference(format!("refs/heads/{value}")),
            "tag" if !value.is_empty() => self.set_reference(format!("refs/tags/{value}")),
            "commit" | "checksum" => self.set_checksum(value),
            "subdir" => self.set_folder(value),
            "keep-git-dir" => {
                self.keep_git_dir = Some(yes(value)?);
                Ok(())
            }
            "submodules" => {
                self.without_submodules = !yes(value)?;
                Ok(())
            }
            "ref" | "branch" | "tag" => Err(format!("{name} in the address of a repository is empty")),
            _ => Err(format!(
                "{name:?} is not known in the address of a repository; there are ref, branch, tag, commit, \
                 checksum, subdir, submodules and keep-git-dir"
            )),
        }
    }

    fn set_reference(&mut self, reference: String) -> Result<(), String> {
        // What git would take for an option, or for several references.
        let is_odd =
            reference.starts_with('-') || reference.contains(|c: char| c.is_whitespace() || c.is_control());
        if is_odd || reference.contains([':', '*', '^', '~', '?', '[', '\\']) {
            return Err(format!("{reference:?} is no branch, tag or commit"));
        }
        match self.reference.replace(reference) {
            None => Ok(()),
            Some(_) => Err("the address of a repository names two references".to_owned()),
        }
    }

    fn set_folder(&mut self, folder: &str) -> Result<(), String> {
        let parts: Vec<&str> = folder.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        if parts.contains(&"..") {
            return Err(format!("{folder:?} leads out of the repository"));
        }
        match self.folder.is_empty() {
            true => {
                self.folder = parts.join("/");
                Ok(())
            }
            false => Err("the address of a repository names two folders".to_owned()),
        }
    }

    /// Sets the commit that it must be: 7 to 64 hexadecimal digits.
    ///
    /// # Errors
    /// It is none, or another one was named already.
    pub fn set_checksum(&mut self, commit: &str) -> Result<(), String> {
        let commit = commit.strip_prefix("sha1:").unwrap_or(commit).to_ascii_lowercase();
        if !(7..=64).contains(&commit.len()) || !commit.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(format!("{commit:?} is no commit: it has 7 to 64 hexadecimal digits"));
        }
        match &self.checksum {
            Some(known) if !known.starts_with(&commit) && !commit.starts_with(known.as_str()) => {
                Err(format!("the commit is to be {known} and {commit}"))
            }
            Some(known) if known.len() >= commit.len() => Ok(()),
            _ => {
                self.checksum = Some(commit);
                Ok(())
            }
        }
    }
}

fn by_scheme(address: &str) -> bool {
    ["http://", "https://", "git://", "ssh://"].iter().any(|scheme| address.starts_with(scheme))
}

/// Whether an address is `NAME@HOST:PATH`.
fn is_scp(address: &str) -> bool {
    let Some((user, rest)) = address.split_once('@') else { return false };
    let is_name = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    let Some((host, path)) = rest.split_once(':') else { return false };
    is_name(user) && !user.starts_with('-') && is_name(host) && !path.is_empty()
}

/// Undoes the escapes of a query.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        let escaped = escaped.and_then(|digits| std::str::from_utf8(digits).ok());
        match escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                plain.push(byte);
                at += 3;
            }
            None => {
                plain.push(if bytes[at] == b'+' { b' ' } else { bytes[at] });
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, remote: &str, reference: Option<&str>, folder: &str) {
        let source = GitSource::parse(text).expect(text).expect(text);
        assert_eq!(
            (&*source.remote, source.reference.as_deref(), &*source.folder),
            (remote, reference, folder)
        );
    }

    #[test]
    fn repositories_are_known_by_their_addresses() {
        check("https://h/r.git", "https://h/r.git", None, "");
        check("https://h/r.git#main", "https://h/r.git", Some("main"), "");
        check("https://h/r.git#v1:a/b/", "https://h/r.git", Some("v1"), "a/b");
        check("https://h/r.git#:a", "https://h/r.git", None, "a");
        check("git@h:o/r", "git@h:o/r", None, "");
        check("git@h:o/r.git#x:y", "git@h:o/r.git", Some("x"), "y");
        check("ssh://git@h/r", "ssh://git@h/r", None, "");
        check("git://h/r#0123456", "git://h/r", Some("0123456"), "");
        for other in
            ["https://h/r", "https://h/r.git.tar", "a/b", "a@b", "./x.git", "http.git", "github.com/a/b"]
        {
            assert_eq!(GitSource::parse(other), None, "{other}");
        }
        let context = GitSource::parse_context("github.com/a/b#c:d").unwrap().unwrap();
        assert_eq!((&*context.remote, &*context.folder), ("https://github.com/a/b", "d"));
    }

    #[test]
    fn the_query_says_the_same_by_name() {
        check("https://h/r.git?ref=main&subdir=a%2Fb", "https://h/r.git", Some("main"), "a/b");
        check("https://h/r.git?branch=x", "https://h/r.git", Some("refs/heads/x"), "");
        check("https://h/r.git?tag=x", "https://h/r.git", Some("refs/tags/x"), "");
        let text = "https://h/r.git?checksum=0123456789&submodules=false&keep-git-dir=1";
        let source = GitSource::parse(text).unwrap().unwrap();
        assert_eq!(source.checksum.as_deref(), Some("0123456789"));
        assert!(source.without_submodules && source.keep_git_dir == Some(true));
    }

    #[test]
    fn what_is_odd_is_refused() {
        for (rest, words) in [
            ("?ref=a#b", "two references"),
            ("?subdir=a#:b", "two folders"),
            ("?reff=a", "\"reff\" is not known"),
            ("?ref=", "is empty"),
            ("?commit=xyz", "no commit"),
            ("?keep-git-dir=maybe", "neither true nor false"),
            ("#--upload-pack=x", "no branch"),
            ("#a b", "no branch"),
            ("#:../x", "leads out"),
        ] {
            let error = GitSource::parse(&format!("https://h/r.git{rest}")).unwrap().unwrap_err();
            assert!(error.contains(words), "{rest}: {error}");
        }
    }

    #[test]
    fn checksums_may_be_short_and_must_agree() {
        let mut source = GitSource::default();
        assert!(source.set_checksum("0123456").is_ok());
        assert!(source.set_checksum("0123456789").is_ok());
        assert_eq!(source.checksum.as_deref(), Some("0123456789"));
        assert!(source.set_checksum("1123456").is_err());
        let fetcher = GitFetcher::new(|_| Ok("f123".to_owned()), |_, _, _, _| Ok(()));
        assert!(fetcher.resolve(&source).unwrap_err().to_string().contains("and not 0123456789"));
    }

    proptest::proptest! {
        #[test]
        fn no_address_makes_it_panic(rest: String) {
            let _ = GitSource::parse(&rest);
            let _ = GitSource::parse(&format!("https://h/r.git{rest}"));
            let _ = GitSource::parse(&format!("git@h:{rest}"));
        }
    }
}
