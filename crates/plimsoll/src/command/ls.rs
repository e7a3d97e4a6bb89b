//! `ls`: what the local store holds, the tags of a repository, the repositories of a registry.

use std::fmt;
use std::str::FromStr;

use oci::{Digest, InvalidReference, Platform, Registry, Repository, Tag};
use pipeline::image;
use pipeline::place::Places;
use serde::Serialize;
use store::{ImageStore, LayoutRepository, LayoutStore};

use crate::error::Error;
use crate::session::Session;
use crate::ui::quantity;
use crate::ui::table::{Align, Table};

/// Lists images: all of the local store, the tags of one repository, or the repositories of a registry
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ plimsoll ls
  $ plimsoll ls local/debian
  $ plimsoll ls ghcr.io/acme/api --remote
  $ plimsoll ls localhost:5000
  $ plimsoll ls --format json | jq -r '.images[].digest'")]
pub struct Arguments {
    /// The repository, or a registry such as localhost:5000 for the names of its repositories
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
}

impl FromStr for What {
    type Err = InvalidReference;

    /// A host alone is a registry; by the rule that tells hosts from names elsewhere, it has a dot or a port.
    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        let host = text.trim_end_matches('/');
        let is_host =
            !host.contains('/') && (host.contains(['.', ':']) || host == "localhost" || host != text);
        match is_host {
            true => host.parse().map(Self::Registry),
            false => text.parse().map(Self::Repository),
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
    let tags = places.remote(name)?.tags()?;
    Ok(tags.into_iter().map(|tag| Image { repository: name.clone(), tag, found: None }).collect())
}

fn describe(repository: &LayoutRepository, tag: &Tag) -> Result<Found, Error> {
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
