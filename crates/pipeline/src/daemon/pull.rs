//! An image that a daemon pulls from this process instead of being sent an archive: it unpacks while it
//! receives, and nothing is written down twice.
//!
//! It reaches us where it shares this machine's loopback address. One in a virtual machine or in a
//! network of its own does not; nor does one take plain HTTP that has not been told of it, as Podman.
//! Then an archive is sent.
//!
//! Source: Docker Engine API v1.41, "Create an image", "Remove an image"; moby, registry/config.go:
//! registries on 127.0.0.0/8 need no TLS.

use oci::{Digest, Platform};
use registry::loan;

use super::{Daemon, DaemonError, LOAD_TIMEOUT, Parcel, QUESTION_TIMEOUT};

impl Daemon {
    /// Has the daemon pull an image, names it, and makes sure that it is there; returns how many bytes were
    /// taken, or `None` where it did not come to that and an archive is to be sent.
    pub(super) fn pull(
        &self,
        parcel: &Parcel<'_>,
        expected: &[Digest; 2],
        platform: Option<&Platform>,
    ) -> Option<u64> {
        let digest = parcel.manifest.digest();
        let lent = loan::lend(parcel.source, parcel.manifest, |name| {
            let platform = platform.map(|platform| format!("&platform={platform}")).unwrap_or_default();
            let request = format!("POST /images/create?fromImage={name}&tag={digest}{platform}");
            self.ask(&request, LOAD_TIMEOUT, None)?;
            let named = self.name(parcel, expected);
            // The name of the loan leads nowhere from now on. The image stays, by its other names.
            let _ = self.ask(&format!("DELETE /images/{name}@{digest}?noprune=1"), QUESTION_TIMEOUT, None);
            named
        });
        match lent {
            Ok((Ok(()), bytes)) => Some(bytes),
            Ok((Err(error), _)) => {
                tracing::debug!(%error, "the daemon does not pull from here");
                None
            }
            Err(error) => {
                tracing::debug!(%error, "nothing can be lent to the daemon");
                None
            }
        }
    }

    fn name(&self, parcel: &Parcel<'_>, expected: &[Digest; 2]) -> Result<(), DaemonError> {
        for id in expected {
            if self.inspect(&id.to_string())?.is_some_and(|found| found.is_whole()) {
                parcel.names.iter().try_for_each(|(name, _)| self.tag(id, name))?;
                break;
            }
        }
        parcel.names.iter().try_for_each(|(name, _)| self.check(name, expected))
    }
}
