//! One small document from any address, such as the keys of a CI host. Nobody's credentials go
//! along, and redirects are not followed.

use hyper::{Method, Request, StatusCode, Uri};
use oci::Registry;
use store::StoreError;

use super::address::without_query;
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
        let (uri, registry) = safe_address(address).map_err(failed)?;
        let host = Host::new(self.shared.clone(), registry);
        let request = Request::builder().method(Method::GET).uri(uri);
        let reply = host.send_bare(request, &Payload::empty()).map_err(failed)?;
        if reply.status != StatusCode::OK {
            return Err(failed(read_error(reply, host.clock())));
        }
        reply.body.all(limit).map(|bytes| bytes.to_vec()).map_err(failed)
    }
}

/// Returns an address and its host where content of ours may be read from or sent to: `https`, or `http`
/// to a loopback address.
pub(super) fn safe_address(address: &str) -> Result<(Uri, Registry), Failure> {
    let wrong =
        |reason: &str| Failure::Address { address: without_query(address), reason: reason.to_owned() };
    let uri: Uri = address.parse().map_err(|_| wrong("it is not an address"))?;
    let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
    let registry: Registry = authority.parse().map_err(|_| wrong("it names no host"))?;
    let is_safe = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => registry.is_loopback(),
        _ => false,
    };
    if is_safe { Ok((uri, registry)) } else { Err(wrong("only https is taken")) }
}
