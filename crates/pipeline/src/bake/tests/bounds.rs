//! Foreign bytes do not panic, and nothing grows without bound.

use proptest::prelude::*;

use super::Room;

fn fails(name: &str, text: &str, with: &str) {
    let error = Room::of(name, text).select(&["t"], &[]).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains(with), "{}", error.lines().next().unwrap());
}

#[test]
fn nesting_is_bounded() {
    fails("f.hcl", &format!("a = {}", "[".repeat(100_000)), "Too deep");
    fails("f.hcl", &format!("a = {}", "(".repeat(100_000)), "Too deep");
    fails("f.hcl", &format!("a = {}1", "-".repeat(100_000)), "Too deep");
    fails("f.hcl", &format!("a = 1{}", "+1".repeat(100_000)), "Too deep");
    fails("f.hcl", &format!("a = b{}", ".c".repeat(100_000)), "Too deep");
    fails("f.hcl", &format!("a = {}", "\"${".repeat(100_000)), "Too deep");
    fails("f.hcl", &format!("a = {}", "1?".repeat(100_000)), "Too deep");
    fails("f.hcl", &"a {".repeat(100_000), "Too deep");
    fails("f.json", &"[".repeat(100_000), "Too deep");
    fails("f.yml", &"[".repeat(100_000), "Invalid YAML");
    let directives = format!("a = \"{}\"", "%{if true}".repeat(10_000));
    fails("f.hcl", &directives, "Too deep");
}

#[test]
fn deepest_nesting_that_is_allowed_fits_the_stack() {
    let text = format!("a = {}1{}\ntarget \"t\" {{}}\n", "[".repeat(48), "]".repeat(48));
    Room::of("f.hcl", &text).select(&["t"], &[]).unwrap();
    let text = format!("a = 1{}\ntarget \"t\" {{}}\n", "+1".repeat(190));
    Room::of("f.hcl", &text).select(&["t"], &[]).unwrap();
}

#[test]
fn growth_is_bounded() {
    let mut text = "v0 = \"0123456789\"\n".to_owned();
    for level in 1..12 {
        text += &format!("v{level} = \"{}\"\n", format!("${{v{}}}", level - 1).repeat(10));
    }
    fails("f.hcl", &(text + "target \"t\" { context = v11 }\n"), "Too much");
    let range = "r = range(1000)\nx = [for a in r : [for b in r : [for c in r : [for d in r : 1]]]]\ntarget \"t\" {}\n";
    fails("f.hcl", range, "Too much");
    let matrix = "r = range(1000)\ntarget \"t\" {\n name = \"x-${a}-${b}\"\n matrix = { a = r, b = r }\n}\n";
    fails("f.hcl", matrix, "more than 4096 combinations");
    let chain: String = (0..1000).map(|at| format!("v{at} = v{}\n", at + 1)).collect();
    fails("f.hcl", &(chain + "v1000 = 1\ntarget \"t\" {}\n"), "Too deep");
    let chain: String =
        (0..100).map(|at| format!("target \"v{at}\" {{ context = target.v{}.context }}\n", at + 1)).collect();
    Room::of("f.hcl", &(chain + "target \"v100\" {}\ntarget \"t\" {}\n")).select(&["t"], &[]).unwrap();
    let chain: String =
        (0..5000).map(|at| format!("target \"v{at}\" {{ inherits = [\"v{}\"] }}\n", at + 1)).collect();
    let room = Room::of("f.hcl", &(chain + "target \"v5000\" {}\n"));
    assert!(room.select(&["v0"], &[]).unwrap_err().to_string().contains("more than"));
}

proptest! {
    #[test]
    fn words_in_any_order(words in proptest::collection::vec(
        prop::sample::select(vec![
            "target", "group", "variable", "function", "\"t\"", "{", "}", "[", "]", "(", ")", "=", "==", "=>", ":", "?",
            ",", ".", "...", "*", "for", "in", "if", "x", "x.y", "1", "-", "!", "\n", " ", "\"a${", "%{ if", "}\"", "<<E\n",
            "\nE\n", "null", "true", "upper(", "inherits", "matrix", "name", "default", "target.t.args", "é", "/*", "#", "\\",
        ]), 0..40))
    {
        let text = words.concat();
        for name in ["f.hcl", "f.json", "f.yaml", "f"] {
            let _ = Room::of(name, &text).select(&["t"], &["t.args.x=1"]);
        }
    }

    #[test]
    fn any_text(text in "\\PC{0,60}") {
        for name in ["f.hcl", "f.json", "f.yaml"] {
            let _ = Room::of(name, &text).select(&[], &[&text]);
        }
    }

    #[test]
    fn cut_off_anywhere(at in 0_usize..400) {
        let text = "variable \"V\" {\n  type = list(string)\n  default = [\"a\", <<-E\n    x ${1 + 2 * 3}\n    E\n  ]\n}\n\
            target \"t\" {\n  name = \"t-${i}\"\n  matrix = { i = V }\n  args = { for k, v in { a = 1 } : k => \"%{ if v > 0 ~} y %{ endif }\" if v != null }\n}\n";
        if let Some(text) = text.get(..at) {
            let _ = Room::of("f.hcl", text).select(&["t"], &[]);
        }
    }
}
