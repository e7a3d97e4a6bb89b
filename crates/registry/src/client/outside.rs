//! Requests to services beside registries: object stores, caches of CI hosts. They bring their own
//! signatures and tokens; connections, proxies, authorities, the bounds of what happens at once and
//! the rules of when a request is made again are those of the client.
//!
//! Redirects are not followed: a signature is for one host, and nobody else is to see it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use futures_core::Stream;
use hyper::header::{CONTENT_LENGTH, HOST, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use opendal::{Buffer, ErrorKind, HttpBody, HttpTransport};

use super::Client;
use super::failure::Failure;
use super::host::Host;
use super::payload::Payload;
use super::transport::{Reply, ReplyBody};
use crate::protocol::retry_after;

/// The longest answer that is read for the words of an error.
const ERROR_LIMIT: u64 = 64 << 10;

/// A request that can be made any number of times.
#[derive(Clone)]
pub struct Ask {
    /// The method.
    pub method: Method,
    /// The whole address. It may hold a signature and is printed without its query.
    pub address: Uri,
    /// All headers but the host, the length and the name we give to servers.
    pub headers: HeaderMap,
    /// What is sent.
    pub body: Bytes,
    /// For people: `upload of cache entry x`.
    pub what: String,
}

impl Ask {
    /// Returns a request without headers and content.
    ///
    /// # Errors
    /// The method or the address is none.
    pub fn new(method: &str, address: &str, what: impl Into<String>) -> Result<Self, Failure> {
        let wrong = |reason: &str| Failure::Address {
            address: super::address::without_query(address),
            reason: reason.to_owned(),
        };
        let method = method.parse().map_err(|_| wrong("it is asked for by no method"))?;
        let address = address.parse().map_err(|_| wrong("it is not an address"))?;
        Ok(Self { method, address, headers: HeaderMap::new(), body: Bytes::new(), what: what.into() })
    }

    /// Returns the request with one more header.
    ///
    /// # Errors
    /// The name or the value cannot be sent; the value is not named, as it may be a secret.
    pub fn with(mut self, name: &'static str, value: &str) -> Result<Self, Failure> {
        let value = HeaderValue::from_str(value)
            .map_err(|_| Failure::protocol(format!("the header {name} cannot be sent")))?;
        self.headers.insert(HeaderName::from_static(name), value);
        Ok(self)
    }

    /// Returns the request with content.
    pub fn sending(self, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..self }
    }
}

impl std::fmt::Debug for Ask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ask({} {})", self.method, self.what)
    }
}

/// An answer that is not to be asked for again; reading takes its body.
pub struct Told {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    body: ReplyBody,
    piece: Bytes,
}

impl Told {
    fn new(reply: Reply) -> Self {
        Self { status: reply.status, headers: reply.headers, body: reply.body, piece: Bytes::new() }
    }

    /// Returns the status as a number.
    pub fn code(&self) -> u16 {
        self.status.as_u16()
    }

    /// Returns a header as text; `None` where it is missing or not text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Returns the whole body, at most `limit` bytes.
    ///
    /// # Errors
    /// It breaks off or is longer.
    pub fn all(self, limit: u64) -> Result<Bytes, Failure> {
        self.body.all(limit)
    }
}

impl io::Read for Told {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() {
            self.piece = self.body.next().map_err(io::Error::other)?.unwrap_or_default();
        }
        let count = self.piece.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.piece.split_to(count));
        Ok(count)
    }
}

impl Client {
    /// Makes a request to a service that is no registry, again where it says so or breaks off.
    /// Any status that waiting does not mend is an answer.
    ///
    /// # Errors
    /// No answer came, or 408, 429 or 5xx to the last try.
    pub fn ask(&self, ask: &Ask) -> Result<Told, Failure> {
        let host = Host::new(self.shared.clone(), oci::Registry::local());
        let mut retry = host.retry(ask.what.clone());
        loop {
            match self.ask_once(&host, ask) {
                Ok(told) => return Ok(told),
                Err(failure) => retry.again(failure)?,
            }
        }
    }

    fn ask_once(&self, host: &Host, ask: &Ask) -> Result<Told, Failure> {
        let mut request = Request::builder().method(ask.method.clone()).uri(ask.address.clone());
        // The connection sets these itself.
        let headers = ask.headers.iter().filter(|(name, _)| *name != CONTENT_LENGTH && *name != HOST);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let deadline = Instant::now() + self.shared.options.retry.timeout;
        let reply = host.send_until(request, &Payload::Bytes(ask.body.clone()), deadline)?;
        let status = reply.status;
        let passes = status.is_server_error()
            || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&status);
        // What a server does not have at all does not come by waiting.
        if !passes || status == StatusCode::NOT_IMPLEMENTED {
            return Ok(Told::new(reply));
        }
        let header = reply.header(RETRY_AFTER.as_str());
        let retry_after = header.and_then(|text| retry_after::parse(text, host.clock().now()));
        let words = reply.body.all(ERROR_LIMIT).unwrap_or_default();
        let text = words_of(&String::from_utf8_lossy(&words));
        Err(Failure::Status { status, body: None, text, limit: String::new(), retry_after })
    }

    /// Returns the way by which the library for object stores makes its requests.
    pub fn object_transport(&self) -> opendal::HttpTransporter {
        opendal::HttpTransporter::new(ObjectTransport(self.clone()))
    }
}

/// Returns the code and message of an answer of S3 or of a service that speaks JSON or plain text.
fn words_of(text: &str) -> String {
    let between = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        Some(rest.split_once(&format!("</{name}>"))?.0.to_owned())
    };
    let words = match (between("Code"), between("Message")) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => text.to_owned(),
    };
    words
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(200)
        .collect::<String>()
        .trim()
        .to_owned()
}

/// Requests of the library for object stores. They are made while its futures are polled: the
/// thread that waits for a future would otherwise only sleep.
struct ObjectTransport(Client);

impl HttpTransport for ObjectTransport {
    async fn fetch(&self, request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        let (head, body) = request.into_parts();
        let path = super::address::without_query(&head.uri.to_string());
        let ask = Ask {
            what: format!("{} {path}", head.method),
            method: head.method,
            address: head.uri,
            headers: head.headers,
            body: body.to_bytes(),
        };
        let told = self.0.ask(&ask).map_err(object_error)?;
        let has_body = ask.method != Method::HEAD && told.status != StatusCode::NO_CONTENT;
        let length = told.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let mut response = Response::builder().status(told.status);
        if let Some(headers) = response.headers_mut() {
            *headers = told.headers.clone();
        }
        let content = HttpBody::new(Pieces(told), length.filter(|_| has_body));
        response.body(content).map_err(|error| opendal::Error::new(ErrorKind::Unexpected, error.to_string()))
    }
}

/// The body of an answer, piece by piece.
struct Pieces(Told);

impl Stream for Pieces {
    type Item = opendal::Result<Buffer>;

    fn poll_next(mut self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let piece = self.0.body.next().map_err(object_error).transpose();
        Poll::Ready(piece.map(|piece| piece.map(Buffer::from)))
    }
}

/// Requests that failed were made again already as often as is allowed; only a body that broke off
/// may be asked for once more.
fn object_error(failure: Failure) -> opendal::Error {
    let kind = match failure.status() {
        Some(StatusCode::TOO_MANY_REQUESTS) => ErrorKind::RateLimited,
        _ => ErrorKind::Unexpected,
    };
    let transient = failure.is_transient();
    let error = opendal::Error::new(kind, store::with_causes(&failure));
    if transient { error.set_temporary() } else { error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_every_form() {
        let xml = "<?xml version=\"1.0\"?><Error><Code>SlowDown</Code><Message>Please wait</Message></Error>";
        assert_eq!(words_of(xml), "SlowDown: Please wait");
        assert_eq!(words_of("{\"msg\":\"no\"}\n"), "{\"msg\":\"no\"}");
        assert_eq!(words_of("<Message>cut"), "<Message>cut");
    }
}
