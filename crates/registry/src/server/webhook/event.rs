//! What is told: the types of events and their form, `plimsoll.registry-event/1`.

use jiff::Timestamp;
use oci::{Descriptor, Digest, Document, Repository, Tag};
use serde::{Deserialize, Serialize};
use store::StoreError;

use crate::server::storage::StoredRepository;

/// The version of the form.
const SCHEMA: &str = "plimsoll.registry-event/1";

/// Something that happens to a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::server) struct Happening {
    /// Where.
    pub repository: Repository,
    /// What.
    pub change: Change,
}

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::server) enum Change {
    /// A manifest was put, also one that was there.
    ManifestPushed { manifest: Descriptor, subject: Option<Digest>, tags: Vec<Tag> },
    /// A tag points to something new.
    TagMoved { tag: Tag, digest: Digest, previous: Option<Digest> },
    /// A tag is gone.
    TagDeleted { tag: Tag, digest: Option<Digest> },
    /// A manifest is gone.
    ManifestDeleted { digest: Digest },
}

impl Happening {
    /// Returns what happens where a document is put under tags; `previous` says what they point to.
    pub fn of_push(
        repository: &Repository,
        document: &Document,
        tags: &[Tag],
        previous: impl Fn(&Tag) -> Option<Digest>,
    ) -> Vec<Self> {
        let here = |change| Self { repository: repository.clone(), change };
        let mut manifest = document.descriptor().clone();
        manifest.artifact_type = store::referrer::describe(document).artifact_type;
        let subject = document.subject().map(|subject| subject.digest);
        let mut found = vec![here(Change::ManifestPushed { manifest, subject, tags: tags.to_vec() })];
        let digest = document.digest();
        for tag in tags {
            let previous = previous(tag);
            if previous != Some(digest) {
                found.push(here(Change::TagMoved { tag: tag.clone(), digest, previous }));
            }
        }
        found
    }

    /// Returns what happens where a tag goes.
    pub fn of_untag(repository: &Repository, tag: &Tag, digest: Option<Digest>) -> Self {
        Self { repository: repository.clone(), change: Change::TagDeleted { tag: tag.clone(), digest } }
    }

    /// Returns what happens where a manifest goes with its tags.
    pub fn of_removal(repository: &Repository, digest: Digest, tags: &[Tag]) -> Vec<Self> {
        let mut found: Vec<Self> =
            tags.iter().map(|tag| Self::of_untag(repository, tag, Some(digest))).collect();
        let change = Change::ManifestDeleted { digest };
        found.push(Self { repository: repository.clone(), change });
        found
    }

    /// Whether it came about: the store is now as the event tells.
    pub fn is_so(&self, repository: &StoredRepository) -> bool {
        match &self.change {
            Change::ManifestPushed { manifest, .. } => repository.has_manifest(&manifest.digest),
            Change::TagMoved { tag, digest, .. } => {
                repository.resolve(tag).is_ok_and(|found| found.digest == *digest)
            }
            Change::TagDeleted { tag, .. } => {
                matches!(repository.resolve(tag), Err(StoreError::NotFound { .. }))
            }
            Change::ManifestDeleted { digest } => !repository.has_manifest(digest),
        }
    }

    /// Returns the type of the event.
    pub fn kind(&self) -> &'static str {
        match self.change {
            Change::ManifestPushed { .. } => "manifest.pushed",
            Change::TagMoved { .. } => "tag.moved",
            Change::TagDeleted { .. } => "tag.deleted",
            Change::ManifestDeleted { .. } => "manifest.deleted",
        }
    }
}

/// A message, in the order in which it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Body {
    schema: String,
    r#type: String,
    timestamp: String,
    data: Data,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Data {
    repository: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<Tag>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
    /// What a tag that moved pointed to before; not there for a new one.
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<Digest>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<Tag>,
    /// The account, token or job; not there for the anonymous.
    #[serde(skip_serializing_if = "String::is_empty")]
    who: String,
}

impl Body {
    pub fn new(happening: &Happening, who: &str, now: Timestamp) -> Self {
        let repository = happening.repository.path().to_owned();
        let data = Data { repository, who: who.to_owned(), ..Data::default() };
        let data = match happening.change.clone() {
            Change::ManifestPushed { manifest, subject, tags } => Data {
                digest: Some(manifest.digest),
                media_type: Some(manifest.media_type.as_str().to_owned()),
                artifact_type: manifest.artifact_type,
                size: Some(manifest.size),
                subject,
                tags,
                ..data
            },
            Change::TagMoved { tag, digest, previous } => {
                Data { tag: Some(tag), digest: Some(digest), previous, ..data }
            }
            Change::TagDeleted { tag, digest } => Data { tag: Some(tag), digest, ..data },
            Change::ManifestDeleted { digest } => Data { digest: Some(digest), ..data },
        };
        Self {
            schema: SCHEMA.to_owned(),
            r#type: happening.kind().to_owned(),
            timestamp: now.to_string(),
            data,
        }
    }

    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("it has only strings and numbers")
    }

    /// Reads a message back; `None` where it is not one of ours.
    pub fn happening(text: &str) -> Option<Happening> {
        let Body { schema, r#type, data, .. } = serde_json::from_str(text).ok()?;
        let repository = Repository::new(oci::Registry::local(), &data.repository).ok()?;
        let change = match r#type.as_str() {
            "manifest.pushed" => Change::ManifestPushed {
                manifest: Descriptor::new(data.media_type?.as_str().into(), data.digest?, data.size?),
                subject: data.subject,
                tags: data.tags,
            },
            "tag.moved" => Change::TagMoved { tag: data.tag?, digest: data.digest?, previous: data.previous },
            "tag.deleted" => Change::TagDeleted { tag: data.tag?, digest: data.digest },
            "manifest.deleted" => Change::ManifestDeleted { digest: data.digest? },
            _ => return None,
        };
        (schema == SCHEMA).then_some(Happening { repository, change })
    }
}

#[cfg(test)]
mod tests {
    use oci::{ImageManifest, MediaType};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_push_tells() {
        let config = Descriptor::of(MediaType::OciConfig, b"{}");
        let document = Document::from_manifest(ImageManifest::new(config, Vec::new()));
        let repository: Repository = "local/acme/api".parse().unwrap();
        let tags: Vec<Tag> = ["v1", "main"].map(|tag| tag.parse().unwrap()).to_vec();
        let before = |tag: &Tag| (tag.as_str() == "v1").then_some(document.digest());
        let told = Happening::of_push(&repository, &document, &tags, before);
        let kinds: Vec<&str> = told.iter().map(Happening::kind).collect();
        assert_eq!(kinds, ["manifest.pushed", "tag.moved"], "a tag that stays is not told of");
        let now = "2026-11-28T12:00:00Z".parse().unwrap();
        let digest = document.digest();
        assert_eq!(
            Body::new(&told[1], "ann", now).to_json(),
            format!(
                r#"{{"schema":"plimsoll.registry-event/1","type":"tag.moved","timestamp":"2026-11-28T12:00:00Z","data":{{"repository":"acme/api","tag":"main","digest":"{digest}","who":"ann"}}}}"#
            )
        );
    }

    #[test]
    fn messages_are_read_back() {
        let repository: Repository = "local/a".parse().unwrap();
        let digest = Digest::of(b"x");
        let mut told = Happening::of_removal(&repository, digest, &["v1".parse().unwrap()]);
        let change = Change::TagMoved { tag: "b".parse().unwrap(), digest, previous: Some(Digest::of(b"y")) };
        told.push(Happening { repository, change });
        for one in told {
            let text = Body::new(&one, "", Timestamp::UNIX_EPOCH).to_json();
            assert_eq!(Body::happening(&text), Some(one), "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,80}", kind in "(manifest|tag)[.](pushed|moved|deleted)") {
            let _ = Body::happening(&text);
            let text = format!(r#"{{"schema":"{SCHEMA}","type":"{kind}","timestamp":"","data":{{"repository":{text:?}}}}}"#);
            let _ = Body::happening(&text);
        }
    }
}
