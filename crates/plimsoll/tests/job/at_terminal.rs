//! Questions that are asked where somebody sits at a terminal. The terminal is one that `script` of util-linux makes.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use oci::{Document, ImageIndex, Platform};
use store::{ImageStore as _, OciFolder};
use testkit::image::TinyImage;

use crate::shop::{Shop, skip};

/// What a terminal showed, and the exit code.
struct Shown {
    text: String,
    code: Option<i32>,
}

/// Runs the binary at a terminal and types `answer`; `None` where there is no `script`.
fn at_terminal(shop: &Shop, line: &str, answer: &str) -> Option<Shown> {
    let script = ["/usr/bin/script", "/bin/script"].into_iter().find(|path| Path::new(path).exists());
    let Some(script) = script else { return skip("script of util-linux is not here") };
    let command = shop.command(line);
    // The binary and its arguments have no blanks in these tests.
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<&str> = words.map(|word| word.to_str().unwrap()).collect();
    let mut terminal = Command::new(script);
    terminal.args(["-q", "-e", "-c", &words.join(" "), "/dev/null"]).env_clear();
    terminal.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    terminal.env("SHELL", "/bin/sh").env("TERM", "dumb");
    terminal.current_dir(command.get_current_dir().unwrap_or(Path::new(".")));
    let mut running =
        terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // What is typed waits in the terminal until somebody asks. The pipe stays open: its end would be typed too.
    let mut keys = running.stdin.take().unwrap();
    keys.write_all(answer.as_bytes()).unwrap();
    let output = running.wait_with_output().unwrap();
    drop(keys);
    let text = String::from_utf8(output.stdout).unwrap();
    Some(Shown { text, code: output.status.code() })
}

/// A layout in which a manifest with a tag is part of an index with another.
fn shop() -> Shop {
    let shop = Shop::without_base(&[("a", "")]);
    let layout = OciFolder::create(&shop.beside("layout")).unwrap();
    let image = TinyImage::of_files(&[("a", "1")]);
    image.put(&layout, "1");
    let part = image.document.descriptor().clone().for_platform(Platform::host());
    layout.tag(&"all".parse().unwrap(), &Document::from_index(ImageIndex::new(vec![part]))).unwrap();
    shop
}

fn remove(shop: &Shop, answer: &str) -> Option<Shown> {
    let digest = TinyImage::of_files(&[("a", "1")]).digest();
    at_terminal(shop, &format!("rm oci:{}@{digest}", shop.beside("layout").display()), answer)
}

fn tags(shop: &Shop) -> usize {
    OciFolder::open(&shop.beside("layout")).unwrap().tags().unwrap().len()
}

#[test]
fn rm_asks_and_goes_on_where_the_answer_is_yes() {
    for answer in ["y\n", "Y\n", "yes\n"] {
        let shop = shop();
        let Some(shown) = remove(&shop, answer) else { return };
        assert_eq!(shown.code, Some(0), "{}", shown.text);
        assert!(shown.text.contains("as a part: all; go on? [y/N]"), "{}", shown.text);
        assert_eq!(tags(&shop), 1);
    }
}

#[test]
fn rm_leaves_alone_what_is_not_agreed_to() {
    for answer in ["\n", "n\n", "maybe\n", "\u{4}"] {
        let shop = shop();
        let Some(shown) = remove(&shop, answer) else { return };
        assert_eq!(shown.code, Some(2), "{}", shown.text);
        assert!(shown.text.contains("was left alone"), "{}", shown.text);
        assert_eq!(tags(&shop), 2);
    }
}
