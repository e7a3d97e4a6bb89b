//! `inspect`: everything a manifest and its configuration say, of an image or of anything else.

use std::fmt;

use oci::{
    Annotations, Descriptor, DiffId, Digest, History, MediaType, Platform, RuntimeConfig, annotations,
};
use pipeline::content::{self, Content};
use pipeline::image::{self, Image};
use pipeline::place::{Located, Place};
use serde::Serialize;
use serde_json::Value;
use store::{Company, ImageStore};

use super::side::NameSide;
use crate::error::Error;
use crate::session::Session;
use crate::ui::quantity;

/// Shows what an image or artifact is: platforms, configuration, labels, layers, history, what refers to it
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ plimsoll inspect local/debian:12
  $ plimsoll inspect ghcr.io/acme/api:main --platform linux/arm64 --format json
  $ plimsoll inspect ghcr.io/acme/charts/api:1.2
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
    #[command(flatten)]
    side: NameSide,
}

#[derive(Debug, Serialize)]
struct Inspection {
    name: String,
    /// Of the manifest or index the name points to.
    digest: Digest,
    media_type: MediaType,
    /// What an artifact says it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    /// What it says something about.
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<Digest>,
    /// Of the manifest the rest is about; other than `digest` where that is an index.
    manifest_digest: Digest,
    #[serde(skip_serializing_if = "Option::is_none")]
    config_media_type: Option<MediaType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<String>,
    platforms: Vec<String>,
    /// What an index lists; empty for a manifest.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    manifests: Vec<Part>,
    created: Option<String>,
    /// Configuration and layers, in bytes.
    size: u64,
    config: Config,
    labels: Annotations,
    annotations: Annotations,
    layers: Vec<Layer>,
    history: Vec<History>,
    referrers: Vec<Referrer>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Config {
    Image(Box<RuntimeConfig>),
    /// Of an artifact whatever it is, where it is JSON; else null.
    Other(Value),
}

#[derive(Debug, Serialize)]
struct Layer {
    digest: Digest,
    size: u64,
    diff_id: Option<DiffId>,
    media_type: MediaType,
    #[serde(skip_serializing_if = "Annotations::is_empty")]
    annotations: Annotations,
}

/// A child of an index.
#[derive(Debug, Serialize)]
struct Part {
    digest: Digest,
    size: u64,
    media_type: MediaType,
    platform: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    #[serde(skip_serializing_if = "Annotations::is_empty")]
    annotations: Annotations,
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

/// So many characters of an artifact's configuration are shown as text.
const SHOWN_CONFIG: usize = 300;
/// How deep the tree of referrers is shown.
const MAX_DEPTH: usize = 4;

impl Arguments {
    /// Shows the image.
    pub fn run(&self, session: &Session) -> Result<(), Error> {
        let places = session.places()?;
        let found = self.side.find(session, &places, &self.image, Company::Alone)?;
        if self.raw {
            return session.ui.bytes(found.document.raw());
        }
        let content = Content::open(&*found.store, &found.document, self.platform.as_ref())?;
        let mut shown = Inspection::of(&found, &content);
        if let Content::Image(image) = &content {
            shown.describe(image);
            shown.platforms =
                image::platforms(&*found.store, &found.document)?.iter().map(Platform::to_string).collect();
        }
        shown.referrers = referrers(&*found.store, &found.document.digest(), 0)?;
        session.ui.answer("inspect", &shown)
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

impl Inspection {
    /// Returns what every manifest and index says.
    fn of(found: &Located, content: &Content) -> Self {
        let document = content.document();
        let manifest = document.as_image();
        let index = found.document.as_index();
        let children = index.map(|index| index.manifests.as_slice()).unwrap_or_default();
        let blobs = document.as_artifact().map(|artifact| artifact.blobs.as_slice());
        let layers = manifest.map(|manifest| manifest.layers.as_slice()).or(blobs).unwrap_or_default();
        let config = match content {
            Content::Image(image) => Config::Image(Box::new(image.config.config.clone())),
            Content::Artifact(artifact) => Config::Other(artifact.config.clone().unwrap_or_default()),
            Content::Index(_) => Config::Other(Value::Null),
        };
        let platforms = children.iter().filter_map(|child| child.platform.as_ref());
        let platforms = platforms.filter(|platform| platform.os != "unknown").map(Platform::to_string);
        Self {
            name: found.name.to_string(),
            digest: found.document.digest(),
            media_type: found.document.descriptor().media_type.clone(),
            artifact_type: content::artifact_type(document),
            subject: document.subject().map(|subject| subject.digest),
            manifest_digest: document.digest(),
            config_media_type: manifest.map(|manifest| manifest.config.media_type.clone()),
            platform: None,
            platforms: platforms.collect(),
            manifests: children.iter().map(Part::from).collect(),
            created: document.annotations().get(annotations::CREATED).cloned(),
            size: content.parts().iter().map(|part| part.size).sum(),
            config,
            labels: Annotations::new(),
            annotations: document.annotations().clone(),
            layers: layers.iter().map(Layer::from).collect(),
            history: Vec::new(),
            referrers: Vec::new(),
        }
    }

    /// Adds what the configuration of an image says.
    fn describe(&mut self, image: &Image) {
        let config = &image.config;
        for (layer, diff_id) in self.layers.iter_mut().zip(&config.rootfs.diff_ids) {
            layer.diff_id = Some(*diff_id);
        }
        self.platform = Some(config.platform().to_string());
        self.created.clone_from(&config.created);
        self.labels = config.config.labels.clone().unwrap_or_default();
        self.history.clone_from(&config.history);
    }
}

impl From<&Descriptor> for Layer {
    fn from(layer: &Descriptor) -> Self {
        let Descriptor { digest, size, media_type, annotations, .. } = layer.clone();
        Self { digest, size, diff_id: None, media_type, annotations }
    }
}

impl From<&Descriptor> for Part {
    fn from(part: &Descriptor) -> Self {
        let Descriptor { digest, size, media_type, platform, artifact_type, annotations, .. } = part.clone();
        let platform = platform.map(|platform| platform.to_string());
        Self { digest, size, media_type, platform, artifact_type, annotations }
    }
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        field(f, "name", &self.name)?;
        field(f, "digest", &self.digest.to_string())?;
        field(f, "type", self.media_type.as_str())?;
        field(f, "artifact", self.artifact_type.as_deref().unwrap_or_default())?;
        field(f, "subject", &self.subject.map(|subject| subject.to_string()).unwrap_or_default())?;
        field(f, "platforms", &self.platforms.join(", "))?;
        if self.manifest_digest != self.digest {
            let platform = self.platform.as_deref().unwrap_or("artifact");
            field(f, "shown", &format!("{platform} {}", self.manifest_digest))?;
        }
        field(f, "created", self.created.as_deref().unwrap_or_default())?;
        if self.config_media_type.is_some() {
            let layers = if self.layers.len() == 1 { "layer" } else { "layers" };
            field(f, "size", &format!("{} in {} {layers}", quantity::size(self.size), self.layers.len()))?;
        }
        match &self.config {
            Config::Image(config) => run(f, config)?,
            Config::Other(config) => {
                let media_type = self.config_media_type.as_ref().map(MediaType::as_str).unwrap_or_default();
                field(f, "config type", media_type)?;
                field(f, "config", &one_line(config))?;
                list(f, "children", self.manifests.iter().map(Part::line))?;
            }
        }
        let pair = |(key, value): (&String, &String)| format!("{key}={value}");
        list(f, "labels", self.labels.iter().map(pair))?;
        list(f, "annotations", self.annotations.iter().map(pair))?;
        list(f, "layers", self.layers.iter().map(Layer::line))?;
        list(f, "history", self.history.iter().filter_map(|step| step.created_by.clone()))?;
        let mut lines = Vec::new();
        self.referrers.iter().for_each(|referrer| referrer.lines(0, &mut lines));
        list(f, "referrers", lines.into_iter())
    }
}

/// Writes how an image is run.
fn run(f: &mut fmt::Formatter<'_>, config: &RuntimeConfig) -> fmt::Result {
    field(f, "entrypoint", &words(config.entrypoint.as_deref()))?;
    field(f, "command", &words(config.cmd.as_deref()))?;
    field(f, "user", &config.user)?;
    field(f, "workdir", &config.working_dir)?;
    let ports = config.exposed_ports.as_ref().map(|ports| ports.0.iter().cloned().collect::<Vec<_>>());
    field(f, "ports", &ports.unwrap_or_default().join(", "))?;
    list(f, "environment", config.env.iter().cloned())
}

/// Returns the start of a configuration; nothing of an empty one.
fn one_line(config: &Value) -> String {
    match config {
        Value::Null => String::new(),
        Value::Object(fields) if fields.is_empty() => String::new(),
        config => {
            let text = config.to_string();
            let start: String = text.chars().take(SHOWN_CONFIG).collect();
            if start.len() < text.len() { format!("{start}...") } else { text }
        }
    }
}

impl Layer {
    /// Layers of files are told by size; of others the type and the name they carry are said too.
    fn line(&self) -> String {
        let size = quantity::size(self.size);
        if self.media_type.layer_compression().is_some() {
            return format!("{} {size}", self.digest);
        }
        let title = self.annotations.get(annotations::TITLE).map(|title| format!(" {title}"));
        format!("{} {size} {}{}", self.digest, self.media_type, title.unwrap_or_default())
    }
}

impl Part {
    fn line(&self) -> String {
        let what = self.platform.as_deref().or(self.artifact_type.as_deref());
        let what = what.unwrap_or_else(|| self.media_type.as_str());
        format!("{} {} {what}", self.digest, quantity::size(self.size))
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
