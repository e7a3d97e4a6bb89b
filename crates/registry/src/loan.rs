//! One image lent to a program of this machine: its manifest and blobs at a loopback address, under a
//! name that cannot be guessed, for as long as a closure runs.
//!
//! A container daemon pulls from there faster than it loads an archive, and takes only what it
//! lacks. Whoever does not know the name gets 404 and there is no list, so other users of the
//! machine learn nothing. What is not the image is not served, and nothing can be pushed.
//!
//! A layer can be lent without its compression: it is unpacked while it is sent, in pieces, because
//! its size is only known at its end. Of several that are under way the lowest goes first; a borrower
//! unpacks it while it receives the others.
//! Source: distribution-spec v1.1, "Pull"; RFC 9112, "Chunked Transfer Coding".

mod turn;

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use oci::{Digest, Document, Registry, Repository};
use store::{BlobStore, Source};

use crate::protocol::{ByteRange, DOCKER_CONTENT_DIGEST, Endpoint, ManifestName};
use turn::Turns;

/// How much of a layer without its compression goes at once.
const PIECE_BYTES: usize = 1 << 20;

/// The longest head of a request.
const MAX_HEAD_BYTES: u64 = 32 << 10;
/// The first byte of whoever wants to speak TLS. Source: RFC 8446, "Record Layer".
const TLS_HANDSHAKE: u8 = 22;
/// How long a borrower may keep a connection without a word, or not take what it asked for.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is lent.
#[derive(Clone, Copy)]
pub struct Goods<'a> {
    /// Where the blobs are.
    pub source: &'a dyn BlobStore,
    /// The manifest.
    pub image: &'a Document,
    /// Layers of the manifest that are sent without their compression, and the blobs that hold them.
    pub unpacked: &'a BTreeMap<Digest, Digest>,
}

/// Serves an image while `borrow` runs; it is handed the repository's name. Returns its result and how many bytes
/// of blobs were served.
///
/// # Errors
/// No port of the loopback address can be had, or no random name.
pub fn lend<T>(goods: Goods<'_>, borrow: impl FnOnce(&Repository) -> T) -> io::Result<(T, u64)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let registry: Registry = address.to_string().parse().expect("an address with a port is a registry");
    let name = Repository::new(registry, &random_name()?).expect("hexadecimal digits are a path");
    let loan = Loan {
        goods,
        name: name.clone(),
        turns: Turns::default(),
        served: AtomicU64::new(0),
        open: Mutex::default(),
        has_ended: AtomicBool::new(false),
    };
    let result = std::thread::scope(|scope| {
        let loan = &loan;
        scope.spawn(move || {
            for stream in listener.incoming() {
                if loan.has_ended.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                // Without a thread to give the borrower finds its connection closed, and says so.
                let _ = std::thread::Builder::new().spawn_scoped(scope, move || loan.serve(&stream));
            }
        });
        let _end = EndOnDrop { loan, address };
        borrow(&name)
    });
    Ok((result, loan.served.into_inner()))
}

fn random_name() -> io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

struct Loan<'a> {
    goods: Goods<'a>,
    name: Repository,
    turns: Turns,
    served: AtomicU64,
    /// The connections, so that those that wait for a next request can be ended.
    open: Mutex<Vec<TcpStream>>,
    has_ended: AtomicBool,
}

/// Ends the loan, also when the borrower panics: the threads of a scope are waited for.
struct EndOnDrop<'a, 'b> {
    loan: &'a Loan<'b>,
    address: SocketAddr,
}

impl Drop for EndOnDrop<'_, '_> {
    fn drop(&mut self) {
        self.loan.has_ended.store(true, Ordering::SeqCst);
        for stream in self.loan.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // The listener looks up when somebody comes.
        drop(TcpStream::connect(self.address));
    }
}

/// What a request asks for.
struct Asked {
    is_head: bool,
    path: String,
    range: Option<ByteRange>,
}

impl Loan<'_> {
    fn serve(&self, stream: &TcpStream) {
        {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            if self.has_ended.load(Ordering::SeqCst) {
                return;
            }
            open.extend(stream.try_clone());
        }
        // A borrower that goes away in the middle of an answer knows that it did.
        if let Err(error) = self.talk(stream) {
            tracing::debug!(%error, "a connection of a loan broke off");
        }
        // The list of open connections holds it too, so dropping it here would not end it.
        let _ = stream.shutdown(Shutdown::Both);
    }

    fn talk(&self, mut stream: &TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream);
        // containerd tries TLS first, and plain HTTP only where it is answered in that.
        if reader.fill_buf()?.first() == Some(&TLS_HANDSHAKE) {
            return write!(
                stream,
                "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
        }
        while let Some(asked) = read_request(&mut reader)? {
            match asked {
                Ok(asked) => self.answer(&asked, &mut stream)?,
                Err(status) => {
                    return write!(
                        stream,
                        "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                    );
                }
            }
        }
        Ok(())
    }

    fn answer(&self, asked: &Asked, stream: &mut &TcpStream) -> io::Result<()> {
        match Endpoint::parse(&asked.path, self.name.registry()) {
            Ok(Endpoint::Base) => write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{{}}"),
            Ok(Endpoint::Manifest(name, ManifestName::Digest(digest)))
                if name == self.name && digest == self.goods.image.digest() =>
            {
                let raw = self.goods.image.raw();
                let media_type = &self.goods.image.descriptor().media_type;
                write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\n{DOCKER_CONTENT_DIGEST}: {digest}\r\n\r\n",
                    raw.len()
                )?;
                if asked.is_head { Ok(()) } else { stream.write_all(raw) }
            }
            Ok(Endpoint::Blob(name, digest)) if name == self.name && self.belongs(&digest) => {
                self.send_blob(asked, &digest, stream)
            }
            _ => not_found(stream),
        }
    }

    fn belongs(&self, digest: &Digest) -> bool {
        self.goods
            .image
            .as_image()
            .is_some_and(|manifest| manifest.blobs().any(|blob| blob.digest == *digest))
    }

    /// Sends a layer without its compression. Its end is told by its last piece, so one that cannot be read to
    /// its end is not taken for whole.
    fn send_unpacked(
        &self,
        asked: &Asked,
        digest: &Digest,
        packed: &Digest,
        stream: &mut &TcpStream,
    ) -> io::Result<()> {
        let Ok(blob) = self.goods.source.open_blob(packed) else { return not_found(stream) };
        stream.write_all(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
        )?;
        if asked.is_head {
            return Ok(());
        }
        let manifest = self.goods.image.as_image();
        let layers = manifest.map(|manifest| manifest.layers.as_slice()).unwrap_or_default();
        let height = layers.iter().position(|layer| layer.digest == *digest).unwrap_or_default();
        let turn = self.turns.take(height);
        let mut content = layer::decompress(blob)?;
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        loop {
            piece.clear();
            content.by_ref().take(PIECE_BYTES as u64).read_to_end(&mut piece)?;
            turn.wait();
            write!(stream, "{:x}\r\n", piece.len())?;
            stream.write_all(&piece)?;
            stream.write_all(b"\r\n")?;
            self.served.fetch_add(piece.len() as u64, Ordering::Relaxed);
            if piece.is_empty() {
                return Ok(());
            }
        }
    }

    fn send_blob(&self, asked: &Asked, digest: &Digest, stream: &mut &TcpStream) -> io::Result<()> {
        if let Some(packed) = self.goods.unpacked.get(digest) {
            return self.send_unpacked(asked, digest, packed, stream);
        }
        let Ok(mut blob) = self.goods.source.open_blob(digest) else { return not_found(stream) };
        let size = blob.size();
        let (first, length) = match asked.range.map(|range| range.within(size)) {
            None => (0, size),
            Some(Some(part)) => part,
            Some(None) => {
                return write!(
                    stream,
                    "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */{size}\r\nContent-Length: 0\r\n\r\n"
                );
            }
        };
        let status = match asked.range {
            None => "200 OK".to_owned(),
            Some(_) => {
                format!("206 Partial Content\r\nContent-Range: bytes {first}-{}/{size}", first + length - 1)
            }
        };
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: application/octet-stream\r\nContent-Length: {length}\r\nAccept-Ranges: bytes\r\n\r\n"
        )?;
        if asked.is_head {
            return Ok(());
        }
        match blob.into_source() {
            // Straight from the file, by the kernel.
            Source::File(mut file) => {
                file.seek_relative(i64::try_from(first).map_err(io::Error::other)?)?;
                self.sent(length, io::copy(&mut file.take(length), stream)?)
            }
            source => {
                blob = store::Blob::new(size, source);
                io::copy(&mut blob.by_ref().take(first), &mut io::sink())?;
                self.sent(length, io::copy(&mut blob.take(length), stream)?)
            }
        }
    }

    /// Counts what was sent. A connection that got less than was announced must not be used again.
    fn sent(&self, expected: u64, sent: u64) -> io::Result<()> {
        self.served.fetch_add(sent, Ordering::Relaxed);
        if expected == sent { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

fn not_found(stream: &mut &TcpStream) -> io::Result<()> {
    let body = r#"{"errors":[{"code":"NAME_UNKNOWN","message":"there is nothing here"}]}"#;
    write!(
        stream,
        "HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Reads the head of a request; `None` at the end of the connection, a status where it is none that is answered.
fn read_request(reader: &mut impl BufRead) -> io::Result<Option<Result<Asked, &'static str>>> {
    let mut head = reader.take(MAX_HEAD_BYTES);
    let mut line = String::new();
    if head.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let is_head = method == "HEAD";
    let path = target.split('?').next().unwrap_or_default().to_owned();
    let known = is_head || method == "GET";
    let mut range = None;
    loop {
        let mut line = String::new();
        if head.read_line(&mut line)? == 0 {
            return Ok(Some(Err("431 Request Header Fields Too Large")));
        }
        match line.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("range") => range = ByteRange::parse(value),
            Some(_) => {}
            None => break,
        }
    }
    Ok(Some(if known { Ok(Asked { is_head, path, range }) } else { Err("405 Method Not Allowed") }))
}

#[cfg(test)]
mod tests {
    use oci::{Descriptor, ImageManifest, MediaType};
    use store::{Blob, ImageStore as _, MemoryStore};

    use super::*;

    fn image() -> (MemoryStore, Document) {
        let store = MemoryStore::new();
        let put = |media_type, content: &[u8]| {
            let descriptor = Descriptor::of(media_type, content);
            store.put_blob(&descriptor, Blob::from_bytes(content.to_vec())).unwrap();
            descriptor
        };
        let (config, layer) = (put(MediaType::OciConfig, b"{}"), put(MediaType::OciLayerGzip, b"0123456789"));
        put(MediaType::OciLayerGzip, b"a secret of another image");
        let document = Document::from_manifest(ImageManifest::new(config, vec![layer]));
        store.put_document(&document).unwrap();
        (store, document)
    }

    fn whole<'a>(store: &'a MemoryStore, image: &'a Document) -> Goods<'a> {
        static NONE: BTreeMap<Digest, Digest> = BTreeMap::new();
        Goods { source: store, image, unpacked: &NONE }
    }

    /// Sends requests over one connection and returns all that comes.
    fn talk(name: &Repository, requests: &str) -> String {
        let mut stream = TcpStream::connect(name.registry().as_str()).unwrap();
        stream.write_all(requests.replace('\n', "\r\n").as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn manifest_and_blobs_over_one_connection() {
        let (store, image) = image();
        let layer = image.as_image().unwrap().layers[0].digest;
        let answers = lend(whole(&store, &image), |name| {
            let path = name.path();
            talk(
                name,
                &format!(
                    "GET /v2/ HTTP/1.1\n\nHEAD /v2/{path}/manifests/{digest} HTTP/1.1\n\n\
                     GET /v2/{path}/blobs/{layer} HTTP/1.1\n\nGET /v2/{path}/blobs/{layer} HTTP/1.1\nRange: bytes=7-\n\n\
                     GET /v2/{path}/blobs/{layer} HTTP/1.1\nrange: bytes=20-\n\n",
                    digest = image.digest()
                ),
            )
        });
        let (answers, served) = answers.unwrap();
        assert_eq!(served, 10 + 3, "HEAD sends nothing");
        let statuses: Vec<&str> =
            answers.lines().filter_map(|line| line.split("HTTP/1.1 ").nth(1)?.get(..3)).collect();
        assert_eq!(statuses, ["200", "200", "200", "206", "416"], "{answers}");
        assert!(answers.contains("\r\n\r\n0123456789HTTP/1.1 206"), "{answers}");
        assert!(answers.contains("Content-Range: bytes 7-9/10\r\n"), "{answers}");
    }

    #[test]
    fn nothing_else_is_to_be_had() {
        let (store, image) = image();
        let other = Digest::of(b"a secret of another image");
        let config = image.as_image().unwrap().config.digest;
        lend(whole(&store, &image), |name| {
            let path = name.path();
            for target in [
                format!("/v2/{path}/blobs/{other}"),
                format!("/v2/{path}/manifests/latest"),
                format!("/v2/{path}/tags/list"),
                format!("/v2/guessed/blobs/{config}"),
                format!("/v2/guessed/manifests/{}", image.digest()),
                "/v2/_catalog".to_owned(),
                "/../etc/passwd".to_owned(),
            ] {
                let answer = talk(name, &format!("GET {target} HTTP/1.1\n\n"));
                assert!(answer.starts_with("HTTP/1.1 404"), "{target}: {answer}");
            }
            let answer = talk(name, &format!("POST /v2/{path}/blobs/uploads/ HTTP/1.1\n\n"));
            assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
            let long = format!("GET /v2/ HTTP/1.1\nx: {}\n\n", "y".repeat(40_000));
            assert!(!talk(name, &long).starts_with("HTTP/1.1 200"));
        })
        .unwrap();
    }

    #[test]
    fn a_layer_goes_without_its_compression_in_pieces() {
        let store = MemoryStore::new();
        let plain: Vec<u8> = (0..PIECE_BYTES as u32 / 2).flat_map(u32::to_le_bytes).collect();
        let mut compressor =
            layer::compressor(layer::Settings::new(oci::Compression::Gzip), Vec::new()).unwrap();
        compressor.write_all(&plain).unwrap();
        let packed = compressor.finish().unwrap();
        let put = |content: Vec<u8>| {
            let descriptor = Descriptor::of(MediaType::OciLayerGzip, &content);
            store.put_blob(&descriptor, Blob::from_bytes(content)).unwrap();
            descriptor
        };
        let (blob, damaged) = (put(packed.clone()), put(packed[..packed.len() / 2].to_vec()));
        let (layer, broken) =
            (Descriptor::of(MediaType::OciLayer, &plain), Digest::of(b"what it should hold"));
        let config = Descriptor::of(MediaType::OciConfig, b"{}");
        let broken_layer = Descriptor::new(MediaType::OciLayer, broken, 19);
        let image = Document::from_manifest(ImageManifest::new(config, vec![broken_layer, layer.clone()]));
        let unpacked = BTreeMap::from([(layer.digest, blob.digest), (broken, damaged.digest)]);
        let ask = |name: &Repository, digest: Digest| {
            let mut stream = TcpStream::connect(name.registry().as_str()).unwrap();
            write!(stream, "GET /v2/{}/blobs/{digest} HTTP/1.1\r\n\r\n", name.path()).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            answer
        };
        let goods = Goods { source: &store, image: &image, unpacked: &unpacked };
        let ((answer, broken, packed), served) =
            lend(goods, |name| (ask(name, layer.digest), ask(name, broken), ask(name, blob.digest))).unwrap();
        let body = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        let head = format!("{PIECE_BYTES:x}\r\n");
        let mut expected: Vec<u8> =
            plain.chunks(PIECE_BYTES).flat_map(|piece| [head.as_bytes(), piece, b"\r\n"].concat()).collect();
        expected.extend(b"0\r\n\r\n");
        assert!(answer[body..] == expected[..], "{} bytes for {}", answer.len() - body, expected.len());
        assert!(served >= plain.len() as u64);
        assert!(!broken.ends_with(b"0\r\n\r\n"), "a broken layer does not end as a whole one does");
        assert!(packed.starts_with(b"HTTP/1.1 404"), "the blob itself is not of the image");
    }

    #[test]
    fn who_tries_tls_is_told_in_plain_words() {
        let (store, image) = image();
        let (answer, _) = lend(whole(&store, &image), |name| {
            let mut stream = TcpStream::connect(name.registry().as_str()).unwrap();
            stream.write_all(&[TLS_HANDSHAKE, 3, 1, 0, 0]).unwrap();
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).unwrap();
            answer
        })
        .unwrap();
        assert_eq!(&answer, b"HTTP/1.1 400");
    }

    #[test]
    fn it_ends_with_the_borrower_whoever_holds_on() {
        let (store, image) = image();
        let (held, _) =
            lend(whole(&store, &image), |name| TcpStream::connect(name.registry().as_str()).unwrap())
                .unwrap();
        let mut rest = Vec::new();
        let _ = (&held).read_to_end(&mut rest);
        assert_eq!(rest, b"");
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            lend(whole(&store, &image), |_| panic!("the borrower")).unwrap();
        }));
        assert!(panicked.is_err());
    }
}
