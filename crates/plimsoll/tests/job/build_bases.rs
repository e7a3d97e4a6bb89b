//! A base that nobody has looked into yet: it is read once for a RUN, and what is known of it then is what is
//! known of it otherwise.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::shop::{Shop, files_in};

const RUN: &str = "RUN stat -c '%a %n' /bin /bin/sh /srv >/modes || true\nRUN cat /bin/busybox >/copy\n";
const COPY: &str = "COPY Dockerfile /\n";

fn shop() -> Option<Shop> {
    let shop = Shop::with_dockerfile("FROM scratch\n")?;
    shop.import_open_base();
    Some(shop)
}

/// Builds a Dockerfile with a root that knows nothing of builds; returns the digest and what is known of layers.
#[track_caller]
fn built(shop: &Shop, dockerfile: &str) -> (String, BTreeMap<String, Vec<u8>>) {
    let _ = std::fs::remove_dir_all(shop.root("build"));
    shop.write("Dockerfile", dockerfile);
    let digest = shop.call("build -q -f Dockerfile -t local/made:1 .").exits(0).stdout;
    let named = |path: PathBuf| {
        (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap())
    };
    (digest, files_in(&shop.root("build/indexes")).into_iter().map(named).collect())
}

#[track_caller]
fn check_same_knowledge(base: &str) {
    let Some(shop) = shop() else { return };
    // Without a RUN, nothing is unpacked and the index is made alone.
    let (_, alone) = built(&shop, &format!("FROM {base}\n{COPY}"));
    assert!(files_in(&shop.root("build")).iter().all(|path| !path.to_str().unwrap().contains("/trees-")));
    for steps in [RUN.to_owned(), [COPY, RUN].concat()] {
        let (_, beside) = built(&shop, &format!("FROM {base}\n{steps}"));
        let common: Vec<_> = alone.iter().filter(|(name, _)| beside.contains_key(*name)).collect();
        assert!(!common.is_empty(), "both know the base");
        for (name, index) in common {
            assert!(beside[name] == *index, "the index of {name}");
        }
        assert_eq!(files_in(&shop.root("build/work")), [] as [PathBuf; 0]);
    }
}

#[test]
fn the_index_of_a_base_is_the_same_whoever_asks_first() {
    check_same_knowledge("local/base:1");
    check_same_knowledge("local/open:1");
}

#[test]
fn a_base_is_the_same_whoever_unpacks_it() {
    let Some(shop) = shop() else { return };
    for base in ["local/base:1", "local/open:1"] {
        let (at_once, _) = built(&shop, &format!("FROM {base}\n{RUN}"));
        // Its index is known when the RUN needs it: by a copy that was made before.
        built(&shop, &format!("FROM {base}\n{COPY}"));
        shop.write("Dockerfile", format!("FROM {base}\n{RUN}"));
        let later = shop.call("build -q -f Dockerfile -t local/made:1 .").exits(0).stdout;
        assert_eq!(at_once, later, "{base}");
    }
}

#[test]
fn stages_side_by_side_share_a_base() {
    let Some(shop) = shop() else { return };
    let stages: String = (0..6)
        .map(|number| format!("FROM local/base:1 AS s{number}\nRUN echo {number} >/n{number}\n"))
        .collect();
    let copies: String = (0..6).map(|number| format!("COPY --from=s{number} /n{number} /\n")).collect();
    built(&shop, &format!("{stages}FROM local/open:1\n{copies}RUN cat /n0 /n5\n"));
    shop.check_root();
}
