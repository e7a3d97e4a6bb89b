//! How a copy goes: one live bar on a terminal, one line for each blob that moved elsewhere.

use indicatif::{ProgressBar, ProgressStyle as BarStyle};
use serde::Serialize;
use store::Put;
use store::copy::CopyEvent;

use super::{Ui, quantity};
use crate::cli::ProgressStyle;

/// Shows one copy; the bar goes when this is dropped.
pub struct Transfer {
    ui: Ui,
    name: String,
    bar: Option<ProgressBar>,
}

/// An event of a copy on the wire.
#[derive(Debug, Serialize)]
#[serde(tag = "progress", rename_all = "snake_case")]
enum Event<'a> {
    CopyPlanned { name: &'a str, blobs: usize, bytes: u64 },
    BlobStarted { name: &'a str, digest: String, bytes: u64 },
    BlobDone { name: &'a str, digest: String, bytes: u64, moved: bool },
    BlobLeftOut { name: &'a str, digest: String, bytes: u64 },
    DocumentDone { name: &'a str, digest: String },
}

impl Transfer {
    /// Returns what shows the copy of `name`.
    pub fn new(ui: &Ui, name: impl Into<String>) -> Self {
        let name = name.into();
        let bar = (ui.progress == ProgressStyle::Tty).then(|| {
            let style = BarStyle::with_template("{msg} {bar:24} {bytes} of {total_bytes}");
            let style = style.expect("the template is a literal").progress_chars("=> ");
            ui.live.add(ProgressBar::new(0).with_style(style).with_message(name.clone()))
        });
        Self { ui: ui.clone(), name, bar }
    }

    /// Takes note of an event.
    pub fn observe(&self, event: CopyEvent<'_>) {
        match (self.ui.progress, &self.bar) {
            (_, Some(bar)) => advance(bar, &event),
            (ProgressStyle::Plain, _) => self.tell(&event),
            (ProgressStyle::Json, _) => self.ui.event(&self.event(&event)),
            _ => {}
        }
    }

    fn tell(&self, event: &CopyEvent<'_>) {
        let name = &self.name;
        match event {
            CopyEvent::Planned { blobs, bytes } => {
                let blobs = quantity::count(*blobs as u64, "blob", "blobs");
                self.ui.note(format_args!("{name}: {blobs}, {}", quantity::size(*bytes)));
            }
            CopyEvent::BlobDone { blob, put: Put::Written } => {
                let size = quantity::size(blob.size);
                self.ui.note(format_args!("{name}: blob {} copied, {size}", blob.digest.short(12)));
            }
            CopyEvent::BlobLeftOut(blob) => {
                let size = quantity::size(blob.size);
                self.ui.note(format_args!("{name}: blob {} left out, {size}", blob.digest.short(12)));
            }
            _ => {}
        }
    }

    fn event(&self, event: &CopyEvent<'_>) -> Event<'_> {
        let name = &self.name;
        match event {
            CopyEvent::Planned { blobs, bytes } => Event::CopyPlanned { name, blobs: *blobs, bytes: *bytes },
            CopyEvent::BlobStarted(blob) => {
                Event::BlobStarted { name, digest: blob.digest.to_string(), bytes: blob.size }
            }
            CopyEvent::BlobDone { blob, put } => {
                let moved = *put == Put::Written;
                Event::BlobDone { name, digest: blob.digest.to_string(), bytes: blob.size, moved }
            }
            CopyEvent::BlobLeftOut(blob) => {
                Event::BlobLeftOut { name, digest: blob.digest.to_string(), bytes: blob.size }
            }
            CopyEvent::DocumentDone(document) => {
                Event::DocumentDone { name, digest: document.digest.to_string() }
            }
        }
    }
}

fn advance(bar: &ProgressBar, event: &CopyEvent<'_>) {
    match event {
        CopyEvent::Planned { bytes, .. } => bar.set_length(*bytes),
        CopyEvent::BlobDone { blob, .. } => bar.inc(blob.size),
        _ => {}
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
