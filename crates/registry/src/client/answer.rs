//! Reading a short answer of a server from the bytes that came so far.
//! Source: RFC 9112, sections 6 and 7.1.

use bytes::Bytes;
use hyper::header::{CONTENT_LENGTH, HeaderName, HeaderValue, TRANSFER_ENCODING};
use hyper::{HeaderMap, StatusCode};

use super::Failure;

/// The longest head, and the longest body, that is read.
const MAX_BYTES: usize = 128 << 10;
const MAX_HEADERS: usize = 100;

/// A complete answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Returns the answer once `received` holds all of it; `None` where more has to come. `ended`
/// says that nothing more will. Answers that only say to go on are taken out of `received`.
///
/// # Errors
/// Bytes that are no answer, or one that is too long.
pub(crate) fn parse(received: &mut Vec<u8>, ended: bool) -> Result<Option<Answer>, Failure> {
    loop {
        let mut lines = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut lines);
        let parsed = response.parse(received).map_err(|error| malformed(&error.to_string()))?;
        let httparse::Status::Complete(head) = parsed else {
            return if received.len() > MAX_BYTES {
                Err(malformed("its head is too long"))
            } else {
                Ok(None)
            };
        };
        let code = response.code.unwrap_or_default();
        if (100..200).contains(&code) {
            received.drain(..head);
            continue;
        }
        let status = StatusCode::from_u16(code).map_err(|_| malformed("it has no status"))?;
        let headers = headers(response.headers).ok_or_else(|| malformed("a header is not text"))?;
        let rest = &received[head..];
        if rest.len() > MAX_BYTES {
            return Err(malformed("its body is too long"));
        }
        return Ok(body(status, &headers, rest, ended)?.map(|body| Answer { status, headers, body }));
    }
}

fn body(status: StatusCode, headers: &HeaderMap, rest: &[u8], ended: bool) -> Result<Option<Bytes>, Failure> {
    if status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED {
        return Ok(Some(Bytes::new()));
    }
    if headers.contains_key(TRANSFER_ENCODING) {
        return chunks(rest);
    }
    let Some(length) = headers.get(CONTENT_LENGTH) else {
        return Ok(ended.then(|| Bytes::copy_from_slice(rest)));
    };
    let length: usize = length
        .to_str()
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .filter(|length| *length <= MAX_BYTES)
        .ok_or_else(|| malformed("its Content-Length is none, or too long"))?;
    Ok(rest.get(..length).map(Bytes::copy_from_slice))
}

/// Puts the chunks together; `None` where the last one is not there yet.
fn chunks(mut rest: &[u8]) -> Result<Option<Bytes>, Failure> {
    let mut body = Vec::new();
    loop {
        let parsed = httparse::parse_chunk_size(rest).map_err(|_| malformed("a chunk has no size"))?;
        let httparse::Status::Complete((start, size)) = parsed else { return Ok(None) };
        if size == 0 {
            return Ok(Some(body.into()));
        }
        let size = usize::try_from(size).ok().filter(|size| *size <= MAX_BYTES);
        let end = start + size.ok_or_else(|| malformed("a chunk is too long"))?;
        // Each chunk ends with a line break of its own.
        let (Some(chunk), Some(after)) = (rest.get(start..end), rest.get(end + 2..)) else { return Ok(None) };
        body.extend_from_slice(chunk);
        rest = after;
    }
}

fn headers(lines: &[httparse::Header<'_>]) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for line in lines {
        let name = HeaderName::from_bytes(line.name.as_bytes()).ok()?;
        headers.append(name, HeaderValue::from_bytes(line.value).ok()?);
    }
    Some(headers)
}

fn malformed(reason: &str) -> Failure {
    Failure::protocol(format!("the answer to an upload cannot be read: {reason}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Parses the answer cut after each byte; returns what the first complete one is.
    #[track_caller]
    fn check(text: &str, status: u16, body: &str) {
        for cut in 0..=text.len() {
            let mut received = text.as_bytes()[..cut].to_vec();
            let answer = parse(&mut received, cut == text.len()).unwrap();
            if let Some(answer) = answer {
                assert_eq!((answer.status.as_u16(), &answer.body[..]), (status, body.as_bytes()), "{cut}");
                return;
            }
        }
        panic!("the answer never was complete");
    }

    #[test]
    fn bodies_of_every_kind() {
        check("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n", 201, "");
        check("HTTP/1.1 204 No Content\r\n\r\n", 204, "");
        check("HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\n{}", 400, "{}");
        check("HTTP/1.0 500 Oops\r\n\r\nwords", 500, "words");
        let chunked =
            "HTTP/1.1 400 B\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n";
        check(chunked, 400, "abcde");
        check("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n", 201, "");
    }

    #[track_caller]
    fn check_refused(text: &str) {
        assert!(
            matches!(parse(&mut text.as_bytes().to_vec(), true), Err(Failure::Protocol { .. })),
            "{text}"
        );
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        check_refused("SSH-2.0-OpenSSH_9.2\r\n");
        check_refused("HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n");
        check_refused("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n");
        check_refused("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n");
        check_refused("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffff\r\n");
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_an_error(
            head in "(HTTP/1.1 [1-5][0-9]{2} x\r\n(content-length: [0-9]{1,9}\r\n)?(transfer-encoding: chunked\r\n)?\r\n)?",
            tail in proptest::collection::vec(any::<u8>(), 0..200),
            ended: bool,
        ) {
            let mut received = [head.as_bytes(), &tail].concat();
            let _ = parse(&mut received, ended);
        }
    }
}
