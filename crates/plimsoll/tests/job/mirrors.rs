//! Mirrors as users write them down: containerd's `hosts.toml` and Podman's `registries.conf`.

use std::ffi::OsStr;

use crate::seen::Seen;
use crate::shop::Shop;
use crate::unreliable::{Fault, Unreliable};

/// A registry with an image, which is asked for under a name that leads nowhere.
struct Behind {
    shop: Shop,
    registry: Unreliable,
    digest: String,
}

impl Behind {
    fn a_name() -> Self {
        let files =
            [("plimsoll.toml", "[service.app]\n"), ("Dockerfile", "FROM scratch\nCOPY a /a\n"), ("a", "1")];
        let shop = Shop::without_base(&files);
        let registry = Unreliable::start(&shop.beside("registry"));
        let ledger = shop.ledger(&format!("run --set registry={}/acme", registry.address), 0);
        let digest = ledger["services"]["app"]["digest"].as_str().unwrap().to_owned();
        Self { shop, registry, digest }
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.shop.beside(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn pull(&self, flags: &str) -> Seen {
        let root = self.shop.beside("elsewhere");
        let tries = "--set defaults.push.retry.attempts=1";
        let line = format!("pull registry.invalid/acme/app:main {tries} {flags}");
        self.shop.call_with(&line, &[("PLIMSOLL_ROOT", OsStr::new(&root))])
    }
}

#[test]
fn a_mirror_of_hosts_toml_is_asked_first() {
    let behind = Behind::a_name();
    behind.pull("").exits(5);
    let text =
        format!("[host.\"http://{}\"]\ncapabilities = [\"pull\", \"resolve\"]\n", behind.registry.address);
    behind.write("home/.config/containerd/certs.d/registry.invalid/hosts.toml", &text);
    let seen = behind.pull("").exits(0);
    assert!(seen.stdout.contains(&behind.digest), "{seen}");
    assert!(seen.stdout.contains("registry.invalid/acme/app:main"), "it keeps its own name\n{seen}");
    let seen = behind.pull("--offline");
    assert_ne!(seen.code, Some(0), "{seen}");
}

#[test]
fn a_mirror_of_registries_conf_that_fails_is_told() {
    let behind = Behind::a_name();
    let text = format!(
        "[[registry]]\nlocation = \"registry.invalid\"\n[[registry.mirror]]\nlocation = \"{}\"\n",
        behind.registry.address
    );
    behind.write("home/.config/containers/registries.conf", &text);
    behind.pull("").exits(0);
    std::fs::remove_dir_all(behind.shop.beside("elsewhere")).unwrap();
    behind.registry.does(|_| Fault::Answer(500, ""));
    let seen = behind.pull("").exits(5).says("pull from the mirror").says("status 500");
    seen.says("going on with registry.invalid/acme/app");
}

#[test]
fn a_blocked_registry_and_a_wrong_file_are_refused() {
    let behind = Behind::a_name();
    let path = "home/.config/containers/registries.conf";
    behind.write(path, "[[registry]]\nlocation = \"registry.invalid\"\nblocked = true\n");
    behind.pull("").exits(6).says("registry.invalid is blocked").says("registries.conf");
    behind.write(path, "[[registry]]\nblocked = true\n");
    behind.pull("").exits(2).says("needs a prefix or a location");
}
