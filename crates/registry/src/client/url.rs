//! A file from any address, as ADD of a URL wants it. Nobody's credentials go along; redirects are followed.

use std::io::Write;

use hyper::header::{LAST_MODIFIED, LOCATION};
use hyper::{Method, Request, StatusCode, Uri};
use oci::Registry;
use store::StoreError;

use super::address::Origin;
use super::failure::Failure;
use super::host::read_error;
use super::payload::Payload;
use super::transport::Reply;
use super::{Client, host::Host};

const MAX_REDIRECTS: usize = 10;

impl Client {
    /// Writes what is at `address` to `output` and returns when it was changed last, in seconds since 1970,
    /// where the answer says that.
    ///
    /// # Errors
    /// `Unreachable` where there is no answer or the connection breaks, `NotFound` and `Denied` as the host
    /// says; what `output` refuses is `Unreachable` as well.
    pub fn download(&self, address: &str, output: &mut dyn Write) -> Result<Option<i64>, StoreError> {
        let failed = |failure: Failure| failure.into_store_error("read", address.to_owned());
        let mut reply = self.follow(address).map_err(failed)?;
        let modified = reply.header(LAST_MODIFIED.as_str()).and_then(seconds);
        while let Some(piece) = reply.body.next().map_err(failed)? {
            output.write_all(&piece).map_err(|error| failed(Failure::protocol(error.to_string())))?;
        }
        Ok(modified)
    }

    fn follow(&self, address: &str) -> Result<Reply, Failure> {
        let mut uri: Uri = address.parse().map_err(|_| Failure::protocol("it is not an address"))?;
        for _ in 0..=MAX_REDIRECTS {
            let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
            let registry: Registry = authority.parse().map_err(|_| Failure::protocol("it names no host"))?;
            let plain = uri.scheme_str() == Some("http");
            let origin = Origin::of(&registry, plain)?;
            let host = Host::new(self.shared.clone(), registry);
            let request = Request::builder().method(Method::GET).uri(uri.clone());
            let reply = host.send_bare(request, &Payload::empty())?;
            match (reply.status, reply.header(LOCATION.as_str()).map(str::to_owned)) {
                (StatusCode::OK, _) => return Ok(reply),
                (status, Some(location)) if status.is_redirection() => {
                    uri = origin.follow(&uri, &location)?;
                    reply.body.discard();
                }
                _ => return Err(read_error(reply, host.clock())),
            }
        }
        Err(Failure::protocol(format!("it leads through more than {MAX_REDIRECTS} redirects")))
    }
}

/// Reads a date as headers have it.
fn seconds(text: &str) -> Option<i64> {
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_zoned(text).ok()?;
    Some(date.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_headers_are_seconds() {
        assert_eq!(seconds("Wed, 21 Oct 2015 07:28:00 GMT"), Some(1_445_412_480));
        assert_eq!(seconds("yesterday"), None);
    }
}
