//! Large images into a Docker daemon with containerd's store, which knows an image by its manifest and keeps its blobs as
//! they are, compressed.
//!
//! Unpacking them is what takes longest, on one processor, and nothing goes on beside it. What is unpacked is kept under the
//! digests of what layers hold, whatever blobs it came from. So the daemon pulls a twin of the image from here whose layers
//! are not compressed: it unpacks one while it receives the next. Meanwhile it is sent the archive of the image itself,
//! whose end is kept back until the twin is there, and then finds all of it unpacked. Where it cannot reach us, as from
//! another network, it unpacks the archive. The twin goes when it has served.
//!
//! Source: Docker Engine API v1.41, "Create an image", "Remove an image"; containerd, core/unpack/unpacker.go.

use std::collections::BTreeSet;

use oci::Platform;
use registry::loan::{self, Goods};

use super::plain::{Plain, twin};
use super::{Daemon, DaemonError, LOAD, Parcel, archive_failed};

impl Daemon {
    /// Sends an image whose layers are `layers`; returns how many bytes went.
    pub(super) fn load_aside(
        &self,
        parcel: &Parcel<'_>,
        layers: &[Plain],
        platform: Option<&Platform>,
    ) -> Result<u64, DaemonError> {
        let Some((twin, unpacked)) = twin(parcel.manifest, layers) else {
            return self.send(parcel, BTreeSet::new());
        };
        let digest = twin.digest();
        let goods = Goods { source: parcel.source, image: &twin, unpacked: &unpacked };
        let lent = loan::lend(goods, |name| {
            let sent = std::thread::scope(|scope| {
                let take = || self.take_loan(name, &digest, platform);
                let pull = std::thread::Builder::new().spawn_scoped(scope, take);
                let pull = pull.map_err(|error| archive_failed(parcel.manifest.digest(), error))?;
                self.upload(LOAD, |upload| {
                    let written = parcel.write(BTreeSet::new(), upload);
                    let pulled = pull.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                    if let Err(error) = pulled {
                        tracing::debug!(%error, "the daemon does not pull from here");
                    }
                    written
                })
            });
            self.forget_loan(name, &digest);
            sent
        });
        match lent {
            Ok((sent, lent)) => Ok(sent?.1 + lent),
            Err(error) => {
                tracing::debug!(%error, "nothing can be lent to the daemon");
                self.send(parcel, BTreeSet::new())
            }
        }
    }
}
