//! Numbers of the language: decimal and exact as far as 38 digits go, else floating.
//!
//! The neighbour computes with 512 binary digits. What people write in build files (versions, sizes,
//! counts, halves) is exact here and there; a quotient that never ends has fewer digits here.

use std::cmp::Ordering;
use std::fmt;

/// A number.
#[derive(Clone, Copy, Debug)]
pub(super) enum Number {
    /// `mantissa / 10^scale`, without zeros at the end.
    Exact { mantissa: i128, scale: u32 },
    /// What does not fit; always finite.
    Float(f64),
}

/// The most decimal places that are kept exactly.
const MOST_PLACES: u32 = 30;

impl Number {
    /// Returns `mantissa / 10^scale`.
    pub(super) fn exact(mut mantissa: i128, mut scale: u32) -> Self {
        while scale > 0 && mantissa % 10 == 0 {
            mantissa /= 10;
            scale -= 1;
        }
        match scale > MOST_PLACES {
            true => Self::Float(mantissa as f64 / 10f64.powi(scale.min(400) as i32)),
            false => Self::Exact { mantissa, scale },
        }
    }

    /// Returns a finite floating number; whole ones become exact. `None` for infinity and for what is no number.
    pub(super) fn float(value: f64) -> Option<Self> {
        if !value.is_finite() {
            return None;
        }
        match value.fract() == 0.0 && value.abs() < 1e36 {
            true => Some(Self::exact(value as i128, 0)),
            false => Some(Self::parse(&format!("{value}")).unwrap_or(Self::Float(value))),
        }
    }

    /// Reads `12`, `-1.5`, `1e3`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        let (digits, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((digits, exponent)) => (digits, exponent.parse::<i32>().ok()?),
            None => (unsigned, 0),
        };
        let (whole, places) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.len() + places.len() == 0 || !all_digits(whole) || !all_digits(places) {
            return None;
        }
        let scale = i32::try_from(places.len()).ok()?.checked_sub(exponent)?;
        let exact = format!("{whole}{places}").parse::<i128>().ok().and_then(|mantissa| {
            let mantissa = if text.starts_with('-') { -mantissa } else { mantissa };
            match scale < 0 {
                true => 10i128.checked_pow(scale.unsigned_abs())?.checked_mul(mantissa).map(Self::from),
                false => Some(Self::exact(mantissa, scale.unsigned_abs())),
            }
        });
        exact.or_else(|| text.parse().ok().filter(|value: &f64| value.is_finite()).map(Self::Float))
    }

    /// Returns the number as a floating one.
    pub(super) fn as_f64(self) -> f64 {
        match self {
            Self::Exact { mantissa, scale: 0 } => mantissa as f64,
            Self::Exact { .. } => self.to_string().parse().unwrap_or(f64::NAN),
            Self::Float(value) => value,
        }
    }

    /// Returns a whole number that fits.
    pub(super) fn as_i64(self) -> Option<i64> {
        match self {
            Self::Exact { mantissa, scale: 0 } => i64::try_from(mantissa).ok(),
            _ => None,
        }
    }

    /// Returns a whole number that fits and counts something.
    pub(super) fn as_count(self) -> Option<usize> {
        self.as_i64().and_then(|value| usize::try_from(value).ok())
    }

    fn aligned(self, other: Self) -> Option<(i128, i128, u32)> {
        let (Self::Exact { mantissa: a, scale: s }, Self::Exact { mantissa: b, scale: t }) = (self, other)
        else {
            return None;
        };
        let scale = s.max(t);
        let lift = |mantissa: i128, by: u32| 10i128.checked_pow(by)?.checked_mul(mantissa);
        Some((lift(a, scale - s)?, lift(b, scale - t)?, scale))
    }

    fn combine(
        self,
        other: Self,
        exactly: fn(i128, i128) -> Option<i128>,
        floating: fn(f64, f64) -> f64,
    ) -> Option<Self> {
        let exact = self.aligned(other).and_then(|(a, b, scale)| Some(Self::exact(exactly(a, b)?, scale)));
        exact.or_else(|| Self::float(floating(self.as_f64(), other.as_f64())))
    }

    /// Returns the sum; `None` where it is too large for any number.
    pub(super) fn add(self, other: Self) -> Option<Self> {
        self.combine(other, i128::checked_add, |a, b| a + b)
    }

    /// Returns the difference.
    pub(super) fn subtract(self, other: Self) -> Option<Self> {
        self.combine(other, i128::checked_sub, |a, b| a - b)
    }

    /// Returns the product.
    pub(super) fn multiply(self, other: Self) -> Option<Self> {
        let exact = match (self, other) {
            (Self::Exact { mantissa: a, scale: s }, Self::Exact { mantissa: b, scale: t }) => {
                a.checked_mul(b).map(|mantissa| Self::exact(mantissa, s + t))
            }
            _ => None,
        };
        exact.or_else(|| Self::float(self.as_f64() * other.as_f64()))
    }

    /// Returns the quotient; `None` where the divisor is zero.
    pub(super) fn divide(self, other: Self) -> Option<Self> {
        if other.sign() == Ordering::Equal {
            return None;
        }
        let exact = self.aligned(other).and_then(|(mut a, b, _)| {
            for scale in 0..=MOST_PLACES {
                if a % b == 0 {
                    return Some(Self::exact(a / b, scale));
                }
                a = a.checked_mul(10)?;
            }
            None
        });
        exact.or_else(|| Self::float(self.as_f64() / other.as_f64()))
    }

    /// Returns what is left of a division; it has the sign of the dividend. `None` where the divisor is zero.
    pub(super) fn modulo(self, other: Self) -> Option<Self> {
        match other.sign() == Ordering::Equal {
            true => None,
            false => self.combine(other, i128::checked_rem, |a, b| a % b),
        }
    }

    /// Returns the negative.
    pub(super) fn negate(self) -> Self {
        match self {
            Self::Exact { mantissa, scale } => Self::Exact { mantissa: -mantissa, scale },
            Self::Float(value) => Self::Float(-value),
        }
    }

    /// Compares with zero.
    pub(super) fn sign(self) -> Ordering {
        self.order(Self::from(0i128))
    }

    /// Compares by size.
    pub(super) fn order(self, other: Self) -> Ordering {
        match self.aligned(other) {
            Some((a, b, _)) => a.cmp(&b),
            None => self.as_f64().total_cmp(&other.as_f64()),
        }
    }

    /// Returns the whole part, towards zero.
    pub(super) fn truncate(self) -> Self {
        match self {
            Self::Exact { mantissa, scale } => Self::from(mantissa / 10i128.pow(scale)),
            Self::Float(value) => Self::float(value.trunc()).unwrap_or(self),
        }
    }

    /// Returns the largest whole number that is not larger.
    pub(super) fn floor(self) -> Self {
        let whole = self.truncate();
        match self.order(whole) {
            Ordering::Less => whole.subtract(Self::from(1i128)).unwrap_or(whole),
            _ => whole,
        }
    }

    /// Returns the smallest whole number that is not smaller.
    pub(super) fn ceil(self) -> Self {
        self.negate().floor().negate()
    }
}

impl From<i128> for Number {
    fn from(value: i128) -> Self {
        Self::Exact { mantissa: value, scale: 0 }
    }
}

impl From<usize> for Number {
    fn from(value: usize) -> Self {
        Self::from(value as i128)
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.order(*other) == Ordering::Equal
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Exact { mantissa, scale: 0 } => write!(f, "{mantissa}"),
            Self::Exact { mantissa, scale } => {
                let sign = if mantissa < 0 { "-" } else { "" };
                let digits = format!("{:0>width$}", mantissa.unsigned_abs(), width = scale as usize + 1);
                let (whole, places) = digits.split_at(digits.len() - scale as usize);
                write!(f, "{sign}{whole}.{places}")
            }
            Self::Float(value) => write!(f, "{value}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Number {
        Number::parse(text).unwrap()
    }

    #[track_caller]
    fn check(result: Option<Number>, expected: &str) {
        assert_eq!(result.map_or_else(|| "none".to_owned(), |number| number.to_string()), expected);
    }

    #[test]
    fn decimals_are_exact() {
        check(number("0.1").add(number("0.2")), "0.3");
        check(number("1.50").multiply(number("2")), "3");
        check(number("1").divide(number("8")), "0.125");
        check(number("1").divide(number("3")), "0.3333333333333333");
        check(number("-7").modulo(number("3")), "-1");
        check(number("1").divide(number("0")), "none");
        check(Some(number("1e3")), "1000");
        check(Some(number("-1.25e-1")), "-0.125");
        check(
            Some(number("170141183460469231731687303715884105728")),
            "170141183460469230000000000000000000000",
        );
        check(Some(number("-1.5").floor()), "-2");
        check(Some(number("-1.5").ceil()), "-1");
        assert!(
            Number::parse("1e99999").is_none() && Number::parse("x").is_none() && Number::parse("").is_none()
        );
    }
}
