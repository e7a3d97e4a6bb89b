//! ADD of URLs, and what a build writes besides the image, with the real binary.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use crate::shop::Shop;

/// Serves one file at any path of a loopback address for as long as the test runs.
fn serve(content: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let read = stream.read(&mut request).unwrap();
            let moved = request[..read].starts_with(b"GET /moved");
            let head = match moved {
                true => "302 Found\r\nLocation: /file.txt\r\nContent-Length: 0".to_owned(),
                false => format!(
                    "200 OK\r\nLast-Modified: Wed, 21 Oct 2015 07:28:00 GMT\r\nContent-Length: {}",
                    content.len()
                ),
            };
            let body = if moved { "" } else { content };
            let _ = write!(stream, "HTTP/1.1 {head}\r\nConnection: close\r\n\r\n{body}");
        }
    });
    format!("http://{address}")
}

fn shop(lines: &str) -> Option<Shop> {
    let dockerfile = format!("FROM local/base:1\n{lines}\n");
    Shop::open(&[("plimsoll.toml", "[service.app]\n"), ("a.txt", "a"), ("Dockerfile", &dockerfile)])
}

const BUILD: &str = "build -t local/app:1 .";

#[test]
fn a_url_is_fetched_and_placed() {
    let host = serve("fetched");
    let lines = format!(
        "ADD {host}/file.txt?x=1 /d/\nADD {host}/moved /e\nADD --chmod=644 {host}/f a.txt /g/\n\
         RUN test $(cat /d/file.txt) = fetched && test $(stat -c %a:%Y /d/file.txt) = 600:1445412480\n\
         RUN test $(cat /e) = fetched && test $(stat -c %a /g/f) = 644 && test -f /g/a.txt"
    );
    let Some(shop) = shop(&lines) else { return };
    shop.call(BUILD).exits(0);
    shop.call(BUILD).exits(0).says("5/5").says_not("done in");
    shop.call("build").exits(0);
}

#[test]
fn a_checksum_is_held_against_what_comes() {
    let host = serve("fetched");
    let right = oci::Digest::of(b"fetched");
    let Some(shop) = shop(&format!("ADD --checksum={right} {host}/f /x")) else { return };
    shop.call(BUILD).exits(0);
    let wrong = oci::Digest::of(b"other");
    shop.write("Dockerfile", format!("FROM local/base:1\nADD --checksum={wrong} {host}/f /x\n"));
    shop.call(BUILD).exits(1).says("Dockerfile:2").says("as --checksum says");
    shop.write("Dockerfile", format!("FROM local/base:1\nADD --checksum={right} a.txt /x\n"));
    shop.call(BUILD).exits(1).says("--checksum is for one URL");
}

#[test]
fn results_are_written_where_they_are_asked_for() {
    let Some(shop) = shop("COPY a.txt /x/\nRUN rm /x/a.txt && touch /y") else { return };
    let call = format!(
        "{BUILD} -q -o out -o type=tar,dest=files.tar -o type=oci,dest=oci.tar -o type=docker,dest=docker.tar \
         --iidfile id --metadata-file meta.json"
    );
    let digest = shop.call(&call).exits(0).stdout.trim().to_owned();
    assert!(
        shop.path("out/y").is_file() && shop.path("out/x").is_dir() && !shop.path("out/x/a.txt").exists()
    );
    assert!(shop.path("out/bin/busybox").is_file());
    assert!(std::fs::metadata(shop.path("files.tar")).unwrap().len() > 1 << 20);
    assert_eq!(std::fs::read_to_string(shop.path("id")).unwrap(), digest);
    let metadata = std::fs::read_to_string(shop.path("meta.json")).unwrap();
    assert!(metadata.contains(&digest) && metadata.contains("local/app:1"), "{metadata}");
    shop.call("inspect oci-archive:oci.tar").exits(0);
    shop.call("inspect docker-archive:docker.tar").exits(0);
}
