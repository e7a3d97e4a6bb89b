//! Comma-separated values: the fields of one line, and records of a text. Source: RFC 4180.

/// Returns the fields of one line; quotes keep commas together.
pub(super) fn fields(line: &str) -> Result<Vec<String>, String> {
    let mut records = records(line)?;
    match records.len() {
        0 => Ok(Vec::new()),
        1 => Ok(records.remove(0)),
        _ => Err("more than one line".to_owned()),
    }
}

/// Returns the records of a text; empty lines are none.
pub(super) fn records(text: &str) -> Result<Vec<Vec<String>>, String> {
    let mut records = Vec::new();
    let mut record = Vec::new();
    let mut field = String::new();
    let mut rest = text.chars().peekable();
    let mut line_is_empty = true;
    while let Some(character) = rest.next() {
        match character {
            '"' if field.is_empty() => {
                quoted(&mut rest, &mut field)?;
                line_is_empty = false;
            }
            '"' => return Err("bare \" in non-quoted field".to_owned()),
            ',' => {
                record.push(std::mem::take(&mut field));
                line_is_empty = false;
            }
            '\r' if rest.peek() == Some(&'\n') => {}
            '\n' => {
                if !line_is_empty {
                    record.push(std::mem::take(&mut field));
                    records.push(std::mem::take(&mut record));
                }
                line_is_empty = true;
            }
            other => {
                field.push(other);
                line_is_empty = false;
            }
        }
    }
    if !line_is_empty {
        record.push(field);
        records.push(record);
    }
    Ok(records)
}

fn quoted(rest: &mut std::iter::Peekable<std::str::Chars<'_>>, field: &mut String) -> Result<(), String> {
    loop {
        match rest.next() {
            Some('"') if rest.peek() == Some(&'"') => {
                rest.next();
                field.push('"');
            }
            Some('"') if matches!(rest.peek(), None | Some(',' | '\n' | '\r')) => return Ok(()),
            Some('"') => return Err("extraneous or missing \" in quoted-field".to_owned()),
            Some(other) => field.push(other),
            None => return Err("extraneous or missing \" in quoted-field".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        assert_eq!(fields("type=a,\"E=b,c\",d").unwrap(), ["type=a", "E=b,c", "d"]);
        assert_eq!(fields("\"a\"\"b\"").unwrap(), ["a\"b"]);
        assert_eq!(records("a,b\r\n\n1,\n").unwrap(), [["a", "b"], ["1", ""]]);
        assert!(fields("a\"b").is_err() && fields("\"a").is_err());
        assert!(fields("").unwrap().is_empty());
    }
}
