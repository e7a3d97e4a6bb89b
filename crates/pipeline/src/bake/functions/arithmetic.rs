//! Numbers, comparison and logic.

use super::{Call, Function, Want, Wrong, function, variadic, wrong};
use crate::bake::number::Number;
use crate::bake::value::Value;

const A_B: &[super::Parameter] = &[("a", Want::Number), ("b", Want::Number)];
const NUM: &[super::Parameter] = &[("num", Want::Number)];
const TRUTHS: &[super::Parameter] = &[("a", Want::Truth), ("b", Want::Truth)];
const VALUES: &[super::Parameter] = &[("a", Want::Nullable), ("b", Want::Nullable)];

pub(super) const FUNCTIONS: &[Function] = &[
    function("absolute", NUM, |call| {
        let number = call.number(0);
        Ok(Value::Number(if number.sign().is_lt() { number.negate() } else { number }))
    }),
    function("add", A_B, |call| size(call.number(0).add(call.number(1)))),
    function("subtract", A_B, |call| size(call.number(0).subtract(call.number(1)))),
    function("multiply", A_B, |call| size(call.number(0).multiply(call.number(1)))),
    function("divide", A_B, |call| {
        call.number(0).divide(call.number(1)).map(Value::Number).ok_or_else(|| wrong(1, "divide by zero"))
    }),
    function("modulo", A_B, |call| {
        call.number(0).modulo(call.number(1)).map(Value::Number).ok_or_else(|| wrong(1, "divide by zero"))
    }),
    function("negate", NUM, |call| Ok(Value::Number(call.number(0).negate()))),
    function("int", NUM, |call| Ok(Value::Number(call.number(0).truncate()))),
    function("floor", NUM, |call| Ok(Value::Number(call.number(0).floor()))),
    function("ceil", NUM, |call| Ok(Value::Number(call.number(0).ceil()))),
    function("signum", NUM, |call| Ok(Value::Number(Number::from(call.number(0).sign() as i128)))),
    function("pow", &[("num", Want::Number), ("power", Want::Number)], pow),
    function("log", &[("num", Want::Number), ("base", Want::Number)], log),
    variadic("max", &[], ("numbers", Want::Number), |call| extreme(call, |order| order.is_gt())),
    variadic("min", &[], ("numbers", Want::Number), |call| extreme(call, |order| order.is_lt())),
    function("parseint", &[("number", Want::Any), ("base", Want::Number)], parse_int),
    variadic("range", &[], ("params", Want::Number), range),
    function("and", TRUTHS, |call| Ok(Value::Bool(call.truth(0) && call.truth(1)))),
    function("or", TRUTHS, |call| Ok(Value::Bool(call.truth(0) || call.truth(1)))),
    function("not", &[("val", Want::Truth)], |call| Ok(Value::Bool(!call.truth(0)))),
    function("equal", VALUES, |call| Ok(Value::Bool(call.arguments[0].equals(&call.arguments[1])))),
    function("notequal", VALUES, |call| Ok(Value::Bool(!call.arguments[0].equals(&call.arguments[1])))),
    function("greaterthan", A_B, |call| Ok(Value::Bool(call.number(0).order(call.number(1)).is_gt()))),
    function("greaterthanorequalto", A_B, |call| {
        Ok(Value::Bool(call.number(0).order(call.number(1)).is_ge()))
    }),
    function("lessthan", A_B, |call| Ok(Value::Bool(call.number(0).order(call.number(1)).is_lt()))),
    function("lessthanorequalto", A_B, |call| Ok(Value::Bool(call.number(0).order(call.number(1)).is_le()))),
];

fn size(number: Option<Number>) -> Result<Value, Wrong> {
    number.map(Value::Number).ok_or_else(|| "the result is too large".into())
}

fn pow(call: &Call<'_>) -> Result<Value, Wrong> {
    let (number, power) = (call.number(0), call.number(1));
    let whole = power.as_count().filter(|power| *power <= 200);
    let exact = whole
        .and_then(|power| (0..power).try_fold(Number::from(1usize), |product, _| product.multiply(number)));
    size(exact.or_else(|| Number::float(number.as_f64().powf(power.as_f64()))))
}

fn log(call: &Call<'_>) -> Result<Value, Wrong> {
    let quotient = call.number(0).as_f64().ln() / call.number(1).as_f64().ln();
    Number::float(quotient).map(Value::Number).ok_or_else(|| "this logarithm is no number".into())
}

fn extreme(call: &Call<'_>, better: fn(std::cmp::Ordering) -> bool) -> Result<Value, Wrong> {
    let numbers = (0..call.arguments.len()).map(|at| call.number(at));
    let best = numbers.reduce(|best, number| if better(number.order(best)) { number } else { best });
    best.map(Value::Number).ok_or_else(|| "must pass at least one number".into())
}

fn parse_int(call: &Call<'_>) -> Result<Value, Wrong> {
    let text = match &call.arguments[0] {
        Value::String(text) => text.to_string(),
        Value::Number(number) => number.to_string(),
        other => {
            return Err(wrong(0, format!("first argument must be a string or number, not {}", other.kind())));
        }
    };
    let base = call.whole(1)?;
    if !(2..=62).contains(&base) {
        return Err(wrong(1, "base must be a whole number between 2 and 62 inclusive"));
    }
    let base = i128::from(base);
    let digits = text.strip_prefix(['-', '+']).unwrap_or(&text);
    // Up to base 36 case does not matter; above it capitals come after small letters.
    let digit = |character: char| match character {
        '0'..='9' => Some(character as i128 - '0' as i128),
        'a'..='z' => Some(character as i128 - 'a' as i128 + 10),
        'A'..='Z' if base <= 36 => Some(character as i128 - 'A' as i128 + 10),
        'A'..='Z' => Some(character as i128 - 'A' as i128 + 36),
        _ => None,
    };
    let mut sum = (!digits.is_empty()).then_some(0i128);
    for character in digits.chars() {
        let value = digit(character).filter(|value| *value < base);
        sum = sum.zip(value).and_then(|(sum, value)| sum.checked_mul(base)?.checked_add(value));
    }
    let sum = sum.ok_or_else(|| wrong(0, format!("cannot parse {text:?} as a base {base} integer")))?;
    Ok(Value::Number(Number::from(if text.starts_with('-') { -sum } else { sum })))
}

/// More numbers than this are refused, as the neighbour does.
const LONGEST_RANGE: usize = 1024;

fn range(call: &Call<'_>) -> Result<Value, Wrong> {
    let one = Number::from(1usize);
    let zero = Number::from(0usize);
    let (start, end, step) = match call.arguments.len() {
        1 => (zero, call.number(0), if call.number(0).sign().is_lt() { one.negate() } else { one }),
        2 => {
            let down = call.number(1).order(call.number(0)).is_lt();
            (call.number(0), call.number(1), if down { one.negate() } else { one })
        }
        3 => (call.number(0), call.number(1), call.number(2)),
        _ => return Err("must have one, two, or three arguments".into()),
    };
    let down = step.sign().is_lt();
    if step.sign().is_eq() || end.order(start).is_lt() != down && end.order(start).is_ne() {
        return Err(match step.sign().is_eq() {
            true => wrong(2, "step must not be zero"),
            false if down => wrong(1, "end must be less than start when step is negative"),
            false => wrong(1, "end must be greater than start when step is positive"),
        });
    }
    let mut numbers = Vec::new();
    let mut at = start;
    while if down { at.order(end).is_gt() } else { at.order(end).is_lt() } {
        if numbers.len() >= LONGEST_RANGE {
            return Err("more than 1024 values were generated; either decrease the difference between start and end or use a smaller step".into());
        }
        numbers.push(Value::Number(at));
        at = at.add(step).ok_or("the range grows too large")?;
    }
    Ok(Value::List(crate::bake::value::Type::Number, std::sync::Arc::new(numbers)))
}
