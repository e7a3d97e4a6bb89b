//! One small document from any address, such as the keys of a CI host. Nobody's credentials go
//! along, and redirects are not followed.

use hyper::{Method, Request, StatusCode, Uri};
use oci::Registry;
use store::StoreError;

use super::failure::Failure;
use super::host::read_error;
use super::payload::Payload;
use super::{Client, host::Host};

impl Client {
    /// Returns what is at `address`, at most `limit` bytes. Only `https` is taken, and `http` to
    /// loopback addresses.
    ///
    /// # Errors
    /// `Unreachable` where there is no such address, no answer, or more than `limit` bytes.
    pub fn fetch(&self, address: &str, limit: u64) -> Result<Vec<u8>, StoreError> {
        let failed = |failure: Failure| failure.into_store_error("read", address.to_owned());
        let uri: Uri = address.parse().map_err(|_| failed(Failure::protocol("it is not an address")))?;
        let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
        let registry: Registry =
            authority.parse().map_err(|_| failed(Failure::protocol("it names no host")))?;
        let is_safe = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => registry.is_loopback(),
            _ => false,
        };
        if !is_safe {
            return Err(failed(Failure::protocol("only https is taken")));
        }
        let host = Host { shared: self.shared.clone(), registry };
        let request = Request::builder().method(Method::GET).uri(uri);
        let reply = host.send_bare(request, &Payload::empty()).map_err(failed)?;
        if reply.status != StatusCode::OK {
            return Err(failed(read_error(reply, host.clock())));
        }
        reply.body.all(limit).map(|bytes| bytes.to_vec()).map_err(failed)
    }
}
