//! What the files of a checkout say about a service: README, LICENSE, and the metadata of packages.
//!
//! The service's own folder is asked first, then the project's. Files are read as far as
//! [`MAX_BYTES`], and one that cannot be read or is damaged says nothing: an image is built all the
//! same, and other tools complain about such files better than this one would.

mod license;
mod package;
mod readme;

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// How much of a file is read.
const MAX_BYTES: u64 = 256 * 1024;

/// What is known of a service beside the event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// Title for people.
    pub title: Option<Described>,
    /// A line or two.
    pub description: Option<Described>,
    /// SPDX licence expression.
    pub licenses: Option<Described>,
    /// Who made it, with commas between.
    pub authors: Option<Described>,
    /// Address of its documentation.
    pub documentation: Option<Described>,
    /// Address of its home page.
    pub url: Option<Described>,
}

/// A value and the file that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// The value.
    pub value: String,
    /// The file, from the project's folder.
    pub file: String,
}

impl Description {
    /// Returns the description of which nothing is known.
    pub const fn nothing() -> Self {
        Self { title: None, description: None, licenses: None, authors: None, documentation: None, url: None }
    }

    /// Reads what the files directly in `folder` say; `label` names the folder in front of them and
    /// is empty for the project's own.
    pub fn read(folder: &Path, label: &str) -> Self {
        let mut names: Vec<String> = match std::fs::read_dir(folder) {
            Ok(entries) => entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect(),
            Err(_) => Vec::new(),
        };
        names.sort();
        let mut description = Self::default();
        let label = label.trim_start_matches("./").trim_end_matches('/');
        for reader in [package::read, readme::read, license::read] {
            reader(&Files { folder, label, names: &names }, &mut description);
        }
        description
    }

    /// Returns this, with what it does not say taken from `other`; the title is nobody else's.
    pub fn or(self, other: &Self) -> Self {
        let other = other.clone();
        Self {
            title: self.title,
            description: self.description.or(other.description),
            licenses: self.licenses.or(other.licenses),
            authors: self.authors.or(other.authors),
            documentation: self.documentation.or(other.documentation),
            url: self.url.or(other.url),
        }
    }
}

/// The files of a folder.
struct Files<'a> {
    folder: &'a Path,
    label: &'a str,
    names: &'a [String],
}

impl Files<'_> {
    /// Returns the text of a file, where there is one that can be read.
    fn text(&self, name: &str) -> Option<String> {
        if !self.names.iter().any(|known| known == name) {
            return None;
        }
        let file = File::open(self.folder.join(name)).ok()?;
        // A pipe or a device of that name would keep us waiting.
        if !file.metadata().ok()?.is_file() {
            return None;
        }
        let mut bytes = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Returns a value with the file it came from; one line, without blanks at its ends.
    fn described(&self, name: &str, value: &str) -> Option<Described> {
        let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
        let file = if self.label.is_empty() { name.to_owned() } else { format!("{}/{name}", self.label) };
        (!value.is_empty()).then_some(Described { value, file })
    }
}

#[cfg(test)]
mod tests;
