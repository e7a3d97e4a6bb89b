//! The forms that names and labels are printed and handed over in.
//!
//! Names of outputs and variables are docker/metadata-action's, so that a workflow which reads those
//! reads these. Source: its action.yml, "outputs".

use std::path::{Path, PathBuf};

use pipeline::forge::Outputs;
use pipeline::identity::docker::{BakePart, Metadata};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::Error;

/// Why documents can be written.
const PLAIN: &str = "documents have only string keys";

/// What is put between several values of one output.
#[derive(Clone, Debug, clap::Args)]
pub struct Separators {
    /// Between tags in outputs and variables [default: a line end]
    #[arg(long, value_name = "TEXT", default_value = "\n", hide_default_value = true)]
    sep_tags: String,
    /// Between labels in outputs and variables [default: a line end]
    #[arg(long, value_name = "TEXT", default_value = "\n", hide_default_value = true)]
    sep_labels: String,
    /// Between annotations in outputs and variables [default: a line end]
    #[arg(long, value_name = "TEXT", default_value = "\n", hide_default_value = true)]
    sep_annotations: String,
}

/// An image's names, and what they are called themselves.
pub struct Named {
    /// The version for people.
    pub version: String,
    /// Tags, labels, annotations.
    pub metadata: Metadata,
}

impl Named {
    /// Returns the outputs of docker/metadata-action; `files` are the bake files, by output.
    pub fn outputs(&self, separators: &Separators, files: &[(&str, PathBuf)]) -> Outputs {
        let Self { version, metadata } = self;
        let lines = |pairs: &[(String, String)]| -> Vec<String> {
            pairs.iter().map(|(key, value)| format!("{key}={value}")).collect()
        };
        let names: Vec<&str> = metadata.tag_names().map(oci::Tag::as_str).collect();
        let mut outputs = vec![
            ("version".to_owned(), version.clone()),
            ("tags".to_owned(), metadata.tags().join(&separators.sep_tags)),
            ("tag-names".to_owned(), names.join(&separators.sep_tags)),
            ("labels".to_owned(), lines(&metadata.labels).join(&separators.sep_labels)),
            ("annotations".to_owned(), metadata.levelled_annotations().join(&separators.sep_annotations)),
            ("json".to_owned(), serde_json::to_string(&metadata.documents().json()).expect(PLAIN)),
        ];
        outputs.extend(files.iter().map(|(name, path)| ((*name).to_owned(), path.display().to_string())));
        Outputs(outputs)
    }

    /// Writes the bake files into `folder`; returns them by output.
    pub fn write_bake_files(&self, folder: &Path) -> Result<Vec<(&'static str, PathBuf)>, Error> {
        let parts = [
            ("bake-file-tags", BakePart::Tags, "-tags"),
            ("bake-file-labels", BakePart::Labels, "-labels"),
            ("bake-file-annotations", BakePart::Annotations, "-annotations"),
            ("bake-file", BakePart::All, ""),
        ];
        std::fs::create_dir_all(folder).map_err(|source| Error::file("make the folder", folder, source))?;
        let mut files = Vec::new();
        for (output, part, suffix) in parts {
            let path = folder.join(format!("docker-metadata-action-bake{suffix}.json"));
            let text = pretty(&self.metadata.documents().bake(part));
            std::fs::write(&path, text).map_err(|source| Error::file("write", &path, source))?;
            files.push((output, path));
        }
        Ok(files)
    }

    /// Returns the arguments of `docker build` that name and label the image, quoted for a shell.
    pub fn build_arguments(&self) -> String {
        let Self { metadata, .. } = self;
        let mut words = Vec::new();
        let mut add = |flag: &str, value: &str| words.extend([flag.to_owned(), quoted(value)]);
        metadata.tags().iter().for_each(|tag| add("--tag", tag));
        metadata.labels.iter().for_each(|(key, value)| add("--label", &format!("{key}={value}")));
        metadata.levelled_annotations().iter().for_each(|annotation| add("--annotation", annotation));
        words.join(" ")
    }
}

/// Returns outputs as variables: `tag-names` is `DOCKER_METADATA_OUTPUT_TAG_NAMES`.
pub fn variables(outputs: &Outputs) -> Outputs {
    let name = |name: &str| format!("DOCKER_METADATA_OUTPUT_{}", name.replace('-', "_").to_uppercase());
    Outputs(outputs.0.iter().map(|(output, value)| (name(output), value.clone())).collect())
}

/// Returns one assignment a line, for a POSIX shell.
pub fn assignments(variables: &Outputs) -> String {
    variables.0.iter().map(|(name, value)| format!("{name}={}\n", always_quoted(value))).collect()
}

/// Returns one bake file that has the targets of all.
pub fn bake_file<'a>(named: impl Iterator<Item = &'a Named>) -> String {
    let mut targets = Map::new();
    for Named { metadata, .. } in named {
        let mut file = serde_json::to_value(metadata.documents().bake(BakePart::All)).expect(PLAIN);
        if let Some(Value::Object(target)) = file.get_mut("target").map(Value::take) {
            targets.extend(target);
        }
    }
    pretty(&serde_json::json!({ "target": targets }))
}

fn pretty(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value).expect(PLAIN);
    text.push('\n');
    text
}

/// Returns a word as a POSIX shell takes it; quotes only where they are needed.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@+,%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) { word.to_owned() } else { always_quoted(word) }
}

/// Returns a word in single quotes, as a POSIX shell takes it.
pub fn always_quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}
