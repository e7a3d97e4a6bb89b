//! `inspect`: everything a manifest and its configuration say.

use std::fmt;

use oci::{Annotations, Descriptor, DiffId, Digest, History, MediaType, Platform, RuntimeConfig};
use pipeline::image::{self, Image};
use pipeline::place::{Located, Place};
use serde::Serialize;
use store::ImageStore;

use crate::error::Error;
use crate::session::Session;
use crate::ui::quantity;

/// Shows what an image is: platforms, configuration, labels, layers, history
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ plimsoll inspect local/debian:12
  $ plimsoll inspect ghcr.io/acme/api:main --platform linux/arm64 --format json
  $ plimsoll inspect docker-archive:api.tar --raw")]
pub struct Arguments {
    /// The image
    #[arg(value_name = "REF")]
    image: Place,
    /// Which image of an index [default: this machine's, else the only one]
    #[arg(long, value_name = "OS/ARCHITECTURE")]
    platform: Option<Platform>,
    /// Prints the bytes of the manifest or index as they are
    #[arg(long)]
    raw: bool,
}

#[derive(Debug, Serialize)]
struct Inspection {
    name: String,
    /// Of the manifest or index the name points to.
    digest: Digest,
    media_type: MediaType,
    /// Of the manifest the rest is about; other than `digest` where that is an index.
    manifest_digest: Digest,
    platform: String,
    platforms: Vec<String>,
    created: Option<String>,
    /// Configuration and layers, in bytes.
    size: u64,
    config: RuntimeConfig,
    labels: Annotations,
    annotations: Annotations,
    layers: Vec<Layer>,
    history: Vec<History>,
    referrers: Vec<Referrer>,
}

#[derive(Debug, Serialize)]
struct Layer {
    digest: Digest,
    size: u64,
    diff_id: Option<DiffId>,
    media_type: MediaType,
}

/// A manifest that says something about this one.
#[derive(Debug, Serialize)]
struct Referrer {
    digest: Digest,
    artifact_type: Option<String>,
    size: u64,
    annotations: Annotations,
    referrers: Vec<Referrer>,
}

/// How deep the tree of referrers is shown.
const MAX_DEPTH: usize = 4;

impl Arguments {
    /// Shows the image.
    pub fn run(&self, session: &Session) -> Result<(), Error> {
        let places = session.places()?;
        let found = places.find(&self.image)?;
        if self.raw {
            return session.ui.bytes(found.document.raw());
        }
        let image = Image::open(&*found.store, &found.document, self.platform.as_ref())?;
        let referrers = referrers(&*found.store, &found.document.digest(), 0)?;
        session.ui.answer("inspect", &inspection(&found, &image, referrers)?)
    }
}

/// Returns what refers to `subject`, each with what refers to it.
fn referrers(store: &dyn ImageStore, subject: &Digest, depth: usize) -> Result<Vec<Referrer>, Error> {
    if depth >= MAX_DEPTH {
        return Ok(Vec::new());
    }
    let tree = |found: Descriptor| {
        let Descriptor { digest, size, artifact_type, annotations, .. } = found;
        let referrers = referrers(store, &digest, depth + 1)?;
        Ok(Referrer { digest, artifact_type, size, annotations, referrers })
    };
    store.referrers(subject)?.into_iter().map(tree).collect()
}

fn inspection(found: &Located, image: &Image, referrers: Vec<Referrer>) -> Result<Inspection, Error> {
    let platforms = image::platforms(&*found.store, &found.document)?;
    let manifest = image.manifest();
    let diff_ids = image.config.rootfs.diff_ids.iter().copied().map(Some).chain(std::iter::repeat(None));
    let layers = manifest.layers.iter().zip(diff_ids).map(|(layer, diff_id)| Layer {
        digest: layer.digest,
        size: layer.size,
        diff_id,
        media_type: layer.media_type.clone(),
    });
    Ok(Inspection {
        name: found.name.to_string(),
        digest: found.document.digest(),
        media_type: found.document.descriptor().media_type.clone(),
        manifest_digest: image.digest(),
        platform: image.config.platform().to_string(),
        platforms: platforms.iter().map(Platform::to_string).collect(),
        created: image.config.created.clone(),
        size: manifest.blobs().map(|blob| blob.size).sum(),
        config: image.config.config.clone(),
        labels: image.config.config.labels.clone().unwrap_or_default(),
        annotations: image.document().annotations().clone(),
        layers: layers.collect(),
        history: image.config.history.clone(),
        referrers,
    })
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = &self.config;
        field(f, "name", &self.name)?;
        field(f, "digest", &self.digest.to_string())?;
        field(f, "type", self.media_type.as_str())?;
        field(f, "platforms", &self.platforms.join(", "))?;
        if self.manifest_digest != self.digest {
            field(f, "shown", &format!("{} {}", self.platform, self.manifest_digest))?;
        }
        field(f, "created", self.created.as_deref().unwrap_or_default())?;
        let layers = if self.layers.len() == 1 { "layer" } else { "layers" };
        field(f, "size", &format!("{} in {} {layers}", quantity::size(self.size), self.layers.len()))?;
        field(f, "entrypoint", &words(config.entrypoint.as_deref()))?;
        field(f, "command", &words(config.cmd.as_deref()))?;
        field(f, "user", &config.user)?;
        field(f, "workdir", &config.working_dir)?;
        let ports = config.exposed_ports.as_ref().map(|ports| ports.0.iter().cloned().collect::<Vec<_>>());
        field(f, "ports", &ports.unwrap_or_default().join(", "))?;
        list(f, "environment", config.env.iter().cloned())?;
        list(f, "labels", self.labels.iter().map(|(key, value)| format!("{key}={value}")))?;
        list(
            f,
            "layers",
            self.layers.iter().map(|layer| format!("{} {}", layer.digest, quantity::size(layer.size))),
        )?;
        list(f, "history", self.history.iter().filter_map(|step| step.created_by.clone()))?;
        let mut lines = Vec::new();
        self.referrers.iter().for_each(|referrer| referrer.lines(0, &mut lines));
        list(f, "referrers", lines.into_iter())
    }
}

impl Referrer {
    /// Adds a line for it and one for each that refers to it, further to the right.
    fn lines(&self, depth: usize, lines: &mut Vec<String>) {
        let kind = self.artifact_type.as_deref().unwrap_or("unknown");
        lines.push(format!("{:depth$}{} {kind}", "", self.digest, depth = 2 * depth));
        self.referrers.iter().for_each(|referrer| referrer.lines(depth + 1, lines));
    }
}

/// Writes one line; nothing where the value is empty.
fn field(f: &mut fmt::Formatter<'_>, name: &str, value: &str) -> fmt::Result {
    if value.is_empty() { Ok(()) } else { writeln!(f, "{name:<12} {value}") }
}

fn list(f: &mut fmt::Formatter<'_>, name: &str, values: impl Iterator<Item = String>) -> fmt::Result {
    let mut heading = name;
    for value in values {
        writeln!(f, "{heading:<12} {}", value.escape_debug())?;
        heading = "";
    }
    Ok(())
}

/// Returns a command line as JSON: what is one word stays one word.
fn words(words: Option<&[String]>) -> String {
    words.map(|words| serde_json::to_string(words).expect("strings are JSON")).unwrap_or_default()
}
