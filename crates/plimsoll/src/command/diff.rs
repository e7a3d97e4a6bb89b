//! `diff`: what two images have in common and where they differ.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use layer::{Entry, Kind, Tree};
use oci::{Digest, ImageConfig, Platform};
use pipeline::content::{self, Content};
use pipeline::image::Image;
use pipeline::place::Place;
use serde::Serialize;
use serde_json::Value;

use crate::error::{Code, Error};
use crate::session::Session;
use crate::ui::quantity;
use crate::workbench::Workbench;

/// So many files are listed as text.
const SHOWN_FILES: usize = 50;

/// Compares two images or artifacts: configuration, layers, files
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ plimsoll diff local/api:1 local/api:2
  $ plimsoll diff ghcr.io/acme/api:main local/api:main --format json | jq -r '.files[].path'
  $ plimsoll diff --no-files ghcr.io/acme/api:1 ghcr.io/acme/api:2
  $ plimsoll diff -q --exit-code local/api:1 ghcr.io/acme/api:main")]
pub struct Arguments {
    /// The one image
    #[arg(value_name = "A")]
    before: Place,
    /// The other one
    #[arg(value_name = "B")]
    after: Place,
    /// Which images of indexes [default: this machine's, else the only one]
    #[arg(long, value_name = "OS/ARCHITECTURE")]
    platform: Option<Platform>,
    /// Does not look into the layers, which are not fetched then
    #[arg(long)]
    no_files: bool,
    /// Exit code 8 where they are not the same image
    #[arg(long)]
    exit_code: bool,
}

#[derive(Debug, Serialize)]
struct Comparison {
    before: Digest,
    after: Digest,
    /// Whether both are the same image.
    same: bool,
    config: Vec<Change<Value>>,
    layers: Layers,
    /// Absent where nobody looked, or where there are no files to look at.
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<Vec<Change<String>>>,
}

/// Something that is on one side alone, or different on the two.
#[derive(Debug, Serialize)]
struct Change<T> {
    path: String,
    before: Option<T>,
    after: Option<T>,
}

#[derive(Debug, Serialize)]
struct Layers {
    /// Layers that both have.
    shared: usize,
    shared_bytes: u64,
    /// Sum of the sizes of those that only the first has.
    before_bytes: u64,
    /// Sum of the sizes of those that only the second has: what a pull of it on top of the first costs.
    after_bytes: u64,
}

impl Arguments {
    /// Compares the images.
    pub fn run(&self, session: &Session) -> Result<(), Error> {
        let workbench = Workbench::open(session)?;
        let open = |place| -> Result<_, Error> {
            let found = workbench.places().find(place)?;
            let content = Content::open(&*found.store, &found.document, self.platform.as_ref())?;
            Ok((found, content))
        };
        let ((first, before), (second, after)) = (open(&self.before)?, open(&self.after)?);
        let files = match (before.as_image(), after.as_image()) {
            (Some(before), Some(after)) if !self.no_files => {
                let tree = |store, image: &Image| -> Result<_, Error> {
                    Ok(Tree::new(&workbench.engine().layer_indexes(store, image.document())?))
                };
                Some(changes(&facts(&tree(&*first.store, before)?), &facts(&tree(&*second.store, after)?)))
            }
            _ => None,
        };
        let digests = (before.document().digest(), after.document().digest());
        let same = digests.0 == digests.1;
        session.ui.answer(
            "diff",
            &Comparison {
                before: digests.0,
                after: digests.1,
                same,
                config: changes(&settings(&before), &settings(&after)),
                layers: Layers::of(&before, &after),
                files,
            },
        )?;
        match self.exit_code && !same {
            true => Err(Error::Reported(Code::Found)),
            false => Ok(()),
        }
    }
}

/// Returns what the manifest and its configuration say as one value for each name: variables, labels and
/// annotations each have their own.
fn settings(content: &Content) -> BTreeMap<String, Value> {
    let document = content.document();
    let mut settings = BTreeMap::new();
    let kind = content::artifact_type(document);
    settings.extend(kind.map(|kind| ("artifact_type".to_owned(), kind.into())));
    let subject = document.subject().map(|subject| subject.digest.to_string());
    settings.extend(subject.map(|subject| ("subject".to_owned(), subject.into())));
    let annotations = document.annotations().iter();
    settings.extend(annotations.map(|(key, value)| (format!("annotations.{key}"), value.clone().into())));
    match content {
        Content::Image(image) => of_image(&image.config, &mut settings),
        Content::Artifact(artifact) => match &artifact.config {
            Some(Value::Object(fields)) => settings.extend(fields.clone()),
            config => settings.extend(config.clone().map(|config| ("config".to_owned(), config))),
        },
        Content::Index(_) => {}
    }
    settings
}

fn of_image(config: &ImageConfig, settings: &mut BTreeMap<String, Value>) {
    settings.insert("platform".to_owned(), config.platform().to_string().into());
    settings.extend(config.created.clone().map(|created| ("created".to_owned(), created.into())));
    let Ok(Value::Object(fields)) = serde_json::to_value(&config.config) else { return };
    for (name, value) in fields {
        match (name.as_str(), value) {
            ("Env", Value::Array(variables)) => {
                for variable in variables.iter().filter_map(Value::as_str) {
                    let (key, value) = variable.split_once('=').unwrap_or((variable, ""));
                    settings.insert(format!("Env.{key}"), value.into());
                }
            }
            ("Labels", Value::Object(labels)) => {
                settings.extend(labels.into_iter().map(|(key, value)| (format!("Labels.{key}"), value)));
            }
            (_, value) => {
                settings.insert(name, value);
            }
        }
    }
}

/// Returns what is known of each file, in words. Times are left out: they say nothing about content.
fn facts(tree: &Tree) -> BTreeMap<String, String> {
    let known = tree.walk(b"").filter(|(path, _)| !path.is_empty());
    known.map(|(path, node)| (String::from_utf8_lossy(&path).into_owned(), fact(&node.content))).collect()
}

fn fact(entry: &Entry) -> String {
    let kind = match &entry.kind {
        Kind::File { size, digest, .. } => {
            let digest = digest.map(|digest| digest.short(12)).unwrap_or_default();
            format!("file {size} {digest}")
        }
        Kind::Directory => "folder".to_owned(),
        Kind::Symlink(target) => format!("link to {}", String::from_utf8_lossy(target)),
        Kind::Hardlink(target) => format!("name of {}", String::from_utf8_lossy(target)),
        Kind::CharDevice { major, minor } => format!("character device {major}:{minor}"),
        Kind::BlockDevice { major, minor } => format!("block device {major}:{minor}"),
        Kind::Fifo => "pipe".to_owned(),
        Kind::Whiteout | Kind::Opaque => "removal".to_owned(),
    };
    format!("{kind} {:04o} {}:{}", entry.mode, entry.uid, entry.gid)
}

fn changes<T: Clone + PartialEq>(
    before: &BTreeMap<String, T>,
    after: &BTreeMap<String, T>,
) -> Vec<Change<T>> {
    let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let different = paths.into_iter().filter(|path| before.get(*path) != after.get(*path));
    let change = |path: &String| Change {
        path: path.clone(),
        before: before.get(path).cloned(),
        after: after.get(path).cloned(),
    };
    different.map(change).collect()
}

impl Layers {
    /// Compares the layers of two manifests; of indexes the children.
    fn of(before: &Content, after: &Content) -> Self {
        let sizes = |content: &Content| -> BTreeMap<Digest, u64> {
            let config = usize::from(content.document().as_image().is_some());
            content.parts().iter().skip(config).map(|part| (part.digest, part.size)).collect()
        };
        let (before, after) = (sizes(before), sizes(after));
        let sum = |ours: &BTreeMap<Digest, u64>, theirs: &BTreeMap<Digest, u64>, shared: bool| {
            ours.iter()
                .filter(|(digest, _)| theirs.contains_key(digest) == shared)
                .map(|(_, size)| size)
                .sum()
        };
        Self {
            shared: before.keys().filter(|digest| after.contains_key(digest)).count(),
            shared_bytes: sum(&before, &after, true),
            before_bytes: sum(&before, &after, false),
            after_bytes: sum(&after, &before, false),
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.same {
            return writeln!(f, "both are {}", self.before);
        }
        writeln!(f, "{} and {}", self.before, self.after)?;
        for change in &self.config {
            let show = |value: &Option<Value>| value.as_ref().map_or("nothing".to_owned(), Value::to_string);
            writeln!(f, "{}: {} became {}", change.path, show(&change.before), show(&change.after))?;
        }
        let Layers { shared, shared_bytes, before_bytes, after_bytes } = &self.layers;
        writeln!(
            f,
            "{shared} layers shared, {}; {} only in the first, {} only in the second",
            quantity::size(*shared_bytes),
            quantity::size(*before_bytes),
            quantity::size(*after_bytes)
        )?;
        let Some(files) = &self.files else { return Ok(()) };
        for change in files.iter().take(SHOWN_FILES) {
            match (&change.before, &change.after) {
                (None, Some(after)) => writeln!(f, "A {} {after}", change.path.escape_debug())?,
                (Some(_), None) => writeln!(f, "D {}", change.path.escape_debug())?,
                (Some(before), Some(after)) => {
                    writeln!(f, "C {} {before} -> {after}", change.path.escape_debug())?;
                }
                (None, None) => {}
            }
        }
        match files.len().saturating_sub(SHOWN_FILES) {
            0 => writeln!(f, "{}", quantity::count(files.len() as u64, "file differs", "files differ")),
            more => writeln!(f, "and {more} more; {} files differ (all with --format json)", files.len()),
        }
    }
}
