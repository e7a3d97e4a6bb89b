//! Title and first paragraph of a README in Markdown.

use super::{Description, Files};

const NAMES: [&str; 5] = ["README.md", "Readme.md", "readme.md", "README", "README.markdown"];

/// Longest description: what GHCR shows.
const MAX_DESCRIPTION: usize = 512;

/// Fills in the title, and the first paragraph where no package has a description.
pub(super) fn read(files: &Files<'_>, description: &mut Description) {
    let Some((name, text)) = NAMES.iter().find_map(|name| Some((*name, files.text(name)?))) else { return };
    let (title, paragraph) = title_and_paragraph(&text);
    description.title = title.and_then(|title| files.described(name, &title));
    if description.description.is_none() {
        description.description = paragraph.and_then(|text| files.described(name, &text));
    }
}

fn title_and_paragraph(text: &str) -> (Option<String>, Option<String>) {
    let (mut title, mut paragraph) = (None, Vec::new());
    let mut in_comment = false;
    let mut in_code = false;
    let mut lines = text.trim_start_matches('\u{feff}').lines().map(str::trim).peekable();
    while let Some(line) = lines.next() {
        in_comment |= line.starts_with("<!--");
        if in_comment {
            in_comment = !line.contains("-->");
            continue;
        }
        if line.starts_with("```") || line.starts_with("~~~") {
            in_code = !in_code;
        }
        let is_underlined = |next: &&str| !next.is_empty() && next.bytes().all(|byte| byte == b'=');
        let heading = line.strip_prefix("# ").or_else(|| html_heading(line));
        let heading = heading.or_else(|| lines.peek().is_some_and(is_underlined).then_some(line));
        match heading.filter(|_| !in_code && paragraph.is_empty()) {
            Some(heading) if title.is_none() && !plain(heading).is_empty() => title = Some(plain(heading)),
            Some(_) => {}
            None if !in_code && is_prose(line, !paragraph.is_empty()) => paragraph.push(plain(line)),
            None if paragraph.iter().any(|line: &String| !line.is_empty()) => break,
            None => {}
        }
    }
    let paragraph = paragraph.join(" ");
    (title, (!paragraph.trim().is_empty()).then(|| cut(&paragraph)))
}

/// Returns what stands in `<h1 align="center">Title</h1>`.
fn html_heading(line: &str) -> Option<&str> {
    let inner = line.strip_prefix("<h1")?.split_once('>')?.1;
    Some(inner.split_once('<').map_or(inner, |(text, _)| text))
}

/// Whether a line belongs to a paragraph: not to a list, a quotation, a table, HTML, or badges.
fn is_prose(line: &str, inside: bool) -> bool {
    let starts =
        ["#", ">", "<", "|", "```", "~~~", "- ", "* ", "+ ", "---", "===", "***", "[![", "![", ".. "];
    let is_target = line.starts_with('[') && line.contains("]: ");
    let is_numbered = line.split_once(". ").is_some_and(|(number, _)| number.parse::<u32>().is_ok());
    let is_prose = !line.is_empty() && !starts.iter().any(|start| line.starts_with(start)) && !is_target;
    is_prose && (inside || !is_numbered)
}

/// Returns a line without images, addresses of links, and marks of emphasis and code.
fn plain(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find(['[', '`', '*', '!']) {
        text.push_str(&rest[..at]);
        let (mark, after) = rest[at..].split_at(1);
        rest = after;
        match mark {
            "!" if after.starts_with('[') => rest = link(&after[1..]).map_or(after, |(_, after)| after),
            "[" => match link(after) {
                Some((label, after)) => {
                    text.push_str(&label.replace(['`', '*'], ""));
                    rest = after;
                }
                None => text.push('['),
            },
            "!" => text.push('!'),
            _ => {}
        }
    }
    text.push_str(rest);
    text.trim().to_owned()
}

/// Splits `label](address) rest` or `label][name] rest` behind the first bracket.
fn link(text: &str) -> Option<(&str, &str)> {
    let (label, after) = text.split_once(']')?;
    let close = match after.chars().next() {
        Some('(') => ')',
        Some('[') => ']',
        _ => return None,
    };
    let (_, rest) = after[1..].split_once(close)?;
    Some((label, rest))
}

/// Cuts at a blank.
fn cut(text: &str) -> String {
    if text.len() <= MAX_DESCRIPTION {
        return text.to_owned();
    }
    let mut end = MAX_DESCRIPTION;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let whole = &text[..end];
    whole.rfind(' ').map_or(whole, |blank| &whole[..blank]).to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, title: &str, paragraph: &str) {
        let found = title_and_paragraph(text);
        let shown = (found.0.unwrap_or_default(), found.1.unwrap_or_default());
        assert_eq!(shown, (title.to_owned(), paragraph.to_owned()));
    }

    #[test]
    fn the_first_words_about_a_project() {
        check("# Shop\n\nSells `things`.\nTo **you**.\n\nMore.\n", "Shop", "Sells things. To you.");
        check("Shop\n====\n\nSells.\n", "Shop", "Sells.");
        check("<h1 align=\"center\">Shop</h1>\n<p>x</p>\n\nSells.\n", "Shop", "Sells.");
        check(
            "[![ci](a)](b) ![x](y)\n# [Shop](https://x)\n> quote\n- list\n\nSells [a](b) now!\n",
            "Shop",
            "Sells a now!",
        );
        check("<!-- a\n# No\n-->\n# Shop\n```\ncode\n```\nSells.", "Shop", "Sells.");
        check("Only words.\n# Late", "", "Only words.");
        check("# A\n# B\n\n1. one\n\n| t |\n", "A", "");
        check("", "", "");
        let long = format!("# A\n\n{}", "word ".repeat(500));
        assert!(title_and_paragraph(&long).1.unwrap().len() <= MAX_DESCRIPTION);
    }

    proptest! {
        #[test]
        fn never_panics(text in "(\\PC|[\\[\\]()!`*#<>\n=-]){0,200}") {
            if let (_, Some(paragraph)) = title_and_paragraph(&text) {
                prop_assert!(paragraph.len() <= MAX_DESCRIPTION);
            }
        }
    }
}
