//! Words of an expression.

use serde_json::Value;

/// A word.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A number, or a text in quotes.
    Literal(Value),
    /// A name, `true`, `false` and `null` among them.
    Name(String),
    /// `(`, `==`, and the like.
    Sign(&'static str),
}

/// Signs, the longer first.
const SIGNS: [&str; 16] =
    ["&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "(", ")", "[", "]", ",", ".", "*"];

/// Returns the words of `text`.
pub(super) fn lex(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            '\'' => quoted(rest)?,
            '0'..='9' => number(rest)?,
            '-' | '+' => number(rest)?,
            '.' if rest[1..].starts_with(|c: char| c.is_ascii_digit()) && !follows_value(&tokens) => {
                number(rest)?
            }
            'a'..='z' | 'A'..='Z' | '_' => {
                let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
                let length = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
                (Token::Name(rest[..length].to_owned()), length)
            }
            _ => {
                let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
                let sign = sign.ok_or_else(|| format!("{first:?} stands where nothing begins with it"))?;
                (Token::Sign(sign), sign.len())
            }
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

fn follows_value(tokens: &[Token]) -> bool {
    matches!(tokens.last(), Some(Token::Name(_) | Token::Sign(")" | "]" | "*")))
}

/// A quote inside is written twice.
fn quoted(text: &str) -> Result<(Token, usize), String> {
    let mut value = String::new();
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, character)) = characters.next() {
        if character != '\'' {
            value.push(character);
        } else if characters.next_if(|(_, next)| *next == '\'').is_some() {
            value.push('\'');
        } else {
            return Ok((Token::Literal(Value::from(value)), at + 1));
        }
    }
    Err("a quote is opened and not closed".to_owned())
}

fn number(text: &str) -> Result<(Token, usize), String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '-');
    let length = text.find(|c| !is_part(c)).unwrap_or(text.len());
    let word = &text[..length];
    let read = super::evaluate::number_of_text(word);
    if read.is_nan() {
        return Err(format!("{word:?} is no number; texts stand in single quotes"));
    }
    Ok((Token::Literal(Value::from(read)), length))
}
