//! Folders as projects have them, and files nobody should trust.

use proptest::prelude::*;

use super::*;

#[track_caller]
fn read(files: &[(&str, &str)]) -> Description {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    Description::read(folder.path(), "services/api/")
}

fn shown(described: &Option<Described>) -> String {
    described.as_ref().map_or(String::new(), |d| format!("{} ({})", d.value, d.file))
}

#[test]
fn packages_come_before_the_readme() {
    let description = read(&[
        ("README.md", "# The API\n\nServes.\n"),
        (
            "Cargo.toml",
            "[package]\nname = \"api\"\ndescription = \"Serves\\n carts\"\nlicense.workspace = true\nauthors = [\"A <a@b>\", \"C\"]\nhomepage = \"https://h\"\n",
        ),
        ("LICENSE-MIT", "Permission is hereby granted, free of charge ... without restriction"),
        ("LICENSE-APACHE", "Apache License\n Version 2.0, January 2004"),
    ]);
    assert_eq!(shown(&description.title), "The API (services/api/README.md)");
    assert_eq!(shown(&description.description), "Serves carts (services/api/Cargo.toml)");
    assert_eq!(shown(&description.licenses), "Apache-2.0 OR MIT (services/api/LICENSE-APACHE)");
    assert_eq!(shown(&description.authors), "A <a@b>, C (services/api/Cargo.toml)");
    assert_eq!(shown(&description.url), "https://h (services/api/Cargo.toml)");
}

#[test]
fn each_kind_of_package_is_read() {
    let npm = read(&[(
        "package.json",
        r#"{"description":"Front","license":"ISC","author":{"name":"A","email":"a@b"},"homepage":"https://h"}"#,
    )]);
    assert_eq!(shown(&npm.description), "Front (services/api/package.json)");
    assert_eq!(shown(&npm.authors), "A <a@b> (services/api/package.json)");
    assert_eq!(shown(&npm.licenses), "ISC (services/api/package.json)");
    let python = read(&[(
        "pyproject.toml",
        "[project]\ndescription = \"Py\"\nlicense = { text = \"MIT\" }\nauthors = [{ name = \"A\", email = \"a@b\" }, { name = \"C\" }]\n[project.urls]\nHomepage = \"https://h\"\nDocumentation = \"https://d\"\n",
    )]);
    assert_eq!(shown(&python.description), "Py (services/api/pyproject.toml)");
    assert_eq!(shown(&python.licenses), "MIT (services/api/pyproject.toml)");
    assert_eq!(shown(&python.authors), "A <a@b>, C (services/api/pyproject.toml)");
    assert_eq!(shown(&python.documentation), "https://d (services/api/pyproject.toml)");
    let workspace = read(&[("Cargo.toml", "[workspace.package]\nlicense = \"MIT\"\n")]);
    assert_eq!(shown(&workspace.licenses), "MIT (services/api/Cargo.toml)");
}

#[test]
fn damaged_and_foreign_files_say_nothing() {
    let damaged = read(&[
        ("Cargo.toml", "[package\n"),
        ("package.json", "{\"description\": [1]}"),
        ("pyproject.toml", "project = 3\ntool = \"x\"\n"),
        ("LICENSE", "mine"),
    ]);
    assert_eq!(damaged, Description::default());
    assert_eq!(Description::read(Path::new("/nowhere/at/all"), ""), Description::default());
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("README.md")).unwrap();
    std::fs::write(folder.path().join("package.json"), b"\xff\xfe{").unwrap();
    assert_eq!(Description::read(folder.path(), ""), Description::default());
}

proptest! {
    #[test]
    fn readers_never_panic(text in "(\\PC|[\\[\\]{}=\"\n.,]|project|package|authors|license|urls){0,60}") {
        for name in ["Cargo.toml", "package.json", "pyproject.toml", "README.md", "LICENSE"] {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join(name), &text).unwrap();
            let description = Description::read(folder.path(), "");
            prop_assert!(description.title.is_none_or(|title| !title.value.contains('\n')));
        }
    }
}

#[test]
fn the_project_fills_what_the_service_leaves_open() {
    let own = read(&[("README.md", "# API\n")]);
    let project = read(&[("README.md", "# Shop\n\nSells.\n")]);
    let both = own.or(&project);
    assert_eq!(both.title.unwrap().value, "API");
    assert_eq!(both.description.unwrap().value, "Sells.");
    assert_eq!(Description::default().or(&project).title, None);
}
