//! Build checks with the real binary.

use crate::shop::Shop;

const FOUND: &str = "FROM local/base:1 as made\nMAINTAINER x\nCMD echo\n";

fn shop(dockerfile: &str) -> Shop {
    Shop::without_base(&[("plimsoll.toml", "[service.app]\n"), ("Dockerfile", dockerfile)])
}

#[test]
fn checks_say_what_they_find_where_and_build_nothing() {
    let seen = shop(FOUND).call("build --check .").exits(8);
    for words in ["FromAsCasing", "MaintainerDeprecated", "JSONArgsRecommended"] {
        assert!(seen.stdout.contains(words), "{seen}");
    }
    assert!(seen.stdout.contains("2 | MAINTAINER x\n  | ^^^"), "{seen}");
    assert!(seen.stdout.contains("Dockerfile: 3 warnings"), "{seen}");
    let json = shop(FOUND).call("build --check . --format json").exits(8).json();
    assert_eq!(json["schema"], "plimsoll.check/1");
    assert_eq!(json["warnings"][1]["rule"], "MaintainerDeprecated");
    assert_eq!(json["warnings"][1]["line"], 2);
}

#[test]
fn a_tidy_file_passes() {
    let seen = shop("FROM local/base:1\nCMD [\"true\"]\n").call("build --check .").exits(0);
    assert!(seen.stdout.contains("nothing found"), "{seen}");
    shop("FROM\n").call("build --check .").exits(2).says("Dockerfile:1");
}

#[test]
fn a_build_tells_and_goes_on_unless_the_file_says_otherwise() {
    let Some(shop) = Shop::with_dockerfile(FOUND) else { return };
    shop.call("build -t local/app:1 .")
        .exits(0)
        .says("Dockerfile:2: Maintainer")
        .says("(MaintainerDeprecated)");
    shop.write("Dockerfile", format!("# check=error=true;skip=JSONArgsRecommended\n{FOUND}"));
    let seen = shop.call("build -t local/app:1 .").exits(2).says("FromAsCasing, MaintainerDeprecated");
    seen.says_not("JSONArgs");
    shop.write("Dockerfile", format!("# check=skip=all\n{FOUND}"));
    shop.call("build -t local/app:1 .").exits(0).says_not("Maintainer instruction");
}
