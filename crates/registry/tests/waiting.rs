//! Connections that stay open between requests.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::io::{BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use support::spec::Spec;
use support::wire;

fn connect(to: SocketAddr) -> BufReader<TcpStream> {
    BufReader::new(TcpStream::connect(to).unwrap())
}

fn send(connection: &mut BufReader<TcpStream>, text: &str) {
    connection.get_mut().write_all(text.as_bytes()).unwrap();
}

const BASE: &str = "GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n";

#[test]
fn hundreds_wait_and_are_answered_again() {
    let spec = Spec::start();
    let mut connections: Vec<_> = (0..400).map(|_| connect(spec.address())).collect();
    for _ in 0..3 {
        for connection in &mut connections {
            send(connection, BASE);
        }
        for connection in &mut connections {
            let answer = wire::read(connection, false);
            assert_eq!((answer.status, answer.header("connection")), (200, ""));
        }
    }
}

#[test]
fn a_head_in_pieces_and_a_second_one_behind_it() {
    let spec = Spec::start();
    let mut connection = connect(spec.address());
    // The beginning of the next request comes along with each one.
    let (first, second) = BASE.split_at(11);
    send(&mut connection, &format!("{BASE}{first}"));
    assert_eq!(wire::read(&mut connection, false).status, 200);
    send(&mut connection, &format!("{second}{BASE}{first}"));
    for _ in 0..2 {
        assert_eq!(wire::read(&mut connection, false).status, 200);
    }
    send(&mut connection, second);
    assert_eq!(wire::read(&mut connection, false).body, b"{}");
}

#[test]
fn who_wants_the_connection_closed_sees_it_closed() {
    let spec = Spec::start();
    for (head, answered) in [
        ("GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", true),
        ("GET /v2/ HTTP/1.0\r\n\r\n", true),
        ("nonsense\r\n\r\n", true),
    ] {
        for before in [0, 2] {
            let mut connection = connect(spec.address());
            for _ in 0..before {
                send(&mut connection, BASE);
                assert_eq!(wire::read(&mut connection, false).status, 200);
            }
            send(&mut connection, head);
            let mut rest = Vec::new();
            connection.read_to_end(&mut rest).unwrap();
            assert_eq!(rest.starts_with(b"HTTP/1."), answered, "{head}");
        }
    }
}

#[test]
fn who_waits_does_not_keep_the_server_from_stopping() {
    let spec = Spec::start();
    let mut answered = connect(spec.address());
    send(&mut answered, BASE);
    assert_eq!(wire::read(&mut answered, false).status, 200);
    let mut silent = connect(spec.address());
    let started = Instant::now();
    drop(spec);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    for connection in [&mut answered, &mut silent] {
        assert_eq!(connection.read(&mut [0; 1]).unwrap_or(0), 0, "the connection has ended");
    }
}
