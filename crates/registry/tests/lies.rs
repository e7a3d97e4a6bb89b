//! Servers that lie, waste time or never end: our client says what is wrong, keeps its memory, and
//! gives nothing away. Digests, ranges and retries are in `faults`, credentials in `authorization`.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use oci::{Descriptor, Digest, Document, ImageIndex, ImageManifest, MediaType};
use registry::client::{ClientOptions, RetryPolicy};
use store::{BlobStore, CopyOptions, ImageStore, LayoutStore, MemoryStore, StoreError, copy_image};
use support::scripted::{Act, Answer, Asked, Scripted};
use support::{TestClient, descriptor, noise, put_image, read, tag};

fn reason(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}

/// A client that waits no longer than a test can.
fn hasty() -> TestClient {
    TestClient::new(|options: &mut ClientOptions| {
        let silence = Duration::from_millis(200);
        options.retry = RetryPolicy { attempts: 2, silence, ..options.retry.clone() };
    })
}

/// Answers with this head, then a byte now and then.
fn drip(head: &'static str) -> Act {
    Act::Wild(Box::new(move |stream: &mut TcpStream| {
        let mut more = stream.write_all(head.as_bytes());
        while more.is_ok() {
            more = stream.write_all(b" ");
            std::thread::sleep(Duration::from_millis(20));
        }
    }))
}

/// Answers with this head, then with bytes as long as somebody takes them.
fn endless(head: String, bytes: Vec<u8>) -> Act {
    Act::Wild(Box::new(move |stream: &mut TcpStream| {
        let mut more = stream.write_all(head.as_bytes());
        while more.is_ok() {
            more = stream.write_all(&bytes);
        }
    }))
}

fn chunk() -> Vec<u8> {
    format!("10000\r\n{}\r\n", " ".repeat(0x1_0000)).into_bytes()
}

#[test]
fn answers_that_drip_are_given_up() {
    let server = Scripted::start(|_: &Asked| drip("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"));
    let test = hasty();
    let remote = test.client.repository(&server.repository("a"));
    for error in [
        remote.document(&Digest::of(b"x")).unwrap_err(),
        remote.tags().unwrap_err(),
        remote.referrers(&Digest::of(b"x")).unwrap_err(),
    ] {
        assert!(reason(&error).contains("sent only"), "{}", reason(&error));
    }
    let error = read(remote.open_blob(&Digest::of(b"x")).unwrap()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut, "{error}");
}

#[test]
fn bodies_without_end_are_not_kept() {
    let with_length = "HTTP/1.1 200 OK\r\nContent-Length: 9000000000000\r\n\r\n";
    let without = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (head, bytes) in [(with_length, vec![b' '; 0x1_0000]), (without, chunk())] {
        let server = Scripted::start(move |_: &Asked| endless(head.to_owned(), bytes.clone()));
        let test = hasty();
        let remote = test.client.repository(&server.repository("a"));
        for error in [
            remote.document(&Digest::of(b"x")).unwrap_err(),
            remote.tags().unwrap_err(),
            remote.referrers(&Digest::of(b"x")).unwrap_err(),
        ] {
            assert!(reason(&error).contains("longer than"), "{}", reason(&error));
        }
    }
}

/// A server of one image whose layer it treats as it likes.
fn with_layer(layer: impl Fn(&Asked) -> Act + Send + 'static) -> (Scripted, Document) {
    let store = MemoryStore::new();
    let image = put_image(&store, &[noise(1, 2_000_000)]);
    let raw = image.raw().clone();
    let config = image.as_image().unwrap().config.digest;
    let content = read(store.open_blob(&config).unwrap()).unwrap();
    let server = Scripted::start(move |asked: &Asked| {
        if asked.path.contains("/manifests/") {
            let answer = Answer::status(200).header("Content-Type", MediaType::OciManifest);
            return answer.body(raw.to_vec()).into();
        }
        if asked.path.contains(&config.to_string()) {
            return Answer::status(200).body(content.clone()).into();
        }
        layer(asked)
    });
    (server, image)
}

#[test]
fn a_layer_of_another_size_is_refused_before_it_is_fetched() {
    for length in [9_000_000_000_000_u64, 1_999_999, 0] {
        let (server, image) = with_layer(move |_| {
            endless(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"), vec![b' '; 0x1_0000])
        });
        let test = hasty();
        let remote = test.client.repository(&server.repository("a"));
        let folder = tempfile::tempdir().unwrap();
        let store = LayoutStore::open(folder.path()).unwrap();
        let to = store.repository(&"local/a".parse().unwrap());
        let error =
            copy_image(&remote, &to, image.descriptor(), &CopyOptions::default(), &|_| {}).unwrap_err();
        assert!(
            matches!(&error, StoreError::Corrupt { reason, .. } if reason.contains("2000000")),
            "{error}"
        );
        assert_eq!(std::fs::read_dir(folder.path().join("partial")).unwrap().count(), 0);
    }
}

#[test]
fn a_layer_that_goes_on_behind_its_end_is_corrupt() {
    let (server, image) = with_layer(|asked| match asked.method.as_str() {
        "HEAD" => Answer::status(200).header("Content-Length", 2_000_000).into(),
        _ => endless("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(), chunk()),
    });
    let test = hasty();
    let remote = test.client.repository(&server.repository("a"));
    let to = MemoryStore::new();
    let error = copy_image(&remote, &to, image.descriptor(), &CopyOptions::default(), &|_| {}).unwrap_err();
    assert!(matches!(&error, StoreError::Corrupt { .. }), "{error}");
}

#[test]
fn a_thousand_indexes_in_each_other_are_not_followed() {
    let mut documents = vec![Document::from_index(ImageIndex::new(Vec::new()))];
    for _ in 0..1000 {
        let last = documents.last().unwrap().descriptor().clone();
        documents.push(Document::from_index(ImageIndex::new(vec![last])));
    }
    let top = documents.last().unwrap().descriptor().clone();
    let server = Scripted::start(move |asked: &Asked| {
        let found = documents.iter().find(|document| asked.path.ends_with(&document.digest().to_string()));
        let answer = Answer::status(200).header("Content-Type", MediaType::OciIndex);
        answer.body(found.unwrap().raw().to_vec())
    });
    let test = TestClient::new(|_| {});
    let remote = test.client.repository(&server.repository("a"));
    let error = copy_image(&remote, &MemoryStore::new(), &top, &CopyOptions::default(), &|_| {}).unwrap_err();
    assert!(matches!(&error, StoreError::Corrupt { reason, .. } if reason.contains("nested")), "{error}");
    assert!(server.asked().len() < 20);
}

#[test]
fn manifests_without_end_are_not_all_kept() {
    // Each index has 4 MB of annotations and leads to the next; together they never fit.
    let mut children = Vec::new();
    let mut documents = Vec::new();
    for number in 0..20 {
        let mut index = ImageIndex::new(Vec::new());
        index
            .annotations
            .insert("org.example.padding".to_owned(), format!("{number}{}", "x".repeat(4_000_000)));
        let document = Document::from_index(index);
        children.push(document.descriptor().clone());
        documents.push(document);
    }
    let top = Document::from_index(ImageIndex::new(children));
    documents.push(top.clone());
    let server = Scripted::start(move |asked: &Asked| {
        let found = documents.iter().find(|document| asked.path.ends_with(&document.digest().to_string()));
        let answer = Answer::status(200).header("Content-Type", MediaType::OciIndex);
        answer.body(found.unwrap().raw().to_vec())
    });
    let test = TestClient::new(|_| {});
    let remote = test.client.repository(&server.repository("a"));
    let to = MemoryStore::new();
    let error = copy_image(&remote, &to, top.descriptor(), &CopyOptions::default(), &|_| {}).unwrap_err();
    assert!(
        matches!(&error, StoreError::Corrupt { reason, .. } if reason.contains("bytes of them")),
        "{error}"
    );
}

#[test]
fn manifests_of_four_mebibytes_are_read_and_of_nine_refused() {
    let of_size = |bytes: usize| {
        let mut manifest = ImageManifest::new(descriptor(b"{}"), Vec::new());
        manifest.annotations.insert("org.example.padding".to_owned(), "x".repeat(bytes));
        Document::from_manifest(manifest)
    };
    for (bytes, is_read) in [(4 << 20, true), (5_000_000, true), (9 << 20, false)] {
        let document = of_size(bytes);
        let raw = document.raw().clone();
        let server = Scripted::start(move |_: &Asked| {
            Answer::status(200).header("Content-Type", MediaType::OciManifest).body(raw.to_vec())
        });
        let test = TestClient::new(|_| {});
        let found = test.client.repository(&server.repository("a")).document(&document.digest());
        match found {
            Ok(found) => assert!(is_read && found.raw() == document.raw()),
            Err(error) => {
                assert!(!is_read && reason(&error).contains("longer than 8388608 bytes"), "{error}")
            }
        }
    }
}

#[test]
fn keys_that_come_twice_are_an_error() {
    let config = r#"{"mediaType":"application/vnd.oci.image.config.v1+json","size":2,"digest":"DIGEST"}"#;
    let config = config.replace("DIGEST", &Digest::of(b"{}").to_string());
    let raw = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[],"config":{config}}}"#);
    let digest = Digest::of(raw.as_bytes());
    let server = Scripted::start(move |_: &Asked| {
        Answer::status(200).header("Content-Type", MediaType::OciManifest).body(raw.clone())
    });
    let test = TestClient::new(|_| {});
    let error = test.client.repository(&server.repository("a")).document(&digest).unwrap_err();
    assert!(matches!(&error, StoreError::Corrupt { reason, .. } if reason.contains("duplicate")), "{error}");
}

#[test]
fn encoded_answers_are_named() {
    let server = Scripted::start(|_: &Asked| {
        Answer::status(200).header("Content-Encoding", "gzip").body(vec![0x1f, 0x8b, 8, 0, 0, 0])
    });
    let test = TestClient::new(|_| {});
    let remote = test.client.repository(&server.repository("a"));
    for error in [remote.tags().unwrap_err(), remote.document(&Digest::of(b"x")).unwrap_err()] {
        assert!(reason(&error).contains("encoded as gzip"), "{}", reason(&error));
    }
}

#[test]
fn a_digest_in_a_header_is_believed_only_where_it_is_right() {
    let document = Document::from_manifest(ImageManifest::new(descriptor(b"x"), Vec::new()));
    let raw = document.raw().clone();
    let server = Scripted::start(move |_: &Asked| {
        Answer::status(200)
            .header("Content-Type", MediaType::OciManifest)
            .header("Docker-Content-Digest", Digest::of(b"another"))
            .body(raw.to_vec())
    });
    let test = TestClient::new(|_| {});
    let remote = test.client.repository(&server.repository("a"));
    // Its own digest was asked for, and that it has.
    assert_eq!(remote.document(&document.digest()).unwrap().raw(), document.raw());
    // By tag there is only the header to go by: what it names is asked for and not there.
    let named = remote.resolve(&tag("v1")).unwrap().digest;
    assert!(matches!(remote.document(&named), Err(StoreError::Corrupt { .. })));
}

#[test]
fn lists_do_not_leave_the_registry() {
    let other = Scripted::start(|_: &Asked| Answer::status(200).body(r#"{"tags":["theirs"]}"#));
    for link in [other.url("/v2/a/tags/list"), "https://registry.invalid/v2/a/tags/list".to_owned()] {
        let server = Scripted::start(move |_: &Asked| {
            let body = format!(
                r#"{{"schemaVersion":2,"manifests":[],"tags":["a"],"mediaType":"{}"}}"#,
                MediaType::OciIndex
            );
            Answer::status(200).header("Link", format!("<{link}>; rel=\"next\"")).body(body)
        });
        let test = TestClient::new(|_| {});
        let remote = test.client.repository(&server.repository("a"));
        for error in [remote.tags().unwrap_err(), remote.referrers(&Digest::of(b"x")).unwrap_err()] {
            assert!(reason(&error).contains("not at another host"), "{}", reason(&error));
        }
    }
    assert_eq!(other.asked().len(), 0);
}

#[test]
fn a_million_tags_are_listed_and_more_than_fit_are_not() {
    let endless = |pages: usize, name: &'static str| {
        let server = Scripted::start(move |asked: &Asked| {
            let page: usize = asked.path.split("last=").nth(1).map_or(0, |last| last.parse().unwrap());
            let names: Vec<String> =
                (0..10_000).map(|number| format!("\"{name}{}\"", page * 10_000 + number)).collect();
            let answer = Answer::status(200).body(format!(r#"{{"tags":[{}]}}"#, names.join(",")));
            if page + 1 == pages {
                return answer;
            }
            answer.header("Link", format!("</v2/a/tags/list?n=1000&last={}>; rel=\"next\"", page + 1))
        });
        let test = TestClient::new(|_| {});
        test.client.repository(&server.repository("a")).tags()
    };
    assert_eq!(endless(100, "v1.0.").unwrap().len(), 1_000_000);
    let long = "a-name-that-is-as-long-as-one-of-a-tag-may-be-and-still-a-little-longer-than-it-should-be-";
    let error = endless(usize::MAX, long).unwrap_err();
    assert!(reason(&error).contains("the names of the list take more than"), "{}", reason(&error));
}

#[test]
fn clocks_that_are_wrong_do_not_matter() {
    let found = || Answer::status(200).header("Content-Length", 1);
    // Ours says 12:00:00 on the 20th; theirs is years off. What counts is the time between their two dates.
    let dates = [
        ("Mon, 20 Nov 2006 07:00:00 GMT", "Mon, 20 Nov 2006 07:00:30 GMT", 30),
        ("Tue, 20 Nov 2046 07:00:00 GMT", "Tue, 20 Nov 2046 07:00:07 GMT", 7),
        ("Fri, 20 Nov 2026 12:00:00 GMT", "Thu, 19 Nov 2026 12:00:00 GMT", 0),
    ];
    for (date, after, wait) in dates {
        let mut asked = 0;
        let server = Scripted::start(move |_: &Asked| {
            asked += 1;
            let busy = Answer::status(503).header("Date", date).header("Retry-After", after);
            if asked == 1 { busy } else { found() }
        });
        let test = TestClient::new(|_| {});
        let size = test.client.repository(&server.repository("a")).blob_size(&Digest::of(b"x"));
        assert_eq!((size.unwrap(), test.slept()), (Some(1), vec![Duration::from_secs(wait)]), "{date}");
    }
    for after in ["Tue, 20 Nov 2046 12:00:00 GMT", "18446744073709551615"] {
        let server = Scripted::start(move |_: &Asked| Answer::status(503).header("Retry-After", after));
        let test = TestClient::new(|_| {});
        let error = test.client.repository(&server.repository("a")).blob_size(&Digest::of(b"x")).unwrap_err();
        assert!(reason(&error).contains("asks for a wait of"), "{}", reason(&error));
        assert_eq!((server.asked().len(), test.slept().len()), (1, 0));
    }
}

#[test]
fn lifetimes_of_tokens_that_make_no_sense_are_a_minute() {
    for lifetime in ["0", "-5", "1e300", "\"soon\"", "null", "[]", "{}", "\"3600\"", "99999999999"] {
        let tokens = Scripted::start(move |_: &Asked| {
            Answer::status(200).body(format!(
                r#"{{"token":"T","expires_in":{lifetime},"issued_at":"1970-01-01T00:00:00Z"}}"#
            ))
        });
        let realm = tokens.url("/token");
        let server = Scripted::start(move |asked: &Asked| match asked.header("authorization") {
            Some("Bearer T") => Answer::status(200).body(r#"{"tags":["x"]}"#),
            _ => Answer::status(401).header("WWW-Authenticate", format!("Bearer realm=\"{realm}\"")),
        });
        let test = TestClient::new(|_| {});
        let remote = test.client.repository(&server.repository("a"));
        for _ in 0..3 {
            assert_eq!(remote.tags().unwrap(), [tag("x")], "{lifetime}");
        }
        assert_eq!(tokens.asked().len(), 1, "{lifetime}");
    }
}

#[test]
fn a_token_that_ends_in_the_middle_of_a_blob_is_replaced() {
    let content = noise(1, 3_000_000);
    let tokens = {
        let mut count = 0;
        Scripted::start(move |_: &Asked| {
            count += 1;
            Answer::status(200).body(format!(r#"{{"token":"T{count}"}}"#))
        })
    };
    let (realm, served) = (tokens.url("/token"), content.clone());
    let server =
        Scripted::start(move |asked: &Asked| match (asked.header("authorization"), asked.header("range")) {
            (Some("Bearer T1"), None) => {
                Answer::status(200).announcing(served.len()).body(&served[..1_000_000])
            }
            (Some("Bearer T2"), Some("bytes=1000000-")) => Answer::status(206)
                .header("Content-Range", "bytes 1000000-2999999/3000000")
                .body(&served[1_000_000..]),
            _ => Answer::status(401).header("WWW-Authenticate", format!("Bearer realm=\"{realm}\"")),
        });
    let test = TestClient::new(|_| {});
    let remote = test.client.repository(&server.repository("a"));
    assert!(read(remote.open_blob(&Digest::of(&content)).unwrap()).unwrap() == content);
    assert_eq!((tokens.asked().len(), test.slept().len()), (2, 1));
}

#[test]
fn a_dead_registry_is_given_up_with_how_often_and_how_long() {
    let server = Scripted::start(|_: &Asked| Answer::status(503));
    let test = TestClient::new(|options| {
        options.retry =
            RetryPolicy { attempts: 100, total: Duration::from_secs(60), ..options.retry.clone() };
    });
    let remote = test.client.repository(&server.repository("a"));
    let error = remote.blob_size(&Digest::of(b"x")).unwrap_err();
    let expected = "gave up: 7 attempts failed over 60 s and none was answered";
    assert!(error.is_transient() && reason(&error).contains(expected), "{}", reason(&error));
    // The next request is made once: the host is known to be dead.
    let before = server.asked().len();
    remote.tags().unwrap_err();
    assert_eq!(server.asked().len(), before + 1);
}

#[test]
fn all_requests_of_a_command_share_the_retries() {
    let server = Scripted::start(|_: &Asked| Answer::status(503));
    let test = TestClient::new(|options| {
        options.retry = RetryPolicy { attempts: 3, budget: 5, wait: Duration::ZERO, ..options.retry.clone() };
    });
    let remote = test.client.repository(&server.repository("a"));
    let errors: Vec<String> =
        (0..6).map(|number: u8| reason(&remote.blob_size(&Digest::of(&[number])).unwrap_err())).collect();
    assert!(errors[0].contains("gave up after 3 attempts over 0 s"), "{errors:?}");
    assert!(errors[5].contains("all 5 retries that this host gets are used up"), "{errors:?}");
    assert_eq!(server.asked().len(), 6 + 5);
}

/// Layers that are to be had elsewhere too come along where the source has them, and are left and named where it has
/// not.
#[test]
fn layers_with_urls_and_unknown_types_are_carried() {
    let (here, config, odd) = (noise(1, 1000), b"{}".to_vec(), noise(2, 1000));
    let with_url = |content: &[u8]| {
        let mut descriptor = Descriptor::of(MediaType::OciLayerGzip, content);
        descriptor.urls = vec!["https://example.com/layer".to_owned()];
        descriptor
    };
    let layers =
        vec![with_url(&here), with_url(b"elsewhere"), Descriptor::of("application/x-odd".into(), &odd)];
    let config_of = Descriptor::of("application/x-config".into(), &config);
    let image = Document::from_manifest(ImageManifest::new(config_of, layers));
    let source = support::TestServer::start();
    let from = source.store.repository(&"local/a".parse().unwrap());
    for content in [&here, &config, &odd] {
        from.put_blob(&descriptor(content), store::Blob::from_bytes(content.clone())).unwrap();
    }
    from.tag(&tag("v1"), &image).unwrap();
    let test = TestClient::new(|_| {});
    let remote = test.client.repository(&source.repository("a"));
    let to = MemoryStore::new();
    let copied = copy_image(&remote, &to, image.descriptor(), &CopyOptions::default(), &|_| {}).unwrap();
    assert_eq!((copied.blobs_moved, to.blob_size(&Digest::of(b"elsewhere")).unwrap()), (3, None));
    assert_eq!(copied.left_out, [with_url(b"elsewhere")]);
    assert_eq!(to.document(&image.digest()).unwrap().raw(), image.raw());
}
