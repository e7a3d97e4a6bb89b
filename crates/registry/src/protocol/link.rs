//! `Link` headers, which lead from one page of a list to the next. Source: RFC 8288;
//! distribution-spec v1.1, "Listing Tags".

/// Returns the header value that leads to `target`.
pub fn next(target: &str) -> String {
    format!("<{target}>; rel=\"next\"")
}

/// Returns the target of the link to the next page, where `header` has one.
pub fn parse_next(header: &str) -> Option<&str> {
    let mut rest = header;
    while let Some((_, from_target)) = rest.split_once('<') {
        let (target, parameters) = from_target.split_once('>')?;
        let own = parameters.split_once('<').map_or(parameters, |(own, _)| own);
        if own.split([';', ',']).any(is_next) {
            return Some(target);
        }
        rest = parameters;
    }
    None
}

fn is_next(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else { return false };
    name.trim().eq_ignore_ascii_case("rel") && value.trim().trim_matches('"').eq_ignore_ascii_case("next")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(header: &str, expected: Option<&str>) {
        assert_eq!(parse_next(header), expected, "{header}");
    }

    #[test]
    fn finds_the_next_page() {
        check(&next("/v2/a/tags/list?last=b"), Some("/v2/a/tags/list?last=b"));
        check("</a?n=1>;rel=next", Some("/a?n=1"));
        check("</first>; rel=\"first\", </second>; title=\"x\"; rel=\"next\"", Some("/second"));
        check("</a>; rel=\"prev\"", None);
        check("</a", None);
        check("", None);
    }
}
