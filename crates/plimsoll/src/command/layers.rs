//! `layers`: what each layer of an image holds, and what is stored for nothing.

use std::fmt;

use layer::{Entry, LayerIndex};
use oci::{Digest, ImageConfig, Platform};
use pipeline::image::Image;
use pipeline::place::Place;
use scanner::Efficiency;
use serde::Serialize;

use crate::error::Error;
use crate::session::Session;
use crate::ui::quantity;
use crate::ui::table::{Align, Table};
use crate::workbench::Workbench;

/// So many wasteful files are listed as text.
const SHOWN_FILES: usize = 20;

/// Shows the layers of an image and the bytes that are stored for nothing
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ plimsoll layers local/api:main
  $ plimsoll layers ghcr.io/acme/api:main --base-layers 3 --format json | jq .wasted_bytes")]
pub struct Arguments {
    /// The image
    #[arg(value_name = "REF")]
    image: Place,
    /// Which image of an index [default: this machine's, else the only one]
    #[arg(long, value_name = "OS/ARCHITECTURE")]
    platform: Option<Platform>,
    /// How many layers came with the base image
    #[arg(long, value_name = "NUMBER", default_value = "0")]
    base_layers: usize,
}

#[derive(Debug, Serialize)]
struct Report {
    image: String,
    digest: Digest,
    layers: Vec<Layer>,
    #[serde(flatten)]
    efficiency: Efficiency,
}

#[derive(Debug, Serialize)]
struct Layer {
    digest: Digest,
    /// Of the blob, in bytes.
    size: u64,
    /// Of the tar, in bytes.
    uncompressed_size: u64,
    entries: usize,
    instruction: String,
}

impl Arguments {
    /// Shows the layers.
    pub fn run(&self, session: &Session) -> Result<(), Error> {
        let workbench = Workbench::open(session)?;
        let found = workbench.places().find(&self.image)?;
        let image = Image::open(&*found.store, &found.document, self.platform.as_ref())?;
        let indexes = workbench.engine().layer_indexes(&*found.store, image.document())?;
        let entries: Vec<&[Entry]> = indexes.iter().map(|index| index.entries.as_slice()).collect();
        let layers = indexes.iter().map(|index| &**index).zip(&image.manifest().layers);
        let instructions = instructions(&image.config).chain(std::iter::repeat(String::new()));
        let layer = |((index, blob), instruction): ((&LayerIndex, &oci::Descriptor), String)| Layer {
            digest: blob.digest,
            size: blob.size,
            uncompressed_size: index.size,
            entries: index.entries.len(),
            instruction,
        };
        session.ui.answer(
            "layers",
            &Report {
                image: found.name.to_string(),
                digest: image.digest(),
                layers: layers.zip(instructions).map(layer).collect(),
                efficiency: Efficiency::of(&entries, self.base_layers),
            },
        )
    }
}

/// Returns the instruction of each step that made a layer.
fn instructions(config: &ImageConfig) -> impl Iterator<Item = String> {
    let steps = config.history.iter().filter(|step| !step.empty_layer);
    steps.map(|step| step.created_by.clone().unwrap_or_default())
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(&[
            ("LAYER", Align::Left),
            ("SIZE", Align::Right),
            ("UNPACKED", Align::Right),
            ("FILES", Align::Right),
            ("INSTRUCTION", Align::Left),
        ]);
        for layer in &self.layers {
            table.row(vec![
                layer.digest.short(12),
                quantity::size(layer.size),
                quantity::size(layer.uncompressed_size),
                layer.entries.to_string(),
                one_line(&layer.instruction),
            ]);
        }
        writeln!(f, "{table}")?;
        let Efficiency { score, wasted_bytes, reclaimable_bytes, files, .. } = &self.efficiency;
        writeln!(f, "efficiency   {:.1} %", score * 100.0)?;
        writeln!(f, "wasted       {}", quantity::size(*wasted_bytes))?;
        writeln!(f, "reclaimable  {}", quantity::size(*reclaimable_bytes))?;
        for file in files.iter().filter(|file| file.stored_bytes > 0).take(SHOWN_FILES) {
            let times = file.occurrences;
            writeln!(
                f,
                "{:>12}  {} in {times} layers",
                quantity::size(file.stored_bytes),
                file.path.escape_debug()
            )?;
        }
        Ok(())
    }
}

/// Returns the start of an instruction, on one line and without what a terminal would obey.
fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line: String = words.join(" ").chars().filter(|character| !character.is_control()).collect();
    match line.char_indices().nth(70) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}
