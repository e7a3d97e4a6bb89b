//! What the conformance suite of distribution-spec (version 2, `dev` with sparse data) looks at,
//! one set of data after the other: pushed, headed, pulled, listed, asked about, deleted.
//! Source: distribution-spec, conformance/README.md; `tests/server.rs` has the blob requests.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use oci::{Algorithm, Descriptor, Digest, Document, ImageIndex, ImageManifest, MediaType, Platform};
use support::noise;
use support::spec::Spec;

const MANIFESTS: (&str, &str) =
    ("Accept", "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json");
const EXAMPLE: &str = "application/vnd.example.oci.conformance.v1";

/// A set of documents with their blobs, known by one algorithm; children come before parents.
struct Data {
    algorithm: Algorithm,
    seed: u64,
    blobs: Vec<Vec<u8>>,
    documents: Vec<Vec<u8>>,
}

impl Data {
    fn new(algorithm: Algorithm) -> Self {
        Self { algorithm, seed: 1, blobs: Vec::new(), documents: Vec::new() }
    }

    fn descriptor(&self, media_type: MediaType, content: &[u8]) -> Descriptor {
        Descriptor::new(media_type, Digest::with(self.algorithm, content), content.len() as u64)
    }

    fn blob(&mut self, media_type: MediaType, content: Vec<u8>) -> Descriptor {
        let descriptor = self.descriptor(media_type, &content);
        self.blobs.push(content);
        descriptor
    }

    fn layer(&mut self) -> Descriptor {
        self.seed += 1;
        self.blob(MediaType::OciLayerGzip, noise(self.seed, 300))
    }

    fn manifest(&mut self, layers: usize) -> ImageManifest {
        self.seed += 1;
        let config = format!(r#"{{"os":"linux","architecture":"amd64","n":{}}}"#, self.seed);
        let config = self.blob(MediaType::OciConfig, config.into_bytes());
        let layers = (0..layers).map(|_| self.layer()).collect();
        ImageManifest::new(config, layers)
    }

    fn artifact(&mut self) -> ImageManifest {
        let config = self.blob(MediaType::OciEmpty, b"{}".to_vec());
        self.seed += 1;
        let layer = self.blob(EXAMPLE.into(), noise(self.seed, 200));
        let mut manifest = ImageManifest::new(config, vec![layer]);
        manifest.artifact_type = Some(EXAMPLE.to_owned());
        manifest
    }

    fn image(&mut self, manifest: ImageManifest) -> Descriptor {
        self.document(MediaType::OciManifest, Document::from_manifest(manifest).raw().to_vec())
    }

    fn index(&mut self, children: Vec<Descriptor>, change: impl FnOnce(&mut ImageIndex)) -> Descriptor {
        let mut index = ImageIndex::new(children);
        change(&mut index);
        self.document(MediaType::OciIndex, Document::from_index(index).raw().to_vec())
    }

    fn document(&mut self, media_type: MediaType, raw: Vec<u8>) -> Descriptor {
        let descriptor = self.descriptor(media_type, &raw);
        self.documents.push(raw);
        descriptor
    }

    fn platforms(&mut self) -> Vec<Descriptor> {
        let mut children = Vec::new();
        for platform in ["linux/amd64", "linux/arm64"] {
            let manifest = self.manifest(2);
            let platform: Platform = platform.parse().unwrap();
            children.push(self.image(manifest).for_platform(platform));
        }
        children
    }

    /// Pushes everything, the last document by the tags too, and looks at each answer.
    #[track_caller]
    fn push(&self, spec: &Spec, tags: &[&str], how: Tags) {
        for blob in &self.blobs {
            let digest = Digest::with(self.algorithm, blob);
            spec.check("POST", &format!("/v2/a/blobs/uploads/?digest={digest}"), blob, 201);
        }
        for (position, raw) in self.documents.iter().enumerate() {
            let is_last = position + 1 == self.documents.len();
            let digest = Digest::with(self.algorithm, raw).to_string();
            let query = match how {
                Tags::InQuery if is_last => {
                    format!("?{}", tags.iter().map(|tag| format!("tag={tag}&")).collect::<String>())
                }
                _ => String::new(),
            };
            let response = put(spec, &format!("{digest}{query}"), raw);
            assert_eq!(response.header("docker-content-digest"), digest);
            let location = response.header("location").to_owned();
            assert!(spec.ask("GET", &location, &[MANIFESTS], b"").body == *raw);
            let set: Vec<&str> = response.headers("oci-tag").collect();
            assert_eq!(set, if query.is_empty() { &[] } else { tags });
        }
        for tag in tags.iter().filter(|_| how == Tags::OneByOne) {
            put(spec, tag, self.documents.last().unwrap());
        }
    }

    #[track_caller]
    fn pull(&self, spec: &Spec, tags: &[&str]) {
        let list = spec.get("/v2/a/tags/list").text();
        for tag in tags {
            assert!(list.contains(&format!("\"{tag}\"")), "{list}");
            self.pull_document(spec, tag, self.documents.last().unwrap());
        }
        for raw in &self.documents {
            self.pull_document(spec, &Digest::with(self.algorithm, raw).to_string(), raw);
        }
        for blob in &self.blobs {
            let digest = Digest::with(self.algorithm, blob).to_string();
            for method in ["HEAD", "GET"] {
                let response = spec.check(method, &format!("/v2/a/blobs/{digest}"), b"", 200);
                assert_eq!(response.header("docker-content-digest"), digest);
                assert_eq!(response.header("content-length"), blob.len().to_string());
                assert!(method == "HEAD" || response.body == *blob);
            }
        }
    }

    #[track_caller]
    fn pull_document(&self, spec: &Spec, name: &str, raw: &[u8]) {
        for method in ["HEAD", "GET"] {
            let response = spec.ask(method, &format!("/v2/a/manifests/{name}"), &[MANIFESTS], b"");
            assert_eq!(response.status, 200, "{method} {name}");
            assert_eq!(
                response.header("docker-content-digest"),
                Digest::with(self.algorithm, raw).to_string()
            );
            assert_eq!(response.header("content-length"), raw.len().to_string());
            assert_eq!(response.header("content-type"), media_type(raw));
            assert!(if method == "HEAD" { response.body.is_empty() } else { response.body == raw });
        }
    }

    #[track_caller]
    fn delete(&self, spec: &Spec, tags: &[&str]) {
        let gone = |path: &str| {
            spec.check("DELETE", path, b"", 202);
            spec.check("HEAD", path, b"", 404);
        };
        tags.iter().for_each(|tag| gone(&format!("/v2/a/manifests/{tag}")));
        for raw in self.documents.iter().rev() {
            gone(&format!("/v2/a/manifests/{}", Digest::with(self.algorithm, raw)));
        }
        let mut digests: Vec<Digest> =
            self.blobs.iter().map(|blob| Digest::with(self.algorithm, blob)).collect();
        digests.sort();
        digests.dedup();
        digests.iter().for_each(|digest| gone(&format!("/v2/a/blobs/{digest}")));
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tags {
    OneByOne,
    InQuery,
}

fn media_type(raw: &[u8]) -> String {
    serde_json::from_slice::<serde_json::Value>(raw).unwrap()["mediaType"].as_str().unwrap().to_owned()
}

#[track_caller]
fn put(spec: &Spec, name: &str, raw: &[u8]) -> support::wire::Response {
    let path = format!("/v2/a/manifests/{name}");
    let response = spec.ask("PUT", &path, &[("Content-Type", &media_type(raw))], raw);
    assert_eq!(response.status, 201, "{name}: {}", response.text());
    response
}

/// A server of its own for each algorithm and each kind of storage.
fn each() -> impl Iterator<Item = (Algorithm, Spec)> {
    let algorithms = [Algorithm::Sha256, Algorithm::Sha512];
    algorithms.into_iter().flat_map(|algorithm| Spec::of_each_storage().map(|spec| (algorithm, spec)))
}

/// The whole way of one set of data.
#[track_caller]
fn check(fill: impl Fn(&mut Data)) {
    for (algorithm, spec) in each() {
        let mut data = Data::new(algorithm);
        fill(&mut data);
        // A tag alone is SHA-256's; by another digest tags come as parameters.
        let how = if algorithm == Algorithm::Sha256 { Tags::OneByOne } else { Tags::InQuery };
        for how in [how, Tags::InQuery] {
            data.push(&spec, &["one", "two"], how);
            data.pull(&spec, &["one", "two"]);
            data.delete(&spec, &["one", "two"]);
        }
    }
}

#[test]
fn images() {
    check(|data| {
        let manifest = data.manifest(2);
        data.image(manifest);
    });
    check(|data| {
        let manifest = data.manifest(0);
        data.image(manifest);
    });
    check(|data| {
        let mut manifest = data.manifest(1);
        for layer in &mut manifest.layers {
            layer.media_type = "application/vnd.oci.image.layer.v1.tar".into();
            layer.data = Some("aGVsbG8=".to_owned());
        }
        data.image(manifest);
    });
}

#[test]
fn large_manifests() {
    let spec = Spec::start();
    let mut data = Data::new(Algorithm::Sha256);
    let mut manifest = data.manifest(1);
    for number in 0..390 {
        manifest.annotations.insert(format!("large-annotation-{number}"), "A".repeat(10_000));
    }
    data.image(manifest);
    data.push(&spec, &["large"], Tags::InQuery);
    data.pull(&spec, &["large"]);
}

#[test]
fn indexes() {
    check(|data| {
        let children = data.platforms();
        data.index(children, |_| {});
    });
    check(|data| {
        let (one, two) = (data.platforms(), data.platforms());
        let children = vec![data.index(one, |_| {}), data.index(two, |_| {})];
        data.index(children, |_| {});
    });
    check(|data| {
        data.index(Vec::new(), |_| {});
    });
}

#[test]
fn artifacts() {
    check(|data| {
        let artifact = data.artifact();
        data.image(artifact);
    });
    check(|data| {
        let mut children = Vec::new();
        for _ in 0..2 {
            let artifact = data.artifact();
            children.push(data.image(artifact));
        }
        data.index(children, |index| index.artifact_type = Some(EXAMPLE.to_owned()));
    });
    check(|data| {
        let mut artifact = data.artifact();
        artifact.layers = vec![artifact.config.clone()];
        data.blobs.truncate(1);
        data.image(artifact);
    });
}

#[test]
fn custom_fields_come_back_to_the_letter() {
    check(|data| {
        let manifest = data.manifest(1);
        let text = String::from_utf8(Document::from_manifest(manifest).raw().to_vec()).unwrap();
        let raw = text.replacen('{', "{\n \"org.example.custom\" : {\"b\":1,\"a\":[2]},", 1);
        data.document(MediaType::OciManifest, raw.into_bytes());
    });
}

#[test]
fn layers_that_may_not_be_distributed_need_not_be_there() {
    check(|data| {
        let mut manifest = data.manifest(1);
        for (seed, kind) in [(70, "tar+gzip"), (71, "tar")] {
            let content = noise(seed, 100);
            let media_type = format!("application/vnd.oci.image.layer.nondistributable.v1.{kind}");
            let mut layer = data.descriptor(media_type.as_str().into(), &content);
            layer.urls = vec!["https://store.example.com/blob".to_owned()];
            manifest.layers.insert(0, layer);
        }
        data.image(manifest);
    });
}

#[test]
fn sparse_images_and_indexes() {
    check(|data| {
        let mut manifest = data.manifest(1);
        manifest.layers.push(data.descriptor(MediaType::OciLayerGzip, b"not there"));
        data.image(manifest);
    });
    check(|data| {
        let manifest = data.manifest(1);
        let child = data.image(manifest);
        let missing = data.descriptor(MediaType::OciManifest, b"missing");
        data.index(vec![child, missing], |_| {});
    });
}

#[test]
fn whole_images_can_be_asked_for() {
    let spec = Spec(support::TestServer::with(|options| options.children = store::Children::Sparse));
    let mut data = Data::new(Algorithm::Sha256);
    let mut manifest = data.manifest(1);
    let missing = data.descriptor(MediaType::OciLayerGzip, b"not there");
    manifest.layers.push(missing.clone());
    for blob in &data.blobs {
        spec.blob(blob);
    }
    let response = spec.manifest(&Document::from_manifest(manifest), "x");
    assert_eq!((response.status, response.code().as_str()), (400, "MANIFEST_BLOB_UNKNOWN"));
    assert!(response.text().contains(&missing.digest.to_string()));
}

#[test]
fn blobs_are_mounted_from_any_repository_that_has_them() {
    for (algorithm, spec) in each() {
        let content = noise(9, 512);
        let digest = Digest::with(algorithm, &content);
        let mount = format!("/v2/a/blobs/uploads/?mount={digest}");
        // Not there yet: a session is opened, as for any other upload.
        let response = spec.check("POST", &format!("{mount}&from=b"), b"", 202);
        let session = response.header("location").to_owned();
        spec.check("PUT", &format!("{session}?digest={digest}"), &content, 201);
        spec.check("DELETE", &format!("/v2/a/blobs/{digest}"), b"", 202);
        // The other repository has nothing but this blob: no manifest, no tag.
        spec.check("POST", &format!("/v2/b/c/blobs/uploads/?digest={digest}"), &content, 201);
        for query in ["", "&from=b/c"] {
            let response = spec.check("POST", &format!("{mount}{query}"), b"", 201);
            assert_eq!(response.header("docker-content-digest"), digest.to_string());
            assert!(spec.get(response.header("location")).body == content);
            spec.check("DELETE", &format!("/v2/a/blobs/{digest}"), b"", 202);
        }
        spec.check("DELETE", &format!("/v2/b/c/blobs/{digest}"), b"", 202);
        spec.check("POST", &mount, b"", 202);
    }
}

#[test]
fn several_blobs_are_mounted_in_one_request() {
    let spec = Spec::start();
    let contents: Vec<_> = (0..3).map(|number| noise(20 + number, 300)).collect();
    let digests: Vec<Digest> = contents.iter().map(|content| Digest::of(content)).collect();
    let mounts = |digests: &[Digest]| {
        let pairs: Vec<String> = digests.iter().map(|digest| format!("mount={digest}")).collect();
        format!("/v2/a/blobs/uploads/?{}", pairs.join("&"))
    };
    // None is there: a session begins, as for one.
    let response = spec.check("POST", &mounts(&digests), b"", 202);
    spec.check("DELETE", response.header("location"), b"", 204);
    for (content, digest) in contents.iter().zip(&digests).take(2) {
        spec.check("POST", &format!("/v2/b/blobs/uploads/?digest={digest}"), content, 201);
    }
    let response = spec.check("POST", &mounts(&digests), b"", 201);
    assert_eq!(response.header("plimsoll-mounted"), format!("{}, {}", digests[0], digests[1]));
    assert_eq!(response.header("plimsoll-present"), "");
    assert_eq!(response.header("docker-content-digest"), digests[0].to_string());
    for (digest, status) in digests.iter().zip([200, 200, 404]) {
        spec.check("HEAD", &format!("/v2/a/blobs/{digest}"), b"", status);
    }
    spec.check("DELETE", &format!("/v2/a/blobs/{}", digests[0]), b"", 202);
    let response = spec.check("POST", &mounts(&digests), b"", 201);
    assert_eq!(response.header("plimsoll-mounted"), digests[0].to_string());
    assert_eq!(response.header("plimsoll-present"), digests[1].to_string());
    let many: Vec<Digest> = (0..65_u8).map(|number| Digest::of(&[number])).collect();
    spec.check("POST", &mounts(&many), b"", 400);
    spec.check("POST", &format!("{}&mount=nonsense", mounts(&digests)), b"", 400);
}

#[test]
fn an_upload_can_name_its_algorithm_at_the_start() {
    let spec = Spec::start();
    let content = noise(3, 600);
    let digest = Digest::with(Algorithm::Sha512, &content);
    let begun = spec.check("POST", "/v2/a/blobs/uploads/?digest-algorithm=sha512", b"", 202);
    let session = begun.header("location").to_owned();
    spec.check("PATCH", &session, &content, 202);
    spec.check("PUT", &format!("{session}?digest={digest}"), b"", 201);
    let begun = spec.check("POST", "/v2/a/blobs/uploads/?digest-algorithm=sha512", b"", 202);
    let session = begun.header("location").to_owned();
    spec.check("PUT", &format!("{session}?digest={}", Digest::of(&content)), &content, 201);
    spec.check("POST", "/v2/a/blobs/uploads/?digest-algorithm=md5", b"", 400);
}

#[test]
fn a_tag_can_point_to_a_digest_of_the_other_algorithm() {
    let spec = Spec::start();
    let image = spec.image(1).known_by(Algorithm::Sha512);
    let response = spec.manifest(&image, "v1?digest-algorithm=sha512");
    assert_eq!(response.header("docker-content-digest"), image.digest().to_string());
    let response = spec.get("/v2/a/manifests/v1");
    assert_eq!(response.header("docker-content-digest"), image.digest().to_string());
    assert!(response.body == *image.raw());
}

#[test]
fn tags_of_one_request_are_set_together_or_not_at_all() {
    let immutable = |options: &mut registry::server::ServerOptions| {
        options.immutable = vec![registry::server::Immutable::new("v*")];
    };
    for spec in Spec::of_each_with(immutable) {
        check_tags_of_one_request(&spec);
    }
}

fn check_tags_of_one_request(spec: &Spec) {
    let (one, two) = (spec.image(1), spec.image(2));
    assert_eq!(spec.manifest(&one, &format!("{}?tag=v1&tag=main", one.digest())).status, 201);
    assert_eq!(spec.manifest(&one, &format!("{}?tag=v1", one.digest())).status, 201);
    assert_eq!(spec.manifest(&two, &format!("{}?tag=main&tag=v1", two.digest())).status, 409);
    let main = spec.get("/v2/a/manifests/main");
    assert_eq!(main.header("docker-content-digest"), one.digest().to_string());
    assert_eq!(spec.manifest(&two, &format!("{}?tag=-bad", two.digest())).status, 400);
    let many: String = (0..65).map(|number| format!("tag=t{number}&")).collect();
    assert_eq!(spec.manifest(&two, &format!("{}?{many}", two.digest())).status, 414);
}

#[test]
fn referrers_of_what_is_there_and_of_what_is_not() {
    for (algorithm, spec) in each() {
        let mut data = Data::new(algorithm);
        let manifest = data.manifest(1);
        let subject = data.image(manifest);
        let missing = data.descriptor(MediaType::OciManifest, b"missing content");
        let mut goal = Vec::new();
        for subject in [&subject, &missing] {
            let mut image = data.manifest(1);
            image.subject = Some(subject.clone());
            let mut artifact = data.artifact();
            artifact.subject = Some(subject.clone());
            artifact.annotations.insert("org.opencontainers.conformance".to_owned(), "hello".to_owned());
            let mut of_image = data.image(image);
            of_image.artifact_type = Some(MediaType::OciConfig.to_string());
            let mut of_artifact = data.image(artifact.clone());
            of_artifact.artifact_type = Some(EXAMPLE.to_owned());
            of_artifact.annotations = artifact.annotations;
            let with_subject = |index: &mut ImageIndex| index.subject = Some(subject.clone());
            let of_index = data.index(Vec::new(), with_subject);
            goal.push((subject.clone(), vec![of_image, of_artifact, of_index]));
        }
        data.push(&spec, &[], Tags::OneByOne);
        for (subject, goal) in goal {
            check_referrers(&spec, &subject, &goal);
        }
        let unknown = Digest::with(algorithm, b"unknown");
        check_referrers(&spec, &Descriptor::new(MediaType::OciManifest, unknown, 1), &[]);
    }
}

#[track_caller]
fn check_referrers(spec: &Spec, subject: &Descriptor, goal: &[Descriptor]) {
    let list = |query: &str| {
        let response = spec.check("GET", &format!("/v2/a/referrers/{}{query}", subject.digest), b"", 200);
        assert_eq!(response.header("content-type"), MediaType::OciIndex.as_str());
        let index: ImageIndex = serde_json::from_slice(&response.body).unwrap();
        assert_eq!((index.schema_version, index.media_type), (2, Some(MediaType::OciIndex)));
        (index.manifests, response.header("oci-filters-applied").to_owned())
    };
    let (mut found, mut goal) = (list("").0, goal.to_vec());
    found.sort_by_key(|one| one.digest);
    goal.sort_by_key(|one| one.digest);
    assert_eq!(found, goal);
    for wanted in goal.iter().filter_map(|one| one.artifact_type.clone()) {
        let (found, filters) = list(&format!("?artifactType={}", wanted.replace('+', "%2B")));
        let some: Vec<Descriptor> =
            goal.iter().filter(|one| one.artifact_type.as_deref() == Some(&*wanted)).cloned().collect();
        assert_eq!((found, filters.as_str()), (some, "artifactType"));
    }
}
