//! `ls`: what the local store holds, and the tags of a repository.

use std::fmt;

use oci::{Digest, Platform, Repository, Tag};
use pipeline::image;
use serde::Serialize;
use store::{ImageStore, LayoutRepository};

use crate::error::Error;
use crate::session::Session;
use crate::ui::quantity;
use crate::ui::table::{Align, Table};

/// Lists images: all of the local store, or the tags of one repository
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ plimsoll ls
  $ plimsoll ls local/debian
  $ plimsoll ls --format json | jq -r '.images[].digest'")]
pub struct Arguments {
    /// The repository
    repository: Option<Repository>,
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
    digest: Digest,
    platforms: Vec<String>,
    /// Configuration and layers of all platforms, in bytes.
    size: u64,
}

impl Arguments {
    /// Lists the images.
    pub fn run(&self, session: &Session) -> Result<(), Error> {
        let local = session.store()?;
        let repositories = match &self.repository {
            Some(repository) => vec![repository.clone()],
            None => local.repositories()?,
        };
        let mut images = Vec::new();
        for name in repositories {
            let repository = local.repository(&name);
            for tag in repository.tags()? {
                images.push(describe(&repository, tag)?);
            }
        }
        session.ui.answer("images", &Listing { images })
    }
}

fn describe(repository: &LayoutRepository, tag: Tag) -> Result<Image, Error> {
    let document = repository.document(&repository.resolve(&tag)?.digest)?;
    let platforms = image::platforms(repository, &document).unwrap_or_default();
    Ok(Image {
        repository: repository.name().clone(),
        tag,
        digest: document.digest(),
        platforms: platforms.iter().map(Platform::to_string).collect(),
        size: image::size(repository, &document)?,
    })
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
            table.row(vec![
                format!("{}:{}", image.repository.familiar(), image.tag),
                image.digest.short(12),
                image.platforms.join(", "),
                quantity::size(image.size),
            ]);
        }
        table.fmt(f)
    }
}
