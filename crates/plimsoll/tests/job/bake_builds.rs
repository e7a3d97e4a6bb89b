//! `bake` with what `build` has: caches, contexts from elsewhere, outputs, limits of steps.

use crate::cache_tiers::Machines;
use crate::contexts_elsewhere::{call, repository};
use crate::shop::Shop;

const DOCKERFILE: &str = "FROM scratch\nCOPY big /big\nWORKDIR /work\nCOPY late /work/late\n";

fn definition(more: &str) -> String {
    format!(
        "group \"default\" {{ targets = [\"app\", \"other\"] }}\n\
         target \"app\" {{\n  dockerfile-inline = <<-EOT\n{DOCKERFILE}EOT\n  {more}\n}}\n\
         target \"other\" {{\n  inherits = [\"app\"]\n  labels = {{ A = \"b\" }}\n}}\n"
    )
}

fn machines(more: &str) -> Machines {
    let shop = Shop::without_base(&[("big", "a large file"), ("late", "one")]);
    let machines = Machines::with(shop);
    let more = more.replace("REGISTRY", &machines.registry.address);
    machines.shop.write("docker-bake.hcl", definition(&more));
    machines
}

#[test]
fn caches_of_the_definition_are_used() {
    let first = machines(
        "cache-from = [\"type=registry,ref=REGISTRY/acme/app:cache\"]\n  \
         cache-to = [{ type = \"registry\", ref = \"REGISTRY/acme/app:cache\", mode = \"max\" }]",
    );
    let seen = first.shop.call("bake --progress plain").exits(0);
    // Both targets write to it, at once.
    seen.says("app:cache has").says_not("warning");
    let second = first.another();
    second.shop.write("late", "two");
    let seen = second.shop.call("bake --progress plain --explain --format json").exits(0);
    let seen = seen.says("cached in registry:").says("files changed: late (compared with registry:");
    let targets = seen.json()["targets"].clone();
    // Whichever target comes first makes the new layer.
    let cached = |name: &str| targets[name]["cached"].as_u64().unwrap();
    assert_eq!(cached("app") + cached("other"), 5, "{targets}");
}

#[test]
fn caches_of_flags_are_in_the_place_of_those_of_the_definition() {
    let first =
        machines("cache-from = [\"type=local,src=nowhere\"]\n  cache-to = [\"type=local,dest=unwanted\"]");
    let cache = first.shop.beside("cache").display().to_string();
    first.shop.call(&format!("bake --cache-to type=local,dest={cache},mode=max")).exits(0);
    assert!(!first.shop.path("unwanted").exists());
    let folder = first.shop.git.path().join("kept");
    std::fs::rename(&cache, &folder).unwrap();
    let second = first.another();
    let seen = second.shop.call("bake --progress plain app --cache-from type=local,src=kept");
    seen.exits(0).says("cached in local:kept");
    second.shop.call("bake app --set app.cache-to=type=local,dest=said").exits(0);
    assert!(second.shop.path("said/index.json").exists());
}

#[test]
fn results_go_where_outputs_say() {
    let first = machines(
        "output = [\"type=local,dest=files\", \"type=tar,dest=files.tar\", \"type=oci,dest=layout,tar=false\"]",
    );
    first.shop.call("bake app").exits(0);
    assert_eq!(std::fs::read_to_string(first.shop.path("files/work/late")).unwrap(), "one");
    assert!(first.shop.path("files.tar").is_file() && first.shop.path("layout/index.json").is_file());
    let several = "bake app --set app.platform=linux/amd64 --set app.platform=linux/arm64";
    first.shop.call(several).exits(0);
    assert!(
        first.shop.path("files/linux_amd64/big").exists()
            && first.shop.path("files/linux_arm64/big").exists()
    );
    let seen = first.shop.call(&format!("{several} --set app.output=type=docker,dest=x.tar")).exits(2);
    seen.says("several platforms");
}

#[test]
fn pushed_images_and_their_caches_share_layers() {
    let first = machines(
        "tags = [\"REGISTRY/acme/app:1\"]\n  cache-to = [\"type=registry,ref=REGISTRY/acme/app:cache,mode=max\"]",
    );
    let seen = first.shop.call("bake --push --format json app").exits(0);
    let digest = first.shop.call(&format!("digest {}/acme/app:1", first.registry.address)).exits(0);
    assert_eq!(seen.json()["targets"]["app"]["digest"], digest.stdout.trim());
    let listed =
        first.shop.call(&format!("cache ls registry:{}/acme/app:cache", first.registry.address)).exits(0);
    assert!(listed.stdout.contains("COPY late"), "{listed}");
}

#[test]
fn contexts_are_fetched() {
    let files = [
        ("Dockerfile", "FROM scratch\nCOPY later.txt /\n"),
        ("sub/other.docker", "FROM scratch\nCOPY own /\nCOPY --from=more later.txt /more\n"),
        ("sub/own", "own"),
    ];
    let (_source, _served, address) = repository(&files);
    let shop = Shop::without_base(&[]);
    shop.write(
        "docker-bake.hcl",
        format!(
            "target \"default\" {{\n  context = \"{address}#main\"\n  output = [\"files\"]\n}}\n\
             target \"sub\" {{\n  context = \"{address}#main:sub\"\n  dockerfile = \"other.docker\"\n  \
             contexts = {{ more = \"{address}#main\" }}\n  output = [\"sub\"]\n}}\n\
             target \"here\" {{\n  context = \"{address}#main\"\n  dockerfile-inline = \"FROM scratch\\nCOPY sub /\\n\"\n  \
             output = [\"here\"]\n}}\n\
             target \"nowhere\" {{\n  context = \"{address}#none\"\n}}\n"
        ),
    );
    call(&shop, "bake default sub here").exits(0);
    for (file, content) in
        [("files/later.txt", "later"), ("sub/own", "own"), ("sub/more", "later"), ("here/own", "own")]
    {
        assert_eq!(std::fs::read_to_string(shop.path(file)).unwrap(), content, "{file}");
    }
    call(&shop, "bake nowhere").exits(1).says("target nowhere failed").says("none");
}

#[test]
fn steps_are_limited_and_lent_what_build_lends() {
    let dockerfile =
        "FROM local/base:1\nARG SLEEP=0\nRUN sleep $SLEEP; test -z $SSL_CERT_FILE || echo lent\n";
    let Some(shop) = Shop::open(&[("Dockerfile", dockerfile)]) else { return };
    shop.write("docker-bake.hcl", "target \"default\" {\n  args = { SLEEP = \"0\" }\n}\n");
    shop.call("bake --set *.args.SLEEP=5 --step-timeout 1s").exits(1).says("took longer than 1 s");
    shop.write("ca.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let certificates = shop.path("ca.pem");
    let seen =
        shop.call_with("bake --host-ca --progress plain", &[("SSL_CERT_FILE", certificates.as_os_str())]);
    seen.exits(0).says("lent");
    shop.call("bake --memory 1g --pids-limit 200 --no-cache --compression zstd:3").exits(0);
    shop.call("bake --memory much").exits(2).says("--memory");
}
