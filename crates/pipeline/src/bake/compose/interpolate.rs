//! Variables in compose files: `$X`, `${X}`, `${X:-default}`, `${X-default}`, `${X:?message}`,
//! `${X?message}`, `${X:+instead}`, `${X+instead}`, `$$`. Source: compose-spec, "Interpolation".

/// How deep defaults may lie in each other.
const DEEPEST: u32 = 30;

/// Fills in the variables of a text.
pub(super) fn fill(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    level(text, lookup, 0)
}

fn level(text: &str, lookup: &dyn Fn(&str) -> Option<String>, depth: u32) -> Result<String, String> {
    if depth > DEEPEST {
        return Err("variables lie in each other too deep".to_owned());
    }
    let mut filled = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        filled += &rest[..at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            filled.push('$');
            rest = after;
        } else if let Some(inside) = rest.strip_prefix('{') {
            let end = closing(inside).ok_or_else(|| {
                format!("invalid interpolation format for {text:?}: ${{ is not closed; write $$ for a $")
            })?;
            filled += &braced(&inside[..end], lookup, depth)?;
            rest = &inside[end + 1..];
        } else {
            let end = name_length(rest);
            if end == 0 {
                return Err(format!("invalid interpolation format for {text:?}; write $$ for a $"));
            }
            filled += &lookup(&rest[..end]).unwrap_or_default();
            rest = &rest[end..];
        }
    }
    Ok(filled + rest)
}

fn closing(text: &str) -> Option<usize> {
    let mut open = 0;
    let mut before = '\0';
    for (at, character) in text.char_indices() {
        match character {
            '{' if before == '$' => open += 1,
            '}' if open == 0 => return Some(at),
            '}' => open -= 1,
            _ => {}
        }
        before = character;
    }
    None
}

fn name_length(text: &str) -> usize {
    let inside = |character: char| character.is_ascii_alphanumeric() || character == '_';
    match text.starts_with(|first: char| first.is_ascii_digit()) {
        true => 0,
        false => text.find(|character| !inside(character)).unwrap_or(text.len()),
    }
}

fn braced(inside: &str, lookup: &dyn Fn(&str) -> Option<String>, depth: u32) -> Result<String, String> {
    let (name, rest) = inside.split_at(name_length(inside));
    if name.is_empty() {
        return Err(format!("invalid interpolation format: ${{{inside}}} has no name"));
    }
    let value = lookup(name);
    let (filled, rest) = match rest.strip_prefix(':') {
        Some(rest) => (value.clone().filter(|value| !value.is_empty()), rest),
        None => (value.clone(), rest),
    };
    let mut characters = rest.chars();
    let operator = characters.next();
    let other = || level(characters.as_str(), lookup, depth + 1);
    match operator {
        None if rest.len() == inside.len() - name.len() => Ok(value.unwrap_or_default()),
        Some('-') => filled.map_or_else(other, Ok),
        Some('+') => filled.map_or_else(|| Ok(String::new()), |_| other()),
        Some('?') => match filled {
            Some(value) => Ok(value),
            None => Err(format!("required variable {name} is missing a value: {}", other()?)),
        },
        _ => Err(format!("invalid interpolation format: ${{{inside}}}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let lookup = |name: &str| match name {
            "A" => Some("1".to_owned()),
            "E" => Some(String::new()),
            _ => None,
        };
        assert_eq!(fill(text, &lookup).unwrap_or_else(|error| format!("! {error}")), expected);
    }

    #[test]
    fn forms() {
        check("x$A-${A}y$$A", "x1-1y$A");
        check("${N:-d}${E:-d}${E-d}${A:-d}", "dd1");
        check("${N:-${A}x${M-z}}", "1xz");
        check("${A:+i}${E:+i}${E+i}${N+i}", "ii");
        check("${N:?must be}", "! required variable N is missing a value: must be");
        check("$N|${N}", "|");
        check("${A", "! invalid interpolation format for \"${A\": ${ is not closed; write $$ for a $");
        check("$1", "! invalid interpolation format for \"$1\"; write $$ for a $");
        check("${A:}", "! invalid interpolation format: ${A:}");
    }
}
