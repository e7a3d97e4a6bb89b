//! Metadata of packages: `Cargo.toml`, `package.json`, `pyproject.toml`.
//!
//! Source: The Cargo Book, "The Manifest Format"; npm, "package.json"; PEP 621 and PEP 639.

use serde_json::Value as Json;
use toml_edit::{DocumentMut, Item};

use super::{Described, Description, Files};

/// Fills in what packages say; of several, the first in the order above.
pub(super) fn read(files: &Files<'_>, description: &mut Description) {
    cargo(files, description);
    npm(files, description);
    python(files, description);
}

fn fill(place: &mut Option<Described>, files: &Files<'_>, name: &str, value: Option<String>) {
    if place.is_none() {
        *place = value.and_then(|value| files.described(name, &value));
    }
}

fn cargo(files: &Files<'_>, description: &mut Description) {
    const NAME: &str = "Cargo.toml";
    let Some(document) = files.text(NAME).and_then(|text| text.parse::<DocumentMut>().ok()) else { return };
    for path in [&["package"][..], &["workspace", "package"]] {
        let Some(table) = at(document.as_item(), path) else { continue };
        fill(&mut description.description, files, NAME, text(table, "description"));
        fill(&mut description.licenses, files, NAME, text(table, "license"));
        fill(&mut description.authors, files, NAME, list(table, "authors"));
        fill(&mut description.documentation, files, NAME, text(table, "documentation"));
        fill(&mut description.url, files, NAME, text(table, "homepage"));
    }
}

fn python(files: &Files<'_>, description: &mut Description) {
    const NAME: &str = "pyproject.toml";
    let Some(document) = files.text(NAME).and_then(|text| text.parse::<DocumentMut>().ok()) else { return };
    let none = Item::None;
    let table = |path: &[&str]| at(document.as_item(), path).unwrap_or(&none);
    let (project, poetry) = (table(&["project"]), table(&["tool", "poetry"]));
    let license = text(project, "license").or_else(|| text(table(&["project", "license"]), "text"));
    // Before PEP 639 the text could be anything, also the whole licence.
    let license = license.filter(|license| license.len() <= 100 && !license.contains('\n'));
    fill(&mut description.description, files, NAME, text(project, "description"));
    fill(&mut description.description, files, NAME, text(poetry, "description"));
    fill(&mut description.licenses, files, NAME, license.or_else(|| text(poetry, "license")));
    fill(&mut description.authors, files, NAME, people(table(&["project", "authors"])));
    fill(&mut description.authors, files, NAME, list(poetry, "authors"));
    let address = |word: &str| {
        let urls = table(&["project", "urls"]).as_table_like()?;
        let (_, found) = urls.iter().find(|(key, _)| key.eq_ignore_ascii_case(word))?;
        found.as_str().map(str::to_owned)
    };
    fill(&mut description.documentation, files, NAME, address("documentation"));
    fill(&mut description.url, files, NAME, address("homepage"));
}

fn npm(files: &Files<'_>, description: &mut Description) {
    const NAME: &str = "package.json";
    let Some(json) = files.text(NAME).and_then(|text| serde_json::from_str::<Json>(&text).ok()) else {
        return;
    };
    let text = |key: &str| json[key].as_str().map(str::to_owned);
    let author = text("author").or_else(|| {
        let name = json["author"]["name"].as_str()?;
        let email = json["author"]["email"].as_str();
        Some(email.map_or_else(|| name.to_owned(), |email| format!("{name} <{email}>")))
    });
    // What npm writes where a package has no licence that SPDX knows.
    let license = text("license").filter(|license| license != "UNLICENSED" && !license.starts_with("SEE "));
    fill(&mut description.description, files, NAME, text("description"));
    fill(&mut description.licenses, files, NAME, license);
    fill(&mut description.authors, files, NAME, author);
    fill(&mut description.url, files, NAME, text("homepage"));
}

fn at<'a>(item: &'a Item, path: &[&str]) -> Option<&'a Item> {
    path.iter().try_fold(item, |item, key| item.get(key))
}

fn text(table: &Item, key: &str) -> Option<String> {
    table.get(key)?.as_str().map(str::to_owned)
}

fn list(table: &Item, key: &str) -> Option<String> {
    let texts: Vec<&str> = table.get(key)?.as_array()?.iter().filter_map(|value| value.as_str()).collect();
    Some(texts.join(", "))
}

/// Returns `[{ name = "A", email = "a@b" }]` as `A <a@b>`.
fn people(authors: &Item) -> Option<String> {
    let person = |table: &dyn toml_edit::TableLike| {
        let part = |key: &str| table.get(key).and_then(Item::as_str);
        match (part("name"), part("email")) {
            (Some(name), Some(email)) => Some(format!("{name} <{email}>")),
            (Some(only), None) | (None, Some(only)) => Some(only.to_owned()),
            (None, None) => None,
        }
    };
    let inline = authors.as_array().into_iter().flatten();
    let inline = inline.filter_map(|value| person(value.as_inline_table()?));
    let tables = authors.as_array_of_tables().into_iter().flatten().filter_map(|table| person(table));
    Some(inline.chain(tables).collect::<Vec<_>>().join(", "))
}
