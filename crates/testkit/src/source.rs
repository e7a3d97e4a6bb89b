//! Our own files, read for the tests that hold the architecture: which files there are, and what of a
//! Rust file is code of the product once comments, literals and its unit tests are taken away.
//!
//! This is a reader for our own formatted sources, not a Rust parser: it relies on unit tests
//! standing at the end of a file in `#[cfg(test)] mod ...`.

use std::path::{Path, PathBuf};

/// Files and folders with nothing of ours in them, wherever they lie; `target*` as well.
const SKIPPED: &[&str] = &[".git", ".demo", ".peers", ".bench", "dist", ".plimsoll"];

/// One file of the repository.
pub struct SourceFile {
    /// Path from the repository's root, with forward slashes.
    pub path: String,
    /// Its content; bytes that are not UTF-8 are replaced.
    pub text: String,
}

impl SourceFile {
    /// Whether it is a Rust file.
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether nothing of it is part of the product: test folders, and the crate for tests.
    pub fn is_test(&self) -> bool {
        let parts: Vec<&str> = self.path.split('/').collect();
        let folder = parts.iter().any(|part| matches!(*part, "tests" | "benches" | "examples" | "fuzz"));
        folder || self.path.ends_with("/tests.rs") || self.path.starts_with("crates/testkit/")
    }

    /// Returns the folder's name under `crates/`, where the file belongs to a crate.
    pub fn crate_name(&self) -> Option<&str> {
        self.path.strip_prefix("crates/")?.split('/').next()
    }

    /// Returns the code of the product in a Rust file: without unit tests, comments and the content
    /// of literals. Lines keep their numbers.
    pub fn code(&self) -> String {
        blank_comments_and_literals(before_unit_tests(&self.text))
    }
}

/// Returns the root of the repository this crate is compiled in.
pub fn repository_root() -> PathBuf {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    crates.and_then(Path::parent).expect("testkit lies in crates/ under the root").to_owned()
}

/// Returns all text files of the repository, sorted by path, without folders that builds make.
#[track_caller]
pub fn files() -> Vec<SourceFile> {
    let root = repository_root();
    let mut files = Vec::new();
    collect(&root, &root, &mut files);
    files.sort_by(|one, other| one.path.cmp(&other.path));
    files
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<SourceFile>) {
    let entries =
        std::fs::read_dir(folder).unwrap_or_else(|error| panic!("cannot read {}: {error}", folder.display()));
    for entry in entries.map(|entry| entry.expect("a folder that opened can be read")) {
        let path = entry.path();
        let kind = entry.file_type().expect("the entry was just listed");
        let name = entry.file_name().to_string_lossy().into_owned();
        if SKIPPED.contains(&name.as_str()) || (kind.is_dir() && name.starts_with("target")) {
            continue;
        }
        if kind.is_dir() {
            collect(root, &path, files);
        } else if kind.is_file() {
            files.extend(read(root, &path));
        }
    }
}

fn read(root: &Path, path: &Path) -> Option<SourceFile> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
    let binary = bytes.iter().take(8000).any(|byte| *byte == 0);
    let relative = path.strip_prefix(root).expect("the walk started at the root");
    let text = String::from_utf8_lossy(&bytes).into_owned();
    (!binary).then(|| SourceFile { path: relative.to_string_lossy().replace('\\', "/"), text })
}

fn before_unit_tests(text: &str) -> &str {
    text.find("\n#[cfg(test)]\nmod ").map_or(text, |end| &text[..end])
}

/// Returns `text` with every comment, and what stands inside string and character literals,
/// replaced by blanks.
fn blank_comments_and_literals(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = comment_length(rest).or_else(|| literal_length(rest, &code));
        let length = skipped.unwrap_or(first.len_utf8());
        match skipped {
            Some(_) => code.extend(rest[..length].chars().map(|c| if c == '\n' { '\n' } else { ' ' })),
            None => code.push(first),
        }
        rest = &rest[length..];
    }
    code
}

fn comment_length(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if !text.starts_with("/*") {
        return None;
    }
    let (mut depth, mut at) = (0usize, 0);
    while at < text.len() {
        let here = &text.as_bytes()[at..];
        match here {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return Some(at);
        }
    }
    Some(text.len())
}

fn literal_length(text: &str, before: &str) -> Option<usize> {
    let in_word = before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
    match text.as_bytes() {
        [b'"', ..] => Some(quoted_length(text, '"')),
        [b'r', b'"' | b'#', ..] if !in_word => raw_length(text),
        [b'\'', b'\\', ..] => Some(quoted_length(text, '\'')),
        [b'\'', ..] => text[1..]
            .chars()
            .next()
            .filter(|c| text[1 + c.len_utf8()..].starts_with('\''))
            .map(|c| c.len_utf8() + 2),
        _ => None,
    }
}

fn quoted_length(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

fn raw_length(text: &str) -> Option<usize> {
    let hashes = text[1..].bytes().take_while(|byte| *byte == b'#').count();
    let opening = 1 + hashes;
    text[opening..].starts_with('"').then(|| {
        let closing = format!("\"{}", "#".repeat(hashes));
        let body = &text[opening + 1..];
        body.find(&closing).map_or(text.len(), |end| opening + 1 + end + closing.len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&blank_comments_and_literals(text)), words(expected), "{text}");
    }

    #[test]
    fn comments_and_literals_are_no_code() {
        check("a // unsafe\nb", "a b");
        check("a /* x /* y */ unsafe */ b", "a b");
        check(r#"f("unsafe \" unsafe", 'u', '\'')"#, "f( , , )");
        check(r###"f(r#"say "unsafe""#, r"x")"###, "f( , )");
        check("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}");
        check("writer(\"\")", "writer( )");
        check("let r#type = 1;", "let r#type = 1;");
        check("'é' 'a", "'a");
    }

    #[test]
    fn lines_keep_their_numbers() {
        let code = blank_comments_and_literals("\"a\nb\"\n/*\n*/x");
        assert_eq!(code.lines().position(|line| line.contains('x')), Some(3));
    }

    #[test]
    fn unit_tests_are_cut_off() {
        let file = SourceFile {
            path: "crates/layer/src/x.rs".into(),
            text: "fn a() {}\n\n#[cfg(test)]\nmod tests { unsafe {} }".into(),
        };
        assert_eq!(file.code().trim(), "fn a() {}");
        assert_eq!(file.crate_name(), Some("layer"));
        assert!(!file.is_test());
    }
}
