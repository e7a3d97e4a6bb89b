//! `format` and `formatlist`: verbs like those of C. Source: cty, "format" and "formatlist".

use super::{Call, Function, Want, Wrong, variadic, wrong};
use crate::bake::convert::convert;
use crate::bake::number::Number;
use crate::bake::value::{Type, Value};

const FORMAT: &[super::Parameter] = &[("format", Want::Text)];

/// Wider than this is refused.
const WIDEST: usize = 10_000;

pub(super) const FUNCTIONS: &[Function] = &[
    variadic("format", FORMAT, ("args", Want::Nullable), |call| {
        Ok(Value::string(format(call.text(0), &call.arguments[1..])?))
    }),
    variadic("formatlist", FORMAT, ("args", Want::Nullable), format_list),
];

fn format_list(call: &Call<'_>) -> Result<Value, Wrong> {
    let arguments = &call.arguments[1..];
    let mut length = None;
    for (at, argument) in arguments.iter().enumerate() {
        let Some(items) = argument.items() else { continue };
        match length {
            Some(known) if known != items.len() => {
                let reason = format!(
                    "argument {} has length {}, which is inconsistent with the first list's length {known}",
                    at + 1,
                    items.len()
                );
                return Err(wrong(at + 1, reason));
            }
            _ => length = Some(items.len()),
        }
    }
    let row = |number: usize| {
        let value = |argument: &Value| argument.items().map_or(argument, |items| &items[number]).clone();
        format(call.text(0), &arguments.iter().map(value).collect::<Vec<_>>())
    };
    Ok(Value::strings((0..length.unwrap_or(1)).map(row).collect::<Result<Vec<_>, _>>()?))
}

/// What stands between `%` and the letter.
#[derive(Default)]
struct Flags {
    minus: bool,
    plus: bool,
    space: bool,
    zero: bool,
    sharp: bool,
    width: usize,
    precision: Option<usize>,
}

fn format(pattern: &str, arguments: &[Value]) -> Result<String, Wrong> {
    let mut text = String::new();
    let mut rest = pattern.chars().peekable();
    let (mut next, mut most) = (0, 0);
    while let Some(character) = rest.next() {
        if character != '%' {
            text.push(character);
            continue;
        }
        if rest.next_if_eq(&'%').is_some() {
            text.push('%');
            continue;
        }
        let mut flags = read_flags(&mut rest);
        (flags.width, flags.precision) = read_size(&mut rest)?;
        if rest.next_if_eq(&'[').is_some() {
            next =
                digits(&mut rest).and_then(|at| at.checked_sub(1)).ok_or("an argument number follows %[")?;
            rest.next_if_eq(&']').ok_or("the argument number after %[ is not closed")?;
        }
        let verb = rest.next().ok_or("unrecognized format character at the end")?;
        let value = arguments.get(next).ok_or_else(|| {
            format!(
                "not enough arguments for {verb:?}: need index {} but have {} total",
                next + 1,
                arguments.len()
            )
        })?;
        next += 1;
        most = most.max(next);
        text += &one(verb, &flags, value).map_err(|reason| wrong(next, reason))?;
    }
    match most < arguments.len() {
        true => Err(wrong(most + 1, format!("too many arguments; only {most} used by format string"))),
        false => Ok(text),
    }
}

type Rest<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn read_flags(rest: &mut Rest<'_>) -> Flags {
    let mut flags = Flags::default();
    loop {
        match rest.peek() {
            Some('-') => flags.minus = true,
            Some('+') => flags.plus = true,
            Some(' ') => flags.space = true,
            Some('0') => flags.zero = true,
            Some('#') => flags.sharp = true,
            _ => return flags,
        }
        rest.next();
    }
}

fn read_size(rest: &mut Rest<'_>) -> Result<(usize, Option<usize>), Wrong> {
    let width = digits(rest).unwrap_or(0);
    let precision = rest.next_if_eq(&'.').map(|_| digits(rest).unwrap_or(0));
    match width > WIDEST || precision.is_some_and(|precision| precision > 300) {
        true => Err("the width or precision is too large".into()),
        false => Ok((width, precision)),
    }
}

fn digits(rest: &mut Rest<'_>) -> Option<usize> {
    let mut number = None;
    while let Some(digit) = rest.peek().and_then(|character| character.to_digit(10)) {
        number = Some(number.unwrap_or(0usize).saturating_mul(10).saturating_add(digit as usize));
        rest.next();
    }
    number
}

fn one(verb: char, flags: &Flags, value: &Value) -> Result<String, String> {
    match verb {
        'v' if flags.sharp => Ok(padded(json(value), flags, false)),
        'v' => match value {
            Value::Number(number) => Ok(numeric(*number, number.to_string(), flags)),
            Value::Null | Value::NullOf(_) => Ok(padded("null".to_owned(), flags, false)),
            _ => Ok(padded(
                convert(value, &Type::String)
                    .ok()
                    .and_then(|text| text.as_str().map(str::to_owned))
                    .unwrap_or_else(|| json(value)),
                flags,
                false,
            )),
        },
        't' => match convert(value, &Type::Bool)? {
            Value::Bool(truth) => Ok(padded(truth.to_string(), flags, false)),
            _ => Err("unsupported value for \"%t\": null value cannot be formatted".to_owned()),
        },
        's' | 'q' => text(verb, flags, value),
        'b' | 'd' | 'o' | 'x' | 'X' | 'e' | 'E' | 'f' | 'g' | 'G' => match convert(value, &Type::Number)? {
            Value::Number(number) => number_text(verb, flags, number),
            _ => Err(format!("unsupported value for \"%{verb}\": null value cannot be formatted")),
        },
        other => Err(format!("unrecognized format character {other:?}")),
    }
}

fn json(value: &Value) -> String {
    let mut text = String::new();
    super::encoding::encode(value, &mut text);
    text
}

fn text(verb: char, flags: &Flags, value: &Value) -> Result<String, String> {
    let text = match (verb, convert(value, &Type::String)?) {
        (_, Value::Null | Value::NullOf(_)) => {
            return Err(format!("unsupported value for \"%{verb}\": null value cannot be formatted"));
        }
        (_, value) => value.as_str().unwrap_or_default().to_owned(),
    };
    let cut: String = match flags.precision {
        Some(precision) => text.chars().take(precision).collect(),
        None => text,
    };
    let shown = if verb == 'q' { json(&Value::string(cut)) } else { cut };
    Ok(padded(shown, flags, false))
}

fn number_text(verb: char, flags: &Flags, number: Number) -> Result<String, String> {
    let float = number.as_f64();
    let whole = number.truncate();
    let whole = match whole {
        Number::Exact { mantissa, .. } => mantissa,
        Number::Float(value) => value as i128,
    };
    let sign = if whole < 0 { "-" } else { "" };
    let size = whole.unsigned_abs();
    let precision = flags.precision.unwrap_or(6);
    let text = match verb {
        'd' => format!("{sign}{size}"),
        'b' => format!("{sign}{size:b}"),
        'o' => format!("{sign}{size:o}"),
        'x' => format!("{sign}{size:x}"),
        'X' => format!("{sign}{size:X}"),
        'f' => format!("{float:.precision$}"),
        'e' => exponent(&format!("{float:.precision$e}")),
        'E' => exponent(&format!("{float:.precision$e}")).to_uppercase(),
        _ => general(float, flags.precision, verb == 'G'),
    };
    Ok(numeric(number, text, flags))
}

/// Go writes two digits of exponent and its sign.
fn exponent(text: &str) -> String {
    let (digits, power) = text.split_once('e').unwrap_or((text, "0"));
    let power: i32 = power.parse().unwrap_or(0);
    format!("{digits}e{}{:02}", if power < 0 { '-' } else { '+' }, power.abs())
}

fn general(value: f64, precision: Option<usize>, upper: bool) -> String {
    let scientific = match precision {
        Some(precision) => format!("{value:.*e}", precision.max(1) - 1),
        None => format!("{value:e}"),
    };
    let power: i32 = scientific.split_once('e').and_then(|(_, power)| power.parse().ok()).unwrap_or(0);
    let limit = precision.map_or(21, |precision| i32::try_from(precision.max(1)).unwrap_or(21));
    let text = match (-4..limit).contains(&power) {
        true => match precision {
            Some(_) => {
                let places = usize::try_from(limit - 1 - power).unwrap_or(0);
                let fixed = format!("{value:.places$}");
                let short = fixed.trim_end_matches('0').trim_end_matches('.');
                if fixed.contains('.') { short.to_owned() } else { fixed }
            }
            None => format!("{value}"),
        },
        false => exponent(&scientific),
    };
    if upper { text.to_uppercase() } else { text }
}

fn numeric(number: Number, text: String, flags: &Flags) -> String {
    let signed = match (number.sign().is_lt(), flags.plus, flags.space) {
        (false, true, _) => format!("+{text}"),
        (false, false, true) => format!(" {text}"),
        _ => text,
    };
    padded(signed, flags, flags.zero && !flags.minus)
}

fn padded(text: String, flags: &Flags, zeros: bool) -> String {
    let missing = flags.width.saturating_sub(text.chars().count());
    match (flags.minus, zeros) {
        (true, _) => text + &" ".repeat(missing),
        (false, false) => " ".repeat(missing) + &text,
        (false, true) => {
            let digits = text.trim_start_matches(['-', '+', ' ']);
            format!("{}{}{digits}", &text[..text.len() - digits.len()], "0".repeat(missing))
        }
    }
}
