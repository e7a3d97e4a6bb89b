//! One image for several platforms with the real binary: the index, where it goes, and steps for other processors.

use std::ffi::OsStr;
use std::os::unix::fs::symlink;

use registry::server::{Server, ServerOptions};
use serde_json::Value;
use store::ImageStore as _;

use crate::shop::{Shop, skip};

const BOTH: &str = "--platform linux/amd64,linux/arm64";

/// A project whose image needs no step to run for the platform.
fn shop() -> Option<Shop> {
    let dockerfile = "FROM --platform=$BUILDPLATFORM local/base:1 AS made\nARG BUILDARCH\nRUN echo $BUILDARCH >/arch\n\
                      FROM scratch\nARG TARGETARCH\nENV ARCH=$TARGETARCH\nCOPY --from=made /arch /built-on\n\
                      COPY $TARGETARCH.txt /arch\n";
    Shop::open(&[
        ("plimsoll.toml", "[service.app]\n"),
        ("amd64.txt", "amd64"),
        ("arm64.txt", "arm64"),
        ("Dockerfile", dockerfile),
    ])
}

fn build(shop: &Shop, flags: &str) -> Value {
    shop.call(&format!("build -t local/app:1 {BOTH} {flags} . --format json")).exits(0).json()
}

#[test]
fn several_platforms_give_an_index_and_what_is_for_none_runs_once() {
    let Some(shop) = shop() else { return };
    let seen = shop.call(&format!("build -t local/app:1 {BOTH} --no-cache . --format json")).exits(0);
    let app = &seen.json()["services"]["app"];
    assert_eq!((&app["steps"], &app["cached"]), (&Value::from(6), &Value::from(2)), "{seen}");
    let again = build(&shop, "");
    assert_eq!(again["services"]["app"]["digest"], app["digest"]);
    let store = store::LayoutStore::open(&shop.root("store")).unwrap();
    let repository = store.repository(&"local/app".parse().unwrap());
    let index = repository.document(&app["digest"].as_str().unwrap().parse().unwrap()).unwrap();
    let platforms: Vec<String> = index
        .as_index()
        .unwrap()
        .manifests
        .iter()
        .map(|child| child.platform.as_ref().unwrap().to_string())
        .collect();
    assert_eq!(platforms, ["linux/amd64", "linux/arm64"]);
    shop.check_root();
}

#[test]
fn each_kind_of_result_holds_all_platforms() {
    let Some(shop) = shop() else { return };
    let answer = build(
        &shop,
        "-o out -o type=tar,dest=files.tar -o type=oci,dest=oci.tar -o type=oci,tar=false,dest=layout --iidfile id \
         --metadata-file meta.json",
    );
    let digest = answer["services"]["app"]["digest"].as_str().unwrap().to_owned();
    for platform in ["amd64", "arm64"] {
        let file = shop.path(&format!("out/linux_{platform}/arch"));
        assert_eq!(std::fs::read_to_string(file).unwrap(), platform);
    }
    let names: Vec<String> = tar_names(&shop.path("files.tar"));
    assert!(names.contains(&"linux_arm64/arch".to_owned()), "{names:?}");
    assert_eq!(std::fs::read_to_string(shop.path("id")).unwrap(), digest);
    let metadata: Value = serde_json::from_slice(&std::fs::read(shop.path("meta.json")).unwrap()).unwrap();
    assert_eq!(metadata["containerimage.digest"], *digest);
    assert!(metadata.get("containerimage.config.digest").is_none(), "{metadata}");
    for place in ["oci-archive:oci.tar", "oci:layout"] {
        let seen = shop.call(&format!("inspect {place} --format json")).exits(0);
        assert!(seen.stdout.contains(&digest) && seen.stdout.contains("linux/arm64"), "{seen}");
    }
}

fn tar_names(file: &std::path::Path) -> Vec<String> {
    let mut tar = layer::TarReader::new(std::fs::File::open(file).unwrap());
    let mut names = Vec::new();
    while let Some(entry) = tar.next_entry().unwrap() {
        names.push(String::from_utf8_lossy(&entry.path).into_owned());
    }
    names
}

#[test]
fn what_holds_one_platform_is_refused_before_anything_is_built() {
    let Some(shop) = shop() else { return };
    let call = |flags: &str| shop.call(&format!("build -t local/app:1 {BOTH} {flags} ."));
    call("-o type=docker,dest=x.tar").exits(2).says("several platforms").says("use type=oci").says_not("1/");
    call("-o type=local,dest=x,platform-split=false").exits(2).says("platform-split");
    call("--push").exits(2).says("names no registry");
    shop.call("build --push .").exits(2).says("--push needs a name");
    shop.call("build -t local/app:1 -o type=local,dest=one,platform-split=true .").exits(0);
    let host = oci::Platform::host();
    assert!(shop.path(&format!("one/linux_{}/arch", host.architecture)).is_file());
}

#[test]
fn the_index_is_pushed_with_its_annotations() {
    let Some(shop) = shop() else { return };
    let served = store::LayoutStore::open(&shop.beside("served")).unwrap();
    let server = Server::start(ServerOptions::new(([127, 0, 0, 1], 0).into(), served.clone())).unwrap();
    let name = format!("{}/acme/app:1", server.address());
    shop.call(&format!(
        "build -t {name} {BOTH} --push --annotation a=1 --annotation index:b=2 --annotation \
         manifest-descriptor[linux/arm64]:c=3 ."
    ))
    .exits(0);
    let repository = served.repository(&"local/acme/app".parse().unwrap());
    let repository = match repository.resolve(&"1".parse().unwrap()) {
        Ok(_) => repository,
        Err(_) => served.repository(name.parse::<oci::Reference>().unwrap().repository()),
    };
    let found = repository.resolve(&"1".parse().unwrap()).unwrap();
    let document = repository.document(&found.digest).unwrap();
    let index = document.as_index().unwrap();
    assert_eq!(index.annotations["b"], "2");
    assert!(index.manifests[0].annotations.is_empty());
    assert_eq!(index.manifests[1].annotations["c"], "3");
    let child = repository.document(&index.manifests[0].digest).unwrap();
    assert_eq!(child.as_image().unwrap().annotations["a"], "1");
    server.stop();
    server.join();
}

#[test]
fn a_step_for_another_processor_names_the_emulator_it_needs() {
    let Some(shop) = foreign() else { return };
    let seen = shop.call("build -t local/app:1 --platform linux/mips64le .");
    if seen.code == Some(0) || seen.stderr.contains("exited with code") {
        skip::<()>("this machine runs mips64le");
        return;
    }
    seen.exits(1).says("Dockerfile:3").says("qemu-mips64el-static").says("PLIMSOLL_EMULATORS");
}

/// A project whose step is a program for another processor, as far as its first bytes say.
fn foreign() -> Option<Shop> {
    let shop = Shop::open(&[
        ("plimsoll.toml", "[service.app]\n"),
        ("Dockerfile", "FROM scratch\nCOPY --chmod=755 program /program\nRUN [\"/program\", \"argument\"]\n"),
    ])?;
    let mut program = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x08\0".to_vec();
    program.resize(256, 0);
    shop.write("program", program);
    Some(shop)
}

/// Busybox in the place of the emulator: the kernel starts it with the program's path, and it says that it has no
/// applet of its name.
#[test]
fn an_emulator_is_registered_for_the_step_and_for_nobody_else() {
    let Some(shop) = foreign() else { return };
    let folder = shop.beside("emulators");
    std::fs::create_dir(&folder).unwrap();
    symlink("/bin/busybox", folder.join("qemu-mips64el-static")).unwrap();
    let variables: [(&str, &OsStr); 1] = [("PLIMSOLL_EMULATORS", folder.as_os_str())];
    let seen = shop.call_with("build -t local/app:1 --platform linux/mips64le .", &variables);
    if seen.stderr.contains("Linux before 6.7") {
        skip::<()>("the kernel registers emulators for the whole machine only");
        return;
    }
    seen.exits(1).says("applet not found").says("exited with code 127");
    shop.call("build -t local/app:1 --platform linux/mips64le .").exits(1).says("qemu-mips64el-static");
}
