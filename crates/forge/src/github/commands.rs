//! Commands in the log. Source: actions/runner, ActionCommand.cs, for the escapes.

use std::borrow::Cow;

use pipeline::forge::{Annotation, Level};

/// Ends a group.
pub(super) const GROUP_END: &str = "::endgroup::";

/// The longest message of an annotation, in characters.
const MAX_MESSAGE: usize = 4096;

/// Returns `::error file=...,line=...,title=...::message`.
pub(super) fn annotation(annotation: &Annotation) -> String {
    let level = match annotation.level {
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Notice => "notice",
    };
    let mut properties = Vec::new();
    if let Some(place) = &annotation.place {
        properties.push(format!("file={}", property(&place.file)));
        properties.push(format!("line={}", place.line));
    }
    if let Some(title) = &annotation.title {
        properties.push(format!("title={}", property(title)));
    }
    let separator = if properties.is_empty() { "" } else { " " };
    format!("::{level}{separator}{}::{}", properties.join(","), data(&cut(&annotation.message)))
}

/// Returns `::group::title`.
pub(super) fn group_start(title: &str) -> String {
    format!("::group::{}", data(title))
}

/// Returns `text` with a space of no width in each place where the host would see a command: two colons
/// that begin a line, and `##[` anywhere. To the host a line ends at a carriage return too.
pub(super) fn harmless(text: &str) -> Cow<'_, str> {
    if !text.contains("::") && !text.contains("##[") {
        return Cow::Borrowed(text);
    }
    let mut made = String::with_capacity(text.len() + 3);
    for line in text.split_inclusive(['\n', '\r']) {
        let begin = line.len() - line.trim_start().len();
        let (blanks, rest) = line.split_at(begin);
        made.push_str(blanks);
        let rest = match rest.strip_prefix("::") {
            Some(rest) => {
                made.push_str(":\u{200b}:");
                rest
            }
            None => rest,
        };
        made.push_str(&rest.replace("##[", "##\u{200b}["));
    }
    Cow::Owned(made)
}

fn cut(message: &str) -> String {
    match message.char_indices().nth(MAX_MESSAGE - 1) {
        Some((end, last)) if end + last.len_utf8() < message.len() => format!("{}…", &message[..end]),
        _ => message.to_owned(),
    }
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use pipeline::progress::FilePlace;

    use super::*;

    #[test]
    fn what_would_end_a_field_is_escaped() {
        let said = annotation(&Annotation {
            level: Level::Error,
            title: Some("build: api, web".to_owned()),
            message: "100 %\r\n::set-output name=x::y".to_owned(),
            place: Some(FilePlace { file: "a,b:c\nd".to_owned(), line: 7 }),
        });
        let expected = "::error file=a%2Cb%3Ac%0Ad,line=7,title=build%3A api%2C web::100 %25%0D%0A::set-output name=x::y";
        assert_eq!(said, expected);
    }

    #[test]
    fn without_properties_there_is_no_blank() {
        let notice = Annotation { level: Level::Notice, title: None, message: "m".to_owned(), place: None };
        assert_eq!(annotation(&notice), "::notice::m");
        assert_eq!(group_start("a\nb"), "::group::a%0Ab");
    }

    #[test]
    fn long_messages_are_cut_by_characters() {
        let long = |count| Annotation {
            level: Level::Warning,
            title: None,
            message: "é".repeat(count),
            place: None,
        };
        let message = |count| annotation(&long(count))["::warning::".len()..].to_owned();
        assert_eq!(message(4096), "é".repeat(4096));
        assert_eq!(message(4097), format!("{}…", "é".repeat(4095)));
    }

    /// What the host takes for a command, as its runner decides it.
    fn is_command(line: &str) -> bool {
        line.trim_start().starts_with("::") || line.contains("##[")
    }

    #[test]
    fn no_line_of_others_is_a_command() {
        let hidden = harmless(
            "api 3 | a::b\r  ::set-output name=digest::x\n##[add-mask]e\u{3000}\n\t::stop-commands::t",
        );
        assert_eq!(hidden.matches('\u{200b}').count(), 3);
        assert!(hidden.split(['\n', '\r']).all(|line| !is_command(line)), "{hidden:?}");
        assert_eq!(
            hidden.replace('\u{200b}', "").lines().next(),
            Some("api 3 | a::b\r  ::set-output name=digest::x")
        );
        assert!(
            matches!(harmless("crates::forge is built: [ok] ## done"), Cow::Owned(text) if !text.contains('\u{200b}'))
        );
        assert!(matches!(harmless("plain"), Cow::Borrowed("plain")));
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_printed(text in "([ :#\\[\r\n\ta]|::|##\\[)*") {
            let made = harmless(&text);
            proptest::prop_assert!(made.split(['\n', '\r']).all(|line| !is_command(line)));
            proptest::prop_assert_eq!(made.replace('\u{200b}', ""), text);
        }
    }
}
