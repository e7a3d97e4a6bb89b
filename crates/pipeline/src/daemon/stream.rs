//! Layers into Docker's own stores, which know an image by its configuration: they get them without their compression.
//!
//! `docker load` writes an archive down before it begins to unpack it. `docker import` does not: it unpacks a layer while it
//! arrives, but only one that lies on no other. So the lowest layer goes by import, while the archive of the others is
//! written down beside it. The end of that archive is kept back until the lowest layer is there; the daemon then finds that
//! one by the digest of what it holds, and never looks for it in the archive.
//!
//! Source: moby, daemon/images/image_import.go, image/tarexport/load.go; Docker image specification v1.2, "Combined Image
//! JSON + Filesystem Changeset Format".

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use layer::{Entry, LayerError, TarWriter};
use oci::Digest;
use serde::{Deserialize, Serialize};

use super::exchange::Upload;
use super::plain::{LARGE_BYTES, Plain};
use super::{Daemon, DaemonError, LOAD, Parcel, QUESTION_TIMEOUT, archive_failed};

const IMPORT: &str = "POST /images/create?fromSrc=-";
const MAX_CONFIG_BYTES: u64 = 8 << 20;

/// An entry of `manifest.json`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

impl Daemon {
    /// Sends an image whose layers are `layers`, without those whose blobs are in `omit`; returns how many bytes went.
    pub(super) fn stream(
        &self,
        parcel: &Parcel<'_>,
        layers: &[Plain],
        omit: &BTreeSet<Digest>,
    ) -> Result<u64, DaemonError> {
        let lowest = layers.first().filter(|lowest| is_for_import(lowest, layers, omit));
        let is_in_archive = |layer: &Plain| {
            !omit.contains(&layer.packed.digest)
                && lowest.is_none_or(|lowest| lowest.diff_id != layer.diff_id)
        };
        let is_lost = AtomicBool::new(false);
        let mut imported = None;
        let sent = std::thread::scope(|scope| {
            let import = lowest.map(|lowest| {
                let import =
                    || self.import(parcel, lowest).inspect_err(|_| is_lost.store(true, Ordering::Relaxed));
                std::thread::Builder::new().spawn_scoped(scope, import)
            });
            let import =
                import.transpose().map_err(|error| archive_failed(parcel.manifest.digest(), error))?;
            self.upload(LOAD, |upload| {
                let written = write(parcel, layers, is_in_archive, &is_lost, upload);
                if let Some(import) = import {
                    imported = Some(import.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
                }
                written
            })
        });
        if let Some((id, _)) = &imported {
            // The layer stays with the image that has it. Where none has, it goes with this one.
            let _ = self.ask(&format!("DELETE /images/{id}?noprune=1"), QUESTION_TIMEOUT);
        }
        Ok(sent?.1 + imported.map_or(0, |(_, sent)| sent))
    }

    /// Has the daemon make an image of one layer; returns its id and how many bytes went.
    fn import(&self, parcel: &Parcel<'_>, layer: &Plain) -> Result<(String, u64), DaemonError> {
        let (answer, sent) = self.upload(IMPORT, |upload| {
            let written = layer.write(parcel.source, &AtomicBool::new(false), upload);
            written.map_err(|error| archive_failed(layer.packed.digest, error))
        })?;
        let id = imported_id(&answer.body).ok_or_else(|| DaemonError::Refused {
            socket: self.socket.clone(),
            request: IMPORT.to_owned(),
            status: answer.status,
            message: String::from_utf8_lossy(&answer.body).trim().chars().take(2000).collect(),
        })?;
        Ok((id, sent))
    }
}

/// Whether the lowest layer is to go alone: the daemon has nothing, and it is worth another request.
fn is_for_import(lowest: &Plain, layers: &[Plain], omit: &BTreeSet<Digest>) -> bool {
    let is_again_above = layers[1..].iter().any(|layer| layer.diff_id == lowest.diff_id);
    omit.is_empty() && !is_again_above && lowest.packed.size >= LARGE_BYTES
}

/// Returns the id in the messages about an import.
fn imported_id(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Message {
        status: Option<String>,
    }
    let messages = serde_json::Deserializer::from_slice(body).into_iter::<Message>().map_while(Result::ok);
    messages.filter_map(|message| message.status).filter(|status| status.parse::<Digest>().is_ok()).last()
}

/// Writes the archive, the layers as they are inside.
fn write(
    parcel: &Parcel<'_>,
    layers: &[Plain],
    is_in_archive: impl Fn(&Plain) -> bool,
    is_lost: &AtomicBool,
    upload: &mut Upload,
) -> Result<(), DaemonError> {
    let (config, name) = configuration(parcel)?;
    let listed = Listed {
        config: name.clone(),
        repo_tags: parcel.names.iter().map(|(name, _)| name.clone()).collect(),
        layers: layers.iter().map(path).collect(),
    };
    let list = serde_json::to_vec(&[listed]).expect("lists have only string keys");
    let mut tar = TarWriter::new(upload);
    let written = (|| -> Result<(), LayerError> {
        for (name, content) in [("manifest.json", list), (&name, config)] {
            tar.append_with(&Entry::member(name, content.len() as u64), |output| output.write_all(&content))?;
        }
        let mut written = BTreeSet::new();
        for layer in layers.iter().filter(|layer| is_in_archive(layer)) {
            if written.insert(layer.diff_id) {
                let entry = Entry::member(&path(layer), layer.bytes);
                tar.append_with(&entry, |output| layer.write(parcel.source, is_lost, output))?;
            }
        }
        tar.finish().map(drop)
    })();
    written.map_err(|error| archive_failed(parcel.manifest.digest(), error))
}

/// Returns the image's configuration and its name in the archive.
fn configuration(parcel: &Parcel<'_>) -> Result<(Vec<u8>, String), DaemonError> {
    let failed = |error| archive_failed(parcel.manifest.digest(), error);
    let image = parcel.manifest.as_image().ok_or_else(|| failed(std::io::ErrorKind::InvalidData.into()))?;
    let digest = image.config.digest;
    let mut config = Vec::new();
    parcel.source.open_blob(&digest)?.take(MAX_CONFIG_BYTES).read_to_end(&mut config).map_err(failed)?;
    Ok((config, format!("{}.json", digest.hex())))
}

fn path(layer: &Plain) -> String {
    format!("{}/layer.tar", layer.diff_id.hex())
}
