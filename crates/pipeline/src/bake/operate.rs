//! Operators: arithmetic, comparison, logic.

use super::convert::convert;
use super::error::{Fault, Span};
use super::number::Number;
use super::syntax::Operator;
use super::value::{Type, Value};

/// Returns the result of `&&` and `||` where the left side alone decides it.
pub(super) fn decided(operator: Operator, left: &Value) -> Option<Value> {
    match (operator, convert(left, &Type::Bool)) {
        (Operator::Or, Ok(Value::Bool(true))) => Some(Value::Bool(true)),
        (Operator::And, Ok(Value::Bool(false))) => Some(Value::Bool(false)),
        _ => None,
    }
}

/// Computes `left operator right`.
pub(super) fn binary(
    operator: Operator,
    left: (&Value, Span),
    right: (&Value, Span),
    span: Span,
) -> Result<Value, Fault> {
    use Operator::{
        Add, And, Divide, Equal, Greater, GreaterOrEqual, Less, LessOrEqual, Modulo, Multiply, NotEqual, Or,
        Subtract,
    };
    match operator {
        Equal => return Ok(Value::Bool(left.0.equals(right.0))),
        NotEqual => return Ok(Value::Bool(!left.0.equals(right.0))),
        Or | And => {
            let (left, right) = (truth(left)?, truth(right)?);
            return Ok(Value::Bool(if operator == Or { left || right } else { left && right }));
        }
        _ => {}
    }
    let (a, b) = (number(left)?, number(right)?);
    let result = match operator {
        Greater => return Ok(Value::Bool(a.order(b).is_gt())),
        GreaterOrEqual => return Ok(Value::Bool(a.order(b).is_ge())),
        Less => return Ok(Value::Bool(a.order(b).is_lt())),
        LessOrEqual => return Ok(Value::Bool(a.order(b).is_le())),
        Add => a.add(b),
        Subtract => a.subtract(b),
        Multiply => a.multiply(b),
        Divide => a.divide(b),
        Modulo => a.modulo(b),
        Equal | NotEqual | Or | And => None,
    };
    let detail = match operator {
        Divide | Modulo => "A number cannot be divided by zero",
        _ => "The result is too large",
    };
    result.map(Value::Number).ok_or_else(|| Fault::new(span, "Operation failed", detail))
}

/// Computes `-value`.
pub(super) fn negate(value: &Value, span: Span) -> Result<Value, Fault> {
    Ok(Value::Number(number((value, span))?.negate()))
}

/// Computes `!value`.
pub(super) fn not(value: &Value, span: Span) -> Result<Value, Fault> {
    Ok(Value::Bool(!truth((value, span))?))
}

fn number(operand: (&Value, Span)) -> Result<Number, Fault> {
    converted(operand, &Type::Number, |value| match value {
        Value::Number(number) => Some(number),
        _ => None,
    })
}

fn truth(operand: (&Value, Span)) -> Result<bool, Fault> {
    converted(operand, &Type::Bool, |value| match value {
        Value::Bool(truth) => Some(truth),
        _ => None,
    })
}

/// Converts an operand; `None` of `take` is what has the type and no value.
fn converted<T>(
    (value, span): (&Value, Span),
    to: &Type,
    take: impl FnOnce(Value) -> Option<T>,
) -> Result<T, Fault> {
    let unsuitable = |reason: &dyn std::fmt::Display| {
        Fault::new(span, "Invalid operand", format!("Unsuitable value for operand: {reason}"))
    };
    let value = convert(value, to).map_err(|reason| unsuitable(&reason))?;
    take(value).ok_or_else(|| unsuitable(&"argument must not be null"))
}
