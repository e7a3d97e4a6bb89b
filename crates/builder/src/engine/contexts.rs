//! Named contexts: what `--build-context NAME=...` puts in the place of an image.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock};

use super::workspace::Workspace;
use crate::BuildError;
use crate::context::Context;
use crate::request::NamedContext;

/// The named contexts of a build; folders are opened at their first use.
#[derive(Debug, Default)]
pub(crate) struct Contexts {
    named: BTreeMap<String, (NamedContext, OnceLock<Context>)>,
    opening: Mutex<()>,
}

impl Contexts {
    pub fn new(given: &BTreeMap<String, NamedContext>) -> Self {
        let named = given.iter().map(|(name, context)| (plain(name), (context.clone(), OnceLock::new())));
        Self { named: named.collect(), opening: Mutex::default() }
    }

    /// Returns what stands in the place of `name`. Names go without regard to case, and `NAME:latest` of the usual
    /// registry is `NAME`.
    pub fn find(&self, name: &str) -> Option<&NamedContext> {
        self.named.get(&plain(name)).map(|(context, _)| context)
    }

    /// Returns the folder that stands in the place of `name`, where a folder does.
    pub fn folder(&self, workspace: &Workspace, name: &str) -> Result<Option<&Context>, BuildError> {
        let Some((NamedContext::Folder(path), opened)) = self.named.get(&plain(name)) else {
            return Ok(None);
        };
        let _opening = self.opening.lock().expect("no holder panics");
        if opened.get().is_none() {
            let context = super::source::open_folder(path, &[path.join(".dockerignore")], workspace)?;
            let _ = opened.set(context);
        }
        Ok(opened.get())
    }
}

fn plain(name: &str) -> String {
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    let name = name.strip_prefix("library/").unwrap_or(name);
    name.strip_suffix(":latest").unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_however_they_are_written() {
        let image = NamedContext::Image("local/base:1".to_owned());
        let contexts = Contexts::new(&BTreeMap::from([("Alpine".to_owned(), image.clone())]));
        for name in ["alpine", "alpine:latest", "docker.io/library/alpine:latest", "ALPINE"] {
            assert_eq!(contexts.find(name), Some(&image), "{name}");
        }
        assert_eq!(contexts.find("alpine:3"), None);
    }
}
