//! No CI host: the clone says what happened, and nobody reads outputs.

use std::borrow::Cow;
use std::path::Path;

use pipeline::event::Event;
use pipeline::forge::{Annotation, Forge, ForgeError, Outputs};
use pipeline::git::Checkout;

/// No CI host.
#[derive(Clone, Copy, Debug)]
pub struct Local;

impl Forge for Local {
    fn name(&self) -> &'static str {
        "none"
    }

    fn event(&self, folder: &Path) -> Result<Event, ForgeError> {
        Ok(Checkout::open(folder)?.event()?)
    }

    fn write_outputs(&self, _: &Outputs) -> Result<(), ForgeError> {
        Ok(())
    }

    fn write_variables(&self, _: &Outputs) -> Result<(), ForgeError> {
        Ok(())
    }

    fn write_summary(&self, _: &str) -> Result<(), ForgeError> {
        Ok(())
    }

    fn annotation(&self, _: &Annotation) -> Option<String> {
        None
    }

    fn group_start(&self, _: &str) -> Option<String> {
        None
    }

    fn group_end(&self) -> Option<String> {
        None
    }

    fn harmless<'a>(&self, text: &'a str) -> Cow<'a, str> {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use pipeline::event::Kind;
    use testkit::git::GitRepository;

    use super::*;

    #[test]
    fn the_clone_says_what_happened() {
        let repository = GitRepository::with_files(&[("a", "1")]);
        let event = Local.event(repository.path()).unwrap();
        assert_eq!(event.kind, Kind::Branch { branch: "main".to_owned() });
        assert_eq!(event.revision.as_str(), repository.head());
        let nowhere = tempfile::tempdir().unwrap();
        assert!(matches!(Local.event(nowhere.path()), Err(ForgeError::Git(_))));
    }
}
