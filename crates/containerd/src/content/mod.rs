//! Blobs in containerd: whether one is there, its bytes, and a new one.

mod read;
mod write;

use std::sync::Arc;

use oci::Digest;
use store::StoreError;

use crate::connection::{Connection, Scope};
use crate::fault::{found, nonsense, of_status};
use crate::protocol::{Info, InfoRequest, InfoResponse, method};

pub(crate) use write::Upload;

/// The blobs of a namespace.
#[derive(Clone)]
pub(crate) struct Content {
    pub connection: Arc<Connection>,
    pub scope: Scope,
}

impl Content {
    /// Returns a blob's size in bytes; `None` where it is not there.
    pub fn size(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        let Some(Info { size, .. }) = self.info(digest)? else { return Ok(None) };
        let size = u64::try_from(size)
            .map_err(|_| nonsense(self.what(digest), format!("it is {size} bytes long")))?;
        Ok(Some(size))
    }

    /// Returns what is known of a blob; `None` where it is not there.
    pub fn info(&self, digest: &Digest) -> Result<Option<Info>, StoreError> {
        let question = InfoRequest { digest: digest.to_string() };
        let answer = found(self.connection.ask::<_, InfoResponse>(&self.scope, method::INFO, question));
        let answer = answer.map_err(|status| of_status("look up", self.what(digest), &status))?;
        // On the wire a message whose fields are all empty may be left out: it is one of size 0, not an error.
        Ok(answer.map(|answer| answer.info.unwrap_or_default()))
    }

    /// Names a blob for errors.
    pub fn what(&self, digest: &Digest) -> String {
        format!("blob {digest} in {}", self.place())
    }

    /// Names the store for errors.
    pub fn place(&self) -> String {
        let socket = self.connection.socket.display();
        format!("namespace {} of containerd at {socket}", self.scope.namespace)
    }
}
