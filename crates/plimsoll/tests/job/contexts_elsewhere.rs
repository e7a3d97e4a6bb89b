//! Contexts that are no folders of this machine, and ADD of git repositories, with the real binary.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use testkit::git::GitRepository;
use testkit::tar::TarBuilder;

use crate::seen::Seen;
use crate::shop::Shop;

const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Serves the files of a folder at a loopback address for as long as the test runs.
fn serve(folder: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let read = stream.read(&mut request).unwrap();
            let request = String::from_utf8_lossy(&request[..read]).into_owned();
            let path = request.split(' ').nth(1).unwrap_or("/").split('?').next().unwrap();
            let found = std::fs::read(folder.join(path.trim_start_matches('/')));
            let status = if found.is_ok() { "200 OK" } else { "404 Not Found" };
            let body = found.unwrap_or_default();
            let head =
                format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        }
    });
    format!("http://{address}")
}

/// A repository with two commits on `main` and a tag at the first, served read-only.
pub fn repository(files: &[(&str, &str)]) -> (GitRepository, tempfile::TempDir, String) {
    let repository = GitRepository::with_files(files);
    repository.tag("v1");
    repository.write("later.txt", "later");
    repository.commit("later");
    let served = tempfile::tempdir().unwrap();
    let bare = served.path().join("r.git");
    repository.git(&["clone", "--quiet", "--bare", ".", bare.to_str().unwrap()]);
    repository.git(&["--git-dir", bare.to_str().unwrap(), "update-server-info"]);
    let address = format!("{}/r.git", serve(served.path().to_owned()));
    (repository, served, address)
}

fn shop(dockerfile: &str) -> Option<Shop> {
    Shop::open(&[("plimsoll.toml", "[service.app]\n"), ("a.txt", "a"), ("Dockerfile", dockerfile)])
}

pub fn call(shop: &Shop, line: &str) -> Seen {
    shop.call_with(line, &[("PATH", PATH.as_ref())])
}

fn call_with_input(shop: &Shop, line: &str, input: &[u8]) -> Seen {
    let mut child = shop
        .command(line)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _ = child.stdin.take().unwrap().write_all(input);
    Seen::of(&child.wait_with_output().unwrap())
}

#[test]
fn a_repository_is_added_and_fetched_once() {
    let (source, _served, address) = repository(&[("src/one", "1"), ("run.sh", "#!/bin/sh\n")]);
    let first = source.git(&["rev-parse", "v1^{commit}"]).trim().to_owned();
    let dockerfile = format!(
        "FROM local/base:1\nADD {address}#v1:src /src\nADD {address} /all/\n\
         ADD --keep-git-dir --checksum={first} {address}?tag=v1 /kept\n\
         RUN test $(cat /src/one) = 1 && test ! -e /all/.git && test $(cat /all/later.txt) = later\n\
         RUN test -f /kept/.git/HEAD && test ! -e /kept/later.txt && test $(stat -c %a:%u /all/run.sh) = 644:0\n"
    );
    let Some(shop) = shop(&dockerfile) else { return };
    call(&shop, "build -t local/app:1 .").exits(0);
    let again = call(&shop, "build -t local/app:1 . --format json").exits(0).json();
    assert_eq!(again["services"]["app"]["cached"], 5, "{again}");
    source.write("more.txt", "more");
    shop.write("Dockerfile", format!("FROM local/base:1\nADD --checksum={first} {address}#main /x\n"));
    call(&shop, "build -t local/app:1 .").exits(1).says("Dockerfile:2").says(&format!("and not {first}"));
    shop.write("Dockerfile", format!("FROM local/base:1\nADD {address}#nowhere /x\n"));
    call(&shop, "build -t local/app:1 .").exits(1).says("no branch or tag nowhere");
    shop.write("Dockerfile", format!("FROM local/base:1\nADD {address}?reff=x /x\n"));
    call(&shop, "build -t local/app:1 .").exits(1).says("\"reff\" is not known");
}

#[test]
fn a_repository_is_a_context() {
    let files = [
        ("Dockerfile", "FROM local/base:1\nCOPY . /c\nRUN test ! -e /c/.git && test -e /c/later.txt\n"),
        ("sub/Dockerfile", "FROM local/base:1\nCOPY . /c\nRUN test -f /c/own && test ! -e /c/sub\n"),
        ("sub/own", ""),
        ("sub/other.docker", "FROM local/base:1\nRUN false\n"),
    ];
    let (_source, _served, address) = repository(&files);
    let Some(shop) = shop("FROM scratch\n") else { return };
    call(&shop, &format!("build -t local/app:1 {address}")).exits(0);
    call(&shop, &format!("build {address}#v1:sub")).exits(0);
    call(&shop, &format!("build -f other.docker {address}#:sub")).exits(1).says("other.docker:2");
    call(&shop, &format!("build -f ../Dockerfile {address}#:sub")).exits(2).says("is not in the context");
    call(&shop, &format!("build {address}#:none")).exits(1).says("has no folder none");
    shop.write("Dockerfile", "FROM local/base:1\nCOPY --from=other own /x\nRUN test -f /x\n");
    call(&shop, &format!("build -t local/app:1 --build-context other={address}#v1:sub .")).exits(0);
    call(&shop, &format!("build -t local/app:1 --build-context other={address}#nowhere ."))
        .exits(1)
        .says("nowhere");
    assert_eq!(crate::shop::files_in(&shop.root("scratch")), [] as [PathBuf; 0]);
}

#[test]
fn standard_input_is_a_dockerfile_or_an_archive() {
    let Some(shop) = shop("FROM scratch\n") else { return };
    let text = b"FROM local/base:1\nRUN echo hello >/x\n";
    call_with_input(&shop, "build -t local/app:1 -", text).exits(0);
    call_with_input(&shop, "build -", b"FROM local/base:1\nCOPY a.txt /\n").exits(1).says("a.txt is not in");
    call_with_input(&shop, "build -f - .", b"FROM local/base:1\nCOPY a.txt /\nRUN test $(cat /a.txt) = a\n")
        .exits(0);
    let dockerfile = b"FROM local/base:1\nCOPY b.txt /\nRUN test $(cat /b.txt) = b\n";
    let tar = TarBuilder::new().file("Dockerfile", dockerfile).file("b.txt", b"b").finish();
    call_with_input(&shop, "build -t local/app:1 -", &tar).exits(0);
    call_with_input(&shop, "build -f none -", &tar).exits(2).says("no Dockerfile");
    call_with_input(&shop, "build -", b"").exits(2).says("is empty");
    call_with_input(&shop, "build -f - -", b"").exits(2).says("not both");
    assert_eq!(crate::shop::files_in(&shop.root("scratch")), [] as [PathBuf; 0]);
}

#[test]
fn an_archive_at_a_url_is_a_context_and_can_be_unpacked() {
    let served = tempfile::tempdir().unwrap();
    let dockerfile = b"FROM local/base:1\nCOPY b.txt /\nRUN test $(cat /b.txt) = b\n";
    let tar = TarBuilder::new().file("Dockerfile", dockerfile).file("b.txt", b"b").finish();
    std::fs::write(served.path().join("c.tar"), tar).unwrap();
    std::fs::write(served.path().join("Dockerfile"), "FROM local/base:1\nRUN touch /x\n").unwrap();
    let address = serve(served.path().to_owned());
    let lines = format!(
        "FROM local/base:1\nADD --unpack {address}/c.tar /u/\nADD {address}/c.tar /p/\n\
                         RUN test $(cat /u/b.txt) = b && test -f /p/c.tar\n"
    );
    let Some(shop) = shop(&lines) else { return };
    shop.call("build -t local/app:1 .").exits(0);
    shop.call(&format!("build {address}/c.tar")).exits(0);
    shop.call(&format!("build {address}/Dockerfile")).exits(0);
    shop.call(&format!("build {address}/missing.tar")).exits(1).says("missing.tar");
    assert!(!Path::new(&shop.path("u")).exists());
}
