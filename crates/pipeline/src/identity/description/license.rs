//! SPDX licence identifiers from the texts of licences.
//!
//! A text of the GNU licences alone does not say whether later versions are allowed; `-only` is
//! claimed, which promises less. Source: SPDX licence list 3.

use super::{Description, Files};

/// Words that one licence has and the others have not, most telling first.
const TEXTS: [(&str, &[&str]); 16] = [
    ("Apache-2.0", &["apache license", "version 2.0, january 2004"]),
    ("AGPL-3.0-only", &["gnu affero general public license", "version 3"]),
    ("LGPL-3.0-only", &["gnu lesser general public license", "version 3, 29 june 2007"]),
    ("LGPL-2.1-only", &["gnu lesser general public license", "version 2.1"]),
    ("GPL-3.0-only", &["gnu general public license", "version 3, 29 june 2007"]),
    ("GPL-2.0-only", &["gnu general public license", "version 2, june 1991"]),
    ("MPL-2.0", &["mozilla public license version 2.0"]),
    ("EPL-2.0", &["eclipse public license - v 2.0"]),
    ("EUPL-1.2", &["european union public licence v. 1.2"]),
    ("BSL-1.0", &["boost software license - version 1.0"]),
    ("CC0-1.0", &["cc0 1.0 universal"]),
    ("Unlicense", &["this is free and unencumbered software released into the public domain"]),
    ("BSD-3-Clause", &["redistribution and use in source and binary forms", "neither the name"]),
    ("BSD-2-Clause", &["redistribution and use in source and binary forms"]),
    ("ISC", &["permission to use, copy, modify, and/or distribute this software"]),
    ("MIT", &["permission is hereby granted, free of charge", "without restriction"]),
];

/// Fills in the licences of all files called LICENSE or COPYING, where no package says them.
pub(super) fn read(files: &Files<'_>, description: &mut Description) {
    if description.licenses.is_some() {
        return;
    }
    let mut found: Vec<(&'static str, &str)> = Vec::new();
    for name in files.names.iter().filter(|name| is_licence(name)) {
        let Some(id) = files.text(name).and_then(|text| identify(&text)) else { continue };
        if !found.iter().any(|(known, _)| *known == id) {
            found.push((id, name));
        }
    }
    found.sort_unstable();
    let Some((_, name)) = found.first() else { return };
    let expression: Vec<&str> = found.iter().map(|(id, _)| *id).collect();
    description.licenses = files.described(name, &expression.join(" OR "));
}

fn is_licence(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let stems = ["LICENSE", "LICENCE", "COPYING", "UNLICENSE"];
    stems
        .iter()
        .filter_map(|stem| name.strip_prefix(stem))
        .any(|rest| rest.is_empty() || rest.starts_with('-') || matches!(rest, ".MD" | ".TXT" | ".RST"))
}

fn identify(text: &str) -> Option<&'static str> {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
    let fits = |words: &[&str]| words.iter().all(|words| text.contains(words));
    TEXTS.iter().find(|(_, words)| fits(words)).map(|(id, _)| *id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_licences_are_told_apart() {
        let own = |name: &str| {
            std::fs::read_to_string(format!("{}/../../{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
        };
        assert_eq!(identify(&own("LICENSE-APACHE")), Some("Apache-2.0"));
        assert_eq!(identify(&own("LICENSE-MIT")), Some("MIT"));
        let gpl = "GNU GENERAL PUBLIC LICENSE\n   Version 3, 29 June 2007";
        assert_eq!(identify(gpl), Some("GPL-3.0-only"));
        assert_eq!(identify("All rights reserved."), None);
        assert_eq!(identify(""), None);
    }

    #[test]
    fn only_files_of_that_name_are_licences() {
        for name in ["LICENSE", "LICENSE.md", "License.txt", "LICENSE-MIT", "COPYING", "UNLICENSE"] {
            assert!(is_licence(name), "{name}");
        }
        for name in ["license_check.py", "LICENSES", "README"] {
            assert!(!is_licence(name), "{name}");
        }
    }
}
