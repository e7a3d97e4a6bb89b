//! Blobs that the registry does not have and whose manifest names other places for them in `urls`: layers that
//! registries are not to hand on.
//!
//! A manifest is written by others, so its addresses are followed as a redirect of the registry is
//! (`client::address`): over HTTPS, to this machine only from a registry on it. Nobody's credentials go there, no
//! more than the size that the manifest says is read, and the digest is checked as for every blob.
//!
//! Source: image-spec v1.1, descriptor.md, "urls".

use hyper::{Method, Uri};
use oci::Descriptor;
use store::{Blob, StoreError};

use super::stream::Download;
use super::{BlobRequest, content_length};
use crate::client::Failure;
use crate::client::address::without_query;
use crate::client::failure::with_sources;
use crate::client::host::Host;
use crate::client::repository::RemoteRepository;

/// How many of the places that a manifest names are asked.
const MAX_URLS: usize = 8;

/// Opens a blob at the first of its `urls` that has it.
///
/// # Errors
/// `NotFound`, naming the places and why it does not come from there; `Unreachable` where asking again may help.
pub(crate) fn open(remote: &RemoteRepository, blob: &Descriptor) -> Result<Blob, StoreError> {
    let mut reasons = Vec::new();
    let mut passing = None;
    for url in blob.urls.iter().take(MAX_URLS) {
        match open_at(remote, blob, url) {
            Ok(download) => return Ok(Blob::resumable(blob.digest, blob.size, download)),
            Err(failure) if failure.is_transient() => {
                let what = format!("{} from {}", remote.name_of_blob(&blob.digest), without_query(url));
                passing = Some(failure.into_store_error("pull", what));
            }
            Err(failure) => reasons.push(reason(url, &failure)),
        }
    }
    if let Some(error) = passing {
        return Err(error);
    }
    let what = format!("{} or at {}", remote.name_of_blob(&blob.digest), reasons.join(", or at "));
    Err(StoreError::NotFound { what })
}

fn reason(url: &str, failure: &Failure) -> String {
    match failure {
        // It names the address itself.
        Failure::Address { .. } => failure.to_string(),
        failure => format!("{} ({})", without_query(url), with_sources(failure)),
    }
}

fn open_at(remote: &RemoteRepository, blob: &Descriptor, url: &str) -> Result<Download, Failure> {
    let asked = std::time::Instant::now();
    let request = request(remote, blob, url)?;
    let reply = request.host.call(&request.call(Method::GET))?;
    if let Some(found) = content_length(&reply).filter(|found| *found != blob.size) {
        let reason = format!("it has {found} bytes there, and {} according to the manifest", blob.size);
        return Err(Failure::Protocol { reason });
    }
    Ok(Download::new(request, reply, blob.size, asked.elapsed()))
}

fn request(remote: &RemoteRepository, blob: &Descriptor, url: &str) -> Result<BlobRequest, Failure> {
    let own = BlobRequest::new(remote, &blob.digest)?;
    let parsed: Option<Uri> = url.parse().ok();
    if parsed.is_none_or(|address| address.scheme().is_none()) {
        let reason = "it is not a whole address".to_owned();
        return Err(Failure::Address { address: without_query(url), reason });
    }
    let address = own.host.origin()?.follow(&own.address, url)?;
    let host = Host { is_stranger: true, ..own.host };
    Ok(BlobRequest { host, address, ..own })
}

#[cfg(test)]
mod tests {
    use oci::{Digest, MediaType};

    use super::*;
    use crate::client::{Client, ClientOptions, Clock};

    /// Says where a blob of `registry` with this URL would be asked for.
    #[track_caller]
    fn check(registry: &str, url: &str, expected: &str) {
        let folder = std::env::temp_dir();
        let client = Client::new(ClientOptions::new(Clock::new(jiff::Timestamp::default), folder)).unwrap();
        let remote = client.repository(&format!("{registry}/a").parse().unwrap());
        let blob = Descriptor::new(MediaType::DockerForeignLayerGzip, Digest::of(b"x"), 1);
        let found = match request(&remote, &blob, url) {
            Ok(request) => {
                assert!(request.host.is_stranger);
                request.address.to_string()
            }
            Err(failure) => failure.to_string(),
        };
        assert!(found.contains(expected), "{url}: {found}");
    }

    #[test]
    fn only_whole_addresses_that_a_redirect_could_lead_to_are_asked() {
        check("a.b", "https://c.d/x?s=1", "https://c.d/x?s=1");
        check("a.b", "https://a.b/v2/x", "https://a.b/v2/x");
        check(
            "a.b",
            "http://c.d/x?secret=1",
            "http://c.d/x is not followed: it would go on without encryption",
        );
        check("a.b", "https://127.0.0.1/x", "address of this machine");
        check("a.b", "https://169.254.169.254/latest", "address of this machine");
        check("a.b", "ftp://c.d/x", "only http and https");
        check("a.b", "file:///etc/passwd", "is not followed");
        check("a.b", "/v2/b/blobs/x", "not a whole address");
        check("a.b", "c.d/x", "is not followed");
        check("a.b", "", "not a whole address");
        check("127.0.0.1:5000", "http://127.0.0.1:81/x", "http://127.0.0.1:81/x");
    }
}
