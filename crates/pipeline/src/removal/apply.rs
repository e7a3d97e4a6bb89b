//! Removing what a plan names. What speaks of an image goes before it, so that a second try still finds it
//! where the first one was broken off.

use oci::{Digest, Tag};
use registry::client::Removal;
use store::referrer::is_list_tag;
use store::{Company, StoreError};

use super::{Goes, Plan, RemovalError};

/// What came of a plan.
#[derive(Debug)]
pub enum Applied {
    /// All that it names is gone.
    Done(Plan),
    /// Nothing is gone: the registry does not remove single tags. What it would remove is more.
    Larger {
        /// The plan of removing the manifest.
        plan: Plan,
        /// The registry's words.
        words: String,
    },
}

impl Plan {
    /// Removes what the plan names.
    ///
    /// # Errors
    /// `Refused` where the registry removes nothing; what the place says.
    pub fn apply(self) -> Result<Applied, RemovalError> {
        let Goes::Tag(tag) = &self.goes else {
            self.remove_company()?;
            self.remove_manifest()?;
            return Ok(Applied::Done(self));
        };
        match self.target.remove_tag(tag)? {
            Removal::Done => Ok(Applied::Done(self)),
            Removal::Unsupported(words) => {
                let Self { image, digest, target, .. } = self;
                let plan = Self::of_manifest(image, digest, target, Some(tag.clone()), Company::Alone)?;
                Ok(Applied::Larger { plan, words })
            }
        }
    }

    fn remove_company(&self) -> Result<(), RemovalError> {
        for referrer in &self.referrers {
            if let Removal::Unsupported(words) = gone_is_done(self.target.remove_document(referrer))? {
                return Err(self.refused(words));
            }
        }
        for tag in &self.digest_tags {
            self.remove_digest_tag(tag)?;
        }
        Ok(())
    }

    /// Removes a tag made of a digest: alone, or with the manifest that only it can mean.
    fn remove_digest_tag(&self, tag: &Tag) -> Result<(), RemovalError> {
        let target = match self.target.resolve(tag) {
            Err(StoreError::NotFound { .. }) => return Ok(()),
            target => target?.digest,
        };
        // GitLab answers such a tag with the image itself, which goes anyway.
        if is_list_tag(tag) && target == self.digest {
            return Ok(());
        }
        match gone_is_done(self.target.remove_tag(tag))? {
            Removal::Done => Ok(()),
            Removal::Unsupported(_) => match gone_is_done(self.target.remove_document(&target))? {
                Removal::Done => Ok(()),
                Removal::Unsupported(words) => Err(self.refused(words)),
            },
        }
    }

    fn remove_manifest(&self) -> Result<(), RemovalError> {
        let Goes::Manifest(named) = &self.goes else { return Ok(()) };
        let tags: Vec<&Tag> = named.iter().chain(&self.tags).collect();
        if let Removal::Unsupported(words) = self.target.remove_document(&self.digest)? {
            // Some want the tags to go first.
            if tags.is_empty() {
                return Err(self.refused(words));
            }
            for tag in &tags {
                if let Removal::Unsupported(_) = gone_is_done(self.target.remove_tag(tag))? {
                    return Err(self.refused(words));
                }
            }
            if let Removal::Unsupported(words) = self.target.remove_document(&self.digest)? {
                return Err(self.refused(words));
            }
        }
        tags.iter().try_for_each(|tag| self.remove_dangling(tag, &self.digest))
    }

    /// Removes a tag that is left of a manifest that is gone. One that points elsewhere by now is somebody's.
    fn remove_dangling(&self, tag: &Tag, digest: &Digest) -> Result<(), RemovalError> {
        match self.target.resolve(tag) {
            Ok(found) if found.digest == *digest => match gone_is_done(self.target.remove_tag(tag))? {
                Removal::Done => Ok(()),
                Removal::Unsupported(words) => Err(self.refused(words)),
            },
            Ok(_) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn refused(&self, words: String) -> RemovalError {
        RemovalError::Refused { image: self.image.clone(), words }
    }
}

/// What somebody else removed meanwhile is as gone as it should be.
fn gone_is_done(removal: Result<Removal, StoreError>) -> Result<Removal, StoreError> {
    match removal {
        Err(StoreError::NotFound { .. }) => Ok(Removal::Done),
        removal => removal,
    }
}
