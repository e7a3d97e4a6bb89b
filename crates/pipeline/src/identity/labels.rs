//! Labels of an image. Source: image-spec v1.1, annotations.md, "Pre-Defined Annotation Keys".

use jiff::Timestamp;
use oci::{Annotations, annotations};

use super::template::Nothing;
use super::{Naming, Place};
use crate::configuration::Created;

impl Naming<'_> {
    /// Returns the labels: what the event and the repository say, overlaid with `[identity.labels]`.
    pub(super) fn labels(&mut self, version: &str) -> Annotations {
        let mut labels = self.known_labels(version);
        for (key, template) in &self.rules.labels {
            match template.render(usize::MAX, |field| self.value(field, Place::Label)) {
                Ok(value) => drop(labels.insert(key.clone(), value)),
                Err(Nothing(reason)) => self.explain(key, "identity.labels", None, Some(reason)),
            }
        }
        labels
    }

    fn known_labels(&self, version: &str) -> Annotations {
        let source = &self.subject.event.source;
        let known = [
            (annotations::TITLE, Some(self.subject.service.to_owned())),
            (annotations::DESCRIPTION, source.description.clone()),
            (annotations::URL, source.url.clone()),
            (annotations::SOURCE, source.url.clone()),
            (annotations::LICENSES, source.licenses.clone()),
            (annotations::VERSION, Some(version.to_owned())),
            (annotations::REVISION, Some(self.revision.to_string())),
            (annotations::CREATED, Some(self.created().to_string())),
        ];
        known.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
    }

    /// Returns the image's time, in whole seconds as tar headers and other tools have it.
    fn created(&self) -> Timestamp {
        let time = match self.rules.created {
            Created::Commit => self.subject.event.committed,
            Created::Now => self.subject.now,
            Created::Epoch => Timestamp::UNIX_EPOCH,
        };
        Timestamp::from_second(time.as_second()).expect("a timestamp's own second is in range")
    }
}
