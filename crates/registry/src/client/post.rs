//! One small message to any address, such as that of somebody who is told of events. Nobody's credentials
//! go along, and redirects are not followed.

use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::{Method, Request};

use super::Client;
use super::failure::Failure;
use super::fetch::safe_address;
use super::host::{Host, read_error};
use super::payload::Payload;

/// Why a message was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostFailure {
    /// The status of the answer; `None` where there was none.
    pub status: Option<u16>,
    /// How long the receiver asks to be left alone.
    pub retry_after: Option<Duration>,
    /// What happened, with its causes.
    pub reason: String,
}

impl fmt::Display for PostFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for PostFailure {}

impl From<Failure> for PostFailure {
    fn from(failure: Failure) -> Self {
        let retry_after = match &failure {
            Failure::Status { retry_after, .. } => *retry_after,
            _ => None,
        };
        let status = failure.status().map(|status| status.as_u16());
        Self { status, retry_after, reason: store::with_causes(&failure) }
    }
}

impl Client {
    /// Returns whether messages may go to `address`: `https`, or `http` to a loopback address.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn check_receiver(address: &str) -> Result<(), String> {
        safe_address(address).map(|_| ()).map_err(|failure| failure.to_string())
    }

    /// Sends `body` to `address` once; any status from 200 to 299 means that it was taken.
    ///
    /// # Errors
    /// Where it was not within `limit`, or may have been.
    pub fn post(
        &self,
        address: &str,
        headers: &[(&'static str, String)],
        body: impl Into<Bytes>,
        limit: Duration,
    ) -> Result<(), PostFailure> {
        let (uri, registry) = safe_address(address)?;
        let host = Host::new(self.shared.clone(), registry);
        let mut request = Request::builder().method(Method::POST).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let reply = host.send_until(request, &Payload::Bytes(body.into()), Instant::now() + limit)?;
        if !reply.status.is_success() {
            return Err(read_error(reply, host.clock()).into());
        }
        reply.body.discard();
        Ok(())
    }
}
