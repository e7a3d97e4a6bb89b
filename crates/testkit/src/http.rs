//! What a played server reads of HTTP/1: the head of a request, and a body of known length or in pieces.
//!
//! Source: RFC 9112, sections 2.1, 6.3 and 7.1.

use std::io::{self, BufRead, Read};

/// Reads a head up to its empty line; returns its lines without their ends, the first one first. Empty at the end
/// of the connection.
///
/// # Errors
/// What reading says.
pub fn read_head(reader: &mut impl BufRead) -> io::Result<Vec<String>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim_end().is_empty() {
            return Ok(lines);
        }
        lines.push(line.trim_end().to_owned());
    }
}

/// Reads the body that belongs to a head.
///
/// # Errors
/// What reading says, `UnexpectedEof` where the body breaks off.
pub fn read_body(reader: &mut impl BufRead, head: &[String]) -> io::Result<Vec<u8>> {
    let value = |name: &str| {
        let header = |line: &String| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        };
        head.iter().find_map(header)
    };
    if value("transfer-encoding").as_deref() == Some("chunked") {
        return pieces(reader);
    }
    let length = value("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(body)
}

fn pieces(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let size = u64::from_str_radix(line.trim_end(), 16).map_err(io::Error::other)?;
        let read = reader.by_ref().take(size).read_to_end(&mut body)?;
        if (read as u64) < size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        reader.read_line(&mut String::new())?;
        if size == 0 {
            return Ok(body);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_of_both_kinds_are_read_and_broken_ones_are_errors() {
        let read = |text: &str| {
            let mut reader = text.as_bytes();
            let head = read_head(&mut reader).unwrap();
            read_body(&mut reader, &head).ok().map(|body| String::from_utf8(body).unwrap())
        };
        assert_eq!(read("POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\nabcd").as_deref(), Some("abc"));
        let pieces = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n";
        assert_eq!(read(&format!("{pieces}0\r\n\r\n")).as_deref(), Some("abc"));
        assert_eq!(read(pieces), None);
        assert_eq!(read("GET / HTTP/1.1\r\n\r\n").as_deref(), Some(""));
    }
}
