//! Names: which there are, moving one, taking one away.

use super::*;

fn tag(text: &str) -> oci::Tag {
    text.parse().unwrap()
}

#[test]
fn a_name_moves_and_goes() {
    let (fake, old, new) = (Fake::start(), image(&[5]), image(&[6]));
    send(&old, repository(&fake)).unwrap();
    send(&new, repository(&fake)).unwrap();
    let images = repository(&fake);
    assert_eq!(images.resolve(&tag("1")).unwrap(), *new.document.descriptor());
    images.untag(&tag("1")).unwrap();
    assert!(matches!(images.untag(&tag("1")), Err(StoreError::NotFound { .. })));
    let error = images.resolve(&tag("1")).unwrap_err();
    let expected =
        format!("{NAME} in namespace default of containerd at {} does not exist", fake.socket().display());
    assert_eq!(error.to_string(), expected);
}

#[test]
fn the_names_of_one_repository_are_told_from_others() {
    let (fake, image) = (Fake::start(), image(&[5]));
    send(&image, repository(&fake)).unwrap();
    repository(&fake).name_digest(&image.document).unwrap();
    let target = fake.state().images[&key("default", NAME)].clone();
    let digest = image.document.digest();
    let others = [
        ("default", "docker.io/acme/api:2"),
        ("default", "docker.io/acme/other:1"),
        ("default", "sha256:0123"),
        ("default", "ghcr.io/acme/api:3"),
        ("k8s.io", "docker.io/acme/api:4"),
    ];
    others
        .iter()
        .for_each(|(space, name)| drop(fake.state().images.insert(key(space, name), target.clone())));
    let images = repository(&fake);
    assert_eq!(images.tags().unwrap(), [tag("1"), tag("2")]);
    let listed = containerd(&fake).images(&Namespace::usual()).unwrap();
    let names: Vec<&str> = listed.iter().map(|image| image.name.as_str()).collect();
    let by_digest = format!("docker.io/acme/api@{digest}");
    let expected = [
        NAME,
        "docker.io/acme/api:2",
        &by_digest,
        "docker.io/acme/other:1",
        "ghcr.io/acme/api:3",
        "sha256:0123",
    ];
    assert_eq!(names, expected);

    images.delete_document(&digest).unwrap();
    assert!(images.tags().unwrap().is_empty());
    assert_eq!(containerd(&fake).images(&Namespace::usual()).unwrap().len(), 3);
    assert!(matches!(images.delete_document(&digest), Err(StoreError::NotFound { .. })));
}

#[test]
fn a_namespace_that_is_not_there_is_told_with_those_that_are() {
    let (fake, image) = (Fake::start(), image(&[5]));
    let error = repository(&fake).resolve(&tag("1")).unwrap_err();
    assert!(error.to_string().contains("it has no namespace yet"), "{error}");
    send(&image, in_namespace(&fake, "k8s.io")).unwrap();
    let error = repository(&fake).resolve(&tag("1")).unwrap_err();
    assert!(error.to_string().contains("(its namespaces: k8s.io)"), "{error}");
    let error = containerd(&fake).images(&Namespace::usual()).unwrap_err();
    let socket = fake.socket();
    let expected = format!(
        "namespace default of containerd at {} (its namespaces: k8s.io) does not exist",
        socket.display()
    );
    assert_eq!(error.to_string(), expected);
}
