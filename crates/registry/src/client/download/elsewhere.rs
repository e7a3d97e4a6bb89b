//! Blobs that the registry does not have and whose manifest names other places for them in `urls`: layers that
//! registries are not to hand on.
//!
//! A manifest is written by others, so its addresses are followed as a redirect of the registry is
//! (`client::address`): over HTTPS, to this machine only from a registry on it. Nobody's credentials go there, no
//! more than the size that the manifest says is read, and the digest is checked as for every blob.
//!
//! Source: image-spec v1.1, descriptor.md, "urls".

use hyper::{Method, Uri};
use oci::{Descriptor, Registry, Repository};
use store::{Blob, StoreError};

use super::stream::Download;
use super::{BlobRequest, content_length};
use crate::client::address::{is_inner, without_query};
use crate::client::host::Host;
use crate::client::repository::RemoteRepository;
use crate::client::{Client, Failure};

/// How many of the places that a manifest names are asked.
const MAX_URLS: usize = 8;

impl Client {
    /// Whether blobs are fetched from the `urls` that manifests name for them.
    pub fn follows_urls(&self) -> bool {
        self.shared.options.follow_urls
    }

    /// Opens a blob of an image that lies in no registry at the first of its `urls` that has it; `place` names where the
    /// image is. On this machine, and without encryption, only hosts are asked that the options name as plain.
    ///
    /// # Errors
    /// `NotFound`, naming the places and why it does not come from there; `Unreachable` where asking again may help.
    pub fn open_elsewhere(&self, blob: &Descriptor, place: &str) -> Result<Blob, StoreError> {
        let name = format!("blob {} in {place}", blob.digest);
        first(blob, &name, |url| open_at(&self.home_of(url)?, blob, url))
    }

    /// Returns a repository at the host of an address: what leads on from there is followed as from a registry.
    fn home_of(&self, url: &str) -> Result<RemoteRepository, Failure> {
        let refused =
            |reason: &str| Failure::Address { address: without_query(url), reason: reason.to_owned() };
        let address: Option<Uri> = url.parse().ok();
        let authority = address.as_ref().and_then(Uri::authority);
        let registry: Option<Registry> = authority.and_then(|host| host.as_str().parse().ok());
        let registry = registry.ok_or_else(|| refused("it is not a whole address"))?;
        let is_inner = authority.is_some_and(|host| is_inner(host.host()));
        if is_inner && !self.shared.options.plain_http.contains(&registry) {
            return Err(refused("it is an address of this machine"));
        }
        let layers = Repository::new(registry, "layers").map_err(|_| refused("it has no host"))?;
        Ok(self.repository(&layers))
    }
}

/// Opens a blob at the first of its `urls` that has it.
///
/// # Errors
/// As for [`Client::open_elsewhere`].
pub(crate) fn open(remote: &RemoteRepository, blob: &Descriptor) -> Result<Blob, StoreError> {
    first(blob, &remote.name_of_blob(&blob.digest), |url| open_at(remote, blob, url))
}

fn first(
    blob: &Descriptor,
    name: &str,
    open_at: impl Fn(&str) -> Result<Download, Failure>,
) -> Result<Blob, StoreError> {
    let mut reasons = Vec::new();
    let mut passing = None;
    for url in blob.urls.iter().take(MAX_URLS) {
        match open_at(url) {
            Ok(download) => return Ok(Blob::resumable(blob.digest, blob.size, download)),
            Err(failure) if failure.is_transient() => {
                let what = format!("{name} from {}", without_query(url));
                passing = Some(failure.into_store_error("pull", what));
            }
            Err(failure) => reasons.push(reason(url, &failure)),
        }
    }
    if let Some(error) = passing {
        return Err(error);
    }
    let what = format!("{name} or at {}", reasons.join(", or at "));
    Err(StoreError::NotFound { what })
}

fn reason(url: &str, failure: &Failure) -> String {
    match failure {
        // It names the address itself.
        Failure::Address { .. } => failure.to_string(),
        failure => format!("{} ({})", without_query(url), store::with_causes(failure)),
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
    use crate::client::{ClientOptions, Clock};

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
    fn an_image_in_no_registry_leads_to_no_address_of_this_machine() {
        let check = |url: &str, expected: &str| {
            let clock = Clock::new(jiff::Timestamp::default);
            let mut options = ClientOptions::new(clock, std::env::temp_dir());
            options.plain_http = vec!["127.0.0.1:81".parse().unwrap()];
            let client = Client::new(options).unwrap();
            let mut blob = Descriptor::new(MediaType::DockerForeignLayerGzip, Digest::of(b"x"), 1);
            blob.urls = vec![url.to_owned()];
            let address = |url: &str| Ok(request(&client.home_of(url)?, &blob, url)?.address.to_string());
            let found = address(url).unwrap_or_else(|failure: Failure| failure.to_string());
            assert!(found.contains(expected), "{url}: {found}");
        };
        check("https://c.d/x?s=1", "https://c.d/x?s=1");
        check("http://127.0.0.1:81/x", "http://127.0.0.1:81/x");
        check("http://127.0.0.1:82/x", "address of this machine");
        check("https://[::1]/x", "address of this machine");
        check("https://169.254.169.254/latest", "address of this machine");
        check("http://c.d:80/x", "without encryption");
        check("https://me:secret@c.d/x", "not a whole address");
        check("ftp://c.d/x", "only http and https");
        check("/x", "not a whole address");
        check("", "not a whole address");
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
