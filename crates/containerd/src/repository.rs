//! One repository of a namespace as a store, and the names of a namespace.

use std::collections::HashMap;
use std::io::Read;

use jiff::Timestamp;
use oci::manifest::MAX_DOCUMENT_BYTES;
use oci::{Descriptor, Digest, Document, MediaType, Reference, Repository, Tag};
use store::{Blob, BlobStore, ImageStore, Put, StoreError};
use tonic::{Code, Status};

use crate::connection::{Containerd, Scope};
use crate::content::{Content, Upload};
use crate::fault::{found, nonsense, of_status};
use crate::labels;
use crate::lease::Lease;
use crate::names::{Namespace, by_digest, full};
use crate::protocol::{
    DeleteImageRequest, Empty, FieldMask, GetImageRequest, ImageRecord, Info, InfoResponse,
    ListImagesRequest, ListImagesResponse, ListNamespacesRequest, ListNamespacesResponse, OneImage, Target,
    UpdateImageRequest, UpdateRequest, method,
};

/// A repository in a namespace.
pub struct ContainerdRepository {
    content: Content,
    name: Repository,
    lease: Option<Lease>,
    /// Where what is written comes from.
    source: Option<Repository>,
}

/// A name of a namespace and what it points to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedImage {
    /// The name, which other clients may have made of anything.
    pub name: String,
    /// What it points to.
    pub target: Descriptor,
}

impl Containerd {
    /// Returns a repository of a namespace. Nothing is asked yet.
    pub fn repository(&self, namespace: &Namespace, name: &Repository) -> ContainerdRepository {
        ContainerdRepository {
            content: self.content(namespace),
            name: name.clone(),
            lease: None,
            source: None,
        }
    }

    /// Returns the names of a namespace, ascending.
    ///
    /// # Errors
    /// `NotFound` where there is no such namespace.
    pub fn images(&self, namespace: &Namespace) -> Result<Vec<NamedImage>, StoreError> {
        let content = self.content(namespace);
        let images = content.images()?;
        let spaces = if images.is_empty() { content.namespaces()? } else { return Ok(images) };
        if spaces.contains(&namespace.to_string()) {
            return Ok(images);
        }
        let there = if spaces.is_empty() { "none yet".to_owned() } else { spaces.join(", ") };
        let socket = content.connection.socket.display();
        Err(StoreError::NotFound {
            what: format!("namespace {namespace} of containerd at {socket} (its namespaces: {there})"),
        })
    }

    fn content(&self, namespace: &Namespace) -> Content {
        let scope = Scope { namespace: namespace.clone(), lease: None };
        Content { connection: self.connection().clone(), scope }
    }
}

impl Content {
    fn images(&self) -> Result<Vec<NamedImage>, StoreError> {
        let question = ListImagesRequest { filters: Vec::new() };
        let listed: Result<ListImagesResponse, Status> =
            self.connection.ask(&self.scope, method::LIST_IMAGES, question);
        let what = || format!("the images of {}", self.place());
        let listed = listed.map_err(|status| of_status("list", what(), &status))?;
        let mut images =
            listed.images.into_iter().map(|image| self.named(image)).collect::<Result<Vec<_>, _>>()?;
        images.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(images)
    }

    fn namespaces(&self) -> Result<Vec<String>, StoreError> {
        let question = ListNamespacesRequest::default();
        let listed: Result<ListNamespacesResponse, Status> =
            self.connection.ask(&self.scope, method::LIST_NAMESPACES, question);
        let what = || format!("the namespaces of containerd at {}", self.connection.socket.display());
        let listed = listed.map_err(|status| of_status("list", what(), &status))?;
        let mut names: Vec<String> = listed.namespaces.into_iter().map(|namespace| namespace.name).collect();
        names.sort();
        Ok(names)
    }

    fn named(&self, image: ImageRecord) -> Result<NamedImage, StoreError> {
        let ImageRecord { name, target, .. } = image;
        // One that was left out is empty, and an empty digest is refused below.
        let Target { media_type, digest, size } = target.unwrap_or_default();
        let wrong = |reason: String| nonsense(format!("{name} in {}", self.place()), reason);
        let digest = digest.parse().map_err(|error: oci::InvalidDigest| wrong(error.to_string()))?;
        let size = u64::try_from(size).map_err(|_| wrong(format!("it is {size} bytes long")))?;
        let media_type = media_type.parse().unwrap_or(MediaType::Other(media_type));
        Ok(NamedImage { target: Descriptor::new(media_type, digest, size), name })
    }

    /// Returns what a name points to.
    fn target(&self, name: &str) -> Result<Option<Descriptor>, StoreError> {
        let question = GetImageRequest { name: name.to_owned() };
        let answer = found(self.connection.ask::<_, OneImage>(&self.scope, method::GET_IMAGE, question));
        let answer = answer.map_err(|status| of_status("look up", self.what_image(name), &status))?;
        let Some(answer) = answer else { return Ok(None) };
        // The same holds for one that was left out here.
        Ok(Some(self.named(answer.image.unwrap_or_default())?.target))
    }

    fn what_image(&self, name: &str) -> String {
        format!("{name} in {}", self.place())
    }

    /// Says that something is not there, and where else it may be.
    fn absent(&self, what: String) -> StoreError {
        let hint = match self.namespaces() {
            Ok(names) if names.contains(&self.scope.namespace.to_string()) => String::new(),
            Ok(names) if names.is_empty() => " (it has no namespace yet)".to_owned(),
            Ok(names) => format!(" (its namespaces: {})", names.join(", ")),
            Err(_) => String::new(),
        };
        StoreError::NotFound { what: format!("{what} in {}{hint}", self.place()) }
    }
}

impl ContainerdRepository {
    /// Returns the repository for writing: what is written is not collected while the value is there, nor while it
    /// belongs to an image afterwards.
    ///
    /// # Errors
    /// What containerd says to a lease.
    pub fn held(mut self, now: Timestamp) -> Result<Self, StoreError> {
        let lease = Lease::take(&self.content.connection, &self.content.scope.namespace, now);
        let lease = lease
            .map_err(|status| of_status("take", format!("a lease in {}", self.content.place()), &status))?;
        self.content.scope.lease = Some(lease.id().to_owned());
        self.lease = Some(lease);
        Ok(self)
    }

    /// Returns the repository, which says of what it stores that it came from `source`.
    pub fn coming_from(mut self, source: Option<&Repository>) -> Self {
        self.source = source.cloned();
        self
    }

    /// Names a document by its digest, for an image without a tag.
    ///
    /// # Errors
    /// As for [`ImageStore::tag`].
    pub fn name_digest(&self, document: &Document) -> Result<(), StoreError> {
        self.name(&by_digest(&self.name, &document.digest()), document)
    }

    /// Makes a name point to a document, and looks whether it does.
    fn name(&self, name: &str, document: &Document) -> Result<(), StoreError> {
        self.put_document(document)?;
        let content = &self.content;
        let failed = |status: Status| of_status("name", content.what_image(name), &status);
        let Descriptor { media_type, digest, size, .. } = document.descriptor();
        let target = Target {
            media_type: media_type.to_string(),
            digest: digest.to_string(),
            size: i64::try_from(*size).unwrap_or(i64::MAX),
        };
        let image = ImageRecord { name: name.to_owned(), labels: HashMap::new(), target: Some(target) };
        let new = OneImage { image: Some(image.clone()) };
        match content.connection.ask::<_, OneImage>(&content.scope, method::CREATE_IMAGE, new) {
            Err(status) if status.code() == Code::AlreadyExists => {
                let update_mask = Some(FieldMask { paths: vec!["target".to_owned()] });
                let moved = UpdateImageRequest { image: Some(image), update_mask };
                content
                    .connection
                    .ask::<_, OneImage>(&content.scope, method::UPDATE_IMAGE, moved)
                    .map_err(failed)?;
            }
            created => drop(created.map_err(failed)?),
        }
        match content.target(name)? {
            Some(found) if found.digest == *digest => Ok(()),
            Some(found) => {
                Err(nonsense(content.what_image(name), format!("it is {} instead of {digest}", found.digest)))
            }
            None => Err(nonsense(
                content.what_image(name),
                format!("containerd took {digest} and does not have it"),
            )),
        }
    }

    fn remove(&self, name: &str, target: Option<Target>) -> Result<(), StoreError> {
        let request = DeleteImageRequest { name: name.to_owned(), sync: true, target };
        let content = &self.content;
        let removed = content.connection.ask::<_, Empty>(&content.scope, method::DELETE_IMAGE, request);
        match found(removed).map_err(|status| of_status("remove", content.what_image(name), &status))? {
            Some(_) => Ok(()),
            None => Err(content.absent(name.to_owned())),
        }
    }

    fn name_of(&self, tag: &Tag) -> String {
        format!("{}:{tag}", full(&self.name))
    }

    /// Returns the names of this repository.
    fn names(&self) -> Result<Vec<(Reference, NamedImage)>, StoreError> {
        let own = full(&self.name);
        let images = self.content.images()?.into_iter().filter_map(|image| {
            let reference: Reference = image.name.parse().ok()?;
            (full(reference.repository()) == own).then_some((reference, image))
        });
        Ok(images.collect())
    }

    /// Sets labels of a manifest that something is said about. Where it is not there nothing leads to what says it but
    /// a name of its own.
    fn lead(&self, subject: &Digest, labels: HashMap<String, String>) -> Result<(), StoreError> {
        match self.update_labels(subject, labels) {
            Err(StoreError::NotFound { .. }) => Ok(()),
            set => set,
        }
    }

    /// Has the subject of a manifest not lead to it any more. Returns whether it has one that did.
    fn lead_no_more(&self, digest: &Digest) -> Result<bool, StoreError> {
        let Some(subject) = self.document(digest)?.subject().map(|subject| subject.digest) else {
            return Ok(false);
        };
        let Some(info) = self.content.info(&subject)? else { return Ok(false) };
        let does = labels::referrers(&info.labels).contains(digest);
        if does {
            // An empty label is removed.
            let (label, _) = labels::of_referrer(digest);
            self.lead(&subject, HashMap::from([(label, String::new())]))?;
        }
        Ok(does)
    }

    fn update_labels(&self, digest: &Digest, labels: HashMap<String, String>) -> Result<(), StoreError> {
        let paths = labels.keys().map(|key| format!("labels.{key}")).collect();
        let info = Some(Info { digest: digest.to_string(), size: 0, labels });
        let request = UpdateRequest { info, update_mask: Some(FieldMask { paths }) };
        let content = &self.content;
        let updated =
            content.connection.ask::<_, InfoResponse>(&content.scope, method::UPDATE_CONTENT, request);
        updated.map(drop).map_err(|status| of_status("label", content.what(digest), &status))
    }
}

impl BlobStore for ContainerdRepository {
    fn blob_size(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        if let Some(lease) = &self.lease {
            // Before looking: what is there then stays.
            lease.hold(digest).map_err(|status| of_status("hold", self.content.what(digest), &status))?;
        }
        self.content.size(digest)
    }

    fn open_blob(&self, digest: &Digest) -> Result<Blob, StoreError> {
        self.content.open(digest)
    }

    fn put_blob(&self, descriptor: &Descriptor, content: Blob) -> Result<Put, StoreError> {
        let labels = labels::of_source(self.source.as_ref());
        Upload { content: &self.content, blob: descriptor, labels }.send(content)
    }
}

impl ImageStore for ContainerdRepository {
    fn resolve(&self, tag: &Tag) -> Result<Descriptor, StoreError> {
        let name = self.name_of(tag);
        self.content.target(&name)?.ok_or_else(|| self.content.absent(name))
    }

    fn document(&self, digest: &Digest) -> Result<Document, StoreError> {
        let wrong =
            |reason: String| nonsense(format!("manifest {digest} in {}", self.content.place()), reason);
        let Some(size) = self.content.size(digest)? else {
            let what = format!("manifest {digest} (an image pulled for one platform has no others)");
            return Err(self.content.absent(what));
        };
        if size > MAX_DOCUMENT_BYTES {
            return Err(wrong(format!(
                "it is {size} bytes long, more than the {MAX_DOCUMENT_BYTES} allowed"
            )));
        }
        let mut raw = Vec::new();
        let read = self.content.open(digest)?.take(MAX_DOCUMENT_BYTES + 1).read_to_end(&mut raw);
        read.map_err(|source| match source.kind() {
            std::io::ErrorKind::InvalidData => wrong(source.to_string()),
            _ => StoreError::io("read", self.content.what(digest), source),
        })?;
        let document = Document::parse(raw.into(), None).map_err(|error| wrong(error.to_string()))?;
        Ok(document.known_by(digest.algorithm()))
    }

    fn put_document(&self, document: &Document) -> Result<(), StoreError> {
        let mut labels = labels::of_parts(document);
        labels.extend(labels::of_source(self.source.as_ref()));
        let blob = document.descriptor();
        let upload = Upload { content: &self.content, blob, labels: labels.clone() };
        match upload.send(Blob::from_bytes(document.raw().clone()))? {
            // It may have been stored by somebody who did not say what belongs to it.
            Put::Present | Put::Mounted if !labels.is_empty() => self.update_labels(&blob.digest, labels)?,
            Put::Written | Put::Present | Put::Mounted => {}
        }
        match document.subject() {
            Some(subject) => self.lead(&subject.digest, HashMap::from([labels::of_referrer(&blob.digest)])),
            None => Ok(()),
        }
    }

    fn tag(&self, tag: &Tag, document: &Document) -> Result<(), StoreError> {
        self.name(&self.name_of(tag), document)
    }

    fn untag(&self, tag: &Tag) -> Result<(), StoreError> {
        self.remove(&self.name_of(tag), None)
    }

    fn tags(&self) -> Result<Vec<Tag>, StoreError> {
        let names = self.names()?;
        let tagged = names.iter().filter(|(name, _)| name.digest().is_none());
        let mut tags: Vec<Tag> = tagged.filter_map(|(name, _)| name.tag().cloned()).collect();
        tags.sort();
        tags.dedup();
        Ok(tags)
    }

    /// containerd does not know what speaks of what: labels of the manifest say so, as they say what it consists of.
    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, StoreError> {
        // What is not there has no labels, and nothing is said about it.
        let labels = self.content.info(subject)?.map(|info| info.labels).unwrap_or_default();
        store::referrer::among(self, labels::referrers(&labels), subject)
    }

    /// Removes every name that leads to it, and the label of what it speaks of; containerd then takes away what nothing
    /// else leads to.
    fn delete_document(&self, digest: &Digest) -> Result<(), StoreError> {
        let names = self.names()?;
        let leading: Vec<_> = names.iter().filter(|(_, image)| image.target.digest == *digest).collect();
        let was_led_to = match self.lead_no_more(digest) {
            // What cannot be read can be removed.
            Err(
                StoreError::NotFound { .. } | StoreError::Corrupt { .. } | StoreError::Unsupported { .. },
            ) => false,
            led => led?,
        };
        if leading.is_empty() && !was_led_to {
            return Err(self.content.absent(format!("a name of {} for {digest}", full(&self.name))));
        }
        leading.iter().try_for_each(|(_, image)| self.remove(&image.name, None))
    }
}

impl std::fmt::Debug for ContainerdRepository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ContainerdRepository({} in {})", full(&self.name), self.content.place())
    }
}
