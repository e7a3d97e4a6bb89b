//! `ls`: what the local store holds, the tags of a repository, the repositories of a registry, what containerd has.

use std::fmt;
use std::str::FromStr;

use containerd::Namespace;
use oci::{Digest, InvalidReference, Platform, Reference, Registry, Repository, Tag};
use pipeline::image;
use pipeline::place::Places;
use serde::Serialize;
use store::{ImageStore, LayoutStore, StoreError};

use crate::error::Error;
use crate::session::Session;
use crate::ui::quantity;
use crate::ui::table::{Align, Table};

/// Lists images: all of the local store, the tags of one repository, the repositories of a registry, or what containerd has
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ plimsoll ls
  $ plimsoll ls local/debian
  $ plimsoll ls ghcr.io/acme/api --remote
  $ plimsoll ls localhost:5000
  $ plimsoll ls containerd:k8s.io//
  $ plimsoll ls --format json | jq -r '.images[].digest'")]
pub struct Arguments {
    /// The repository, or a registry such as localhost:5000 for the names of its repositories, or
    /// containerd:[NAMESPACE//][REPOSITORY]
    #[arg(value_name = "REPOSITORY|REGISTRY")]
    what: Option<What>,
    /// Asks the registry, whatever the local store has
    #[arg(long, requires = "what")]
    remote: bool,
}

/// What is listed.
#[derive(Clone, Debug)]
enum What {
    Repository(Repository),
    Registry(Registry),
    Containerd(Option<Namespace>, Option<Repository>),
}

impl FromStr for What {
    type Err = String;

    /// A host alone is a registry; by the rule that tells hosts from names elsewhere, it has a dot or a port.
    fn from_str(text: &str) -> Result<Self, String> {
        let words = |error: InvalidReference| error.to_string();
        if let Some(rest) = text.strip_prefix("containerd:") {
            let (namespace, name) = match rest.split_once("//") {
                Some((namespace, name)) => (Some(namespace), name),
                None => (None, rest),
            };
            let namespace = namespace.map(str::parse::<Namespace>).transpose();
            let name = (!name.is_empty()).then(|| name.parse::<Repository>()).transpose();
            return Ok(Self::Containerd(namespace.map_err(|error| error.to_string())?, name.map_err(words)?));
        }
        let host = text.trim_end_matches('/');
        let is_host =
            !host.contains('/') && (host.contains(['.', ':']) || host == "localhost" || host != text);
        match is_host {
            true => host.parse().map(Self::Registry).map_err(words),
            false => text.parse().map(Self::Repository).map_err(words),
        }
    }
}

#[derive(Debug, Serialize)]
struct Catalog {
    registry: Registry,
    repositories: Vec<Repository>,
}

#[derive(Debug, Serialize)]
struct Listing {
    images: Vec<Image>,
}

/// One tag and what it points to.
#[derive(Debug, Serialize)]
struct Image {
    repository: Repository,
    tag: Tag,
    /// What it points to; a list of a registry does not say.
    #[serde(flatten)]
    found: Option<Found>,
}

#[derive(Debug, Serialize)]
struct Found {
    digest: Digest,
    platforms: Vec<String>,
    /// Configuration and layers of all platforms, in bytes.
    size: u64,
}

impl Arguments {
    /// Lists the images.
    pub fn run(&self, session: &Session) -> Result<(), Error> {
        let places = session.places()?;
        let local = places.local();
        let images = match &self.what {
            Some(What::Registry(registry)) => {
                let repositories = places.catalog(registry)?;
                return session.ui.answer("catalog", &Catalog { registry: registry.clone(), repositories });
            }
            Some(What::Containerd(namespace, name)) => {
                in_containerd(session, &places, namespace.as_ref(), name.as_ref())?
            }
            None => in_store(local, &local.repositories()?)?,
            Some(What::Repository(name)) if !self.remote => {
                match in_store(local, std::slice::from_ref(name))? {
                    none if none.is_empty() && !name.registry().is_local() => in_registry(&places, name)?,
                    images => images,
                }
            }
            Some(What::Repository(name)) => in_registry(&places, name)?,
        };
        session.ui.answer("images", &Listing { images })
    }
}

fn in_store(local: &LayoutStore, names: &[Repository]) -> Result<Vec<Image>, Error> {
    let mut images = Vec::new();
    for name in names {
        let repository = local.repository(name);
        for tag in repository.tags()? {
            let found = Some(describe(&repository, &tag)?);
            images.push(Image { repository: name.clone(), tag, found });
        }
    }
    Ok(images)
}

fn in_registry(places: &Places, name: &Repository) -> Result<Vec<Image>, Error> {
    let unknown = || StoreError::NotFound { what: format!("repository {name}") };
    let tags = places.remote(name)?.tags_if_known()?.ok_or_else(unknown)?;
    Ok(tags.into_iter().map(|tag| Image { repository: name.clone(), tag, found: None }).collect())
}

fn in_containerd(
    session: &Session,
    places: &Places,
    namespace: Option<&Namespace>,
    only: Option<&Repository>,
) -> Result<Vec<Image>, Error> {
    let found = places.containerd()?;
    let namespace = namespace.unwrap_or(&found.namespace);
    let (mut images, mut others) = (Vec::new(), 0);
    for named in found.containerd.images(namespace)? {
        let reference = named.name.parse::<Reference>().ok().filter(|name| name.digest().is_none());
        let Some((name, tag)) =
            reference.and_then(|name| Some((name.repository().clone(), name.tag().cloned()?)))
        else {
            others += 1;
            continue;
        };
        if only.is_none_or(|only| containerd::is_same_repository(only, &name)) {
            let repository = found.containerd.repository(namespace, &name);
            images.push(Image { found: Some(describe(&repository, &tag)?), repository: name, tag });
        }
    }
    if others > 0 && only.is_none() {
        session.ui.note(format_args!("{others} names without a tag are not listed"));
    }
    Ok(images)
}

fn describe(repository: &dyn ImageStore, tag: &Tag) -> Result<Found, Error> {
    let document = repository.document(&repository.resolve(tag)?.digest)?;
    let platforms = image::platforms(repository, &document).unwrap_or_default();
    Ok(Found {
        digest: document.digest(),
        platforms: platforms.iter().map(Platform::to_string).collect(),
        size: image::size(repository, &document)?,
    })
}

impl fmt::Display for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.repositories.iter().try_for_each(|name| writeln!(f, "{name}"))
    }
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.images.is_empty() {
            return writeln!(f, "no images");
        }
        let mut table = Table::new(&[
            ("IMAGE", Align::Left),
            ("DIGEST", Align::Left),
            ("PLATFORMS", Align::Left),
            ("SIZE", Align::Right),
        ]);
        for image in &self.images {
            let found = image.found.as_ref();
            table.row(vec![
                format!("{}:{}", image.repository.familiar(), image.tag),
                found.map(|found| found.digest.short(12)).unwrap_or_default(),
                found.map(|found| found.platforms.join(", ")).unwrap_or_default(),
                found.map(|found| quantity::size(found.size)).unwrap_or_default(),
            ]);
        }
        table.fmt(f)
    }
}
