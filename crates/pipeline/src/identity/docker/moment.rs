//! Dates in the pattern language of moment: some ninety tokens, English.
//!
//! Text stands in `[brackets]`, or after a backslash; what is no token stands for itself. `L`, `LT`
//! and their like are short for patterns.
//!
//! Source: moment 2.31, "Format", and its locale `en`.

use jiff::Zoned;

/// Tokens, those first that win over others at the same place.
const TOKENS: [&str; 76] = [
    "eHHmm",
    "Hmmss",
    "hmmss",
    "Hmm",
    "hmm",
    "Mo",
    "MMMM",
    "MMM",
    "MM",
    "M",
    "Do",
    "DDDo",
    "DDDD",
    "DDD",
    "DD",
    "D",
    "dddd",
    "ddd",
    "dd",
    "do",
    "d",
    "wo",
    "ww",
    "w|",
    "w",
    "Wo",
    "WW",
    "W|",
    "W",
    "Qo",
    "Q",
    "NNNNN",
    "NNNN",
    "NNN",
    "NN",
    "N",
    "YYYYYY",
    "YYYYY",
    "YYYY",
    "YY",
    "Y",
    "yyyy",
    "yyy",
    "yy",
    "yo",
    "y",
    "ggggg",
    "gggg",
    "gg",
    "GGGGG",
    "GGGG",
    "GG",
    "e",
    "E",
    "a",
    "A",
    "hh",
    "h",
    "HH",
    "H",
    "kk",
    "k",
    "mm",
    "m",
    "ss",
    "s",
    "SSSSSSSSS",
    "SSSSSSSS",
    "SSSSSSS",
    "SSSSSS",
    "SSSSS",
    "SSSS",
    "SSS",
    "SS",
    "S",
    "x",
];

/// The rest of the tokens.
const TOKENS_OF_ZONE: [&str; 5] = ["X", "zz", "z", "ZZ", "Z"];

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// Patterns that stand for longer ones.
const SHORT: [(&str, &str); 10] = [
    ("LTS", "h:mm:ss A"),
    ("LT", "h:mm A"),
    ("LLLL", "dddd, MMMM D, YYYY h:mm A"),
    ("LLL", "MMMM D, YYYY h:mm A"),
    ("LL", "MMMM D, YYYY"),
    ("L", "MM/DD/YYYY"),
    ("llll", "ddd, MMM D, YYYY h:mm A"),
    ("lll", "MMM D, YYYY h:mm A"),
    ("ll", "MMM D, YYYY"),
    ("l", "M/D/YYYY"),
];

/// How deep short patterns are taken apart.
const MAX_EXPANSIONS: usize = 6;

/// A time at some place, as it is written.
#[derive(Debug)]
pub(super) struct Moment {
    /// The time, in its zone.
    pub(super) time: Zoned,
    /// The zone's short name at that time; empty where the zone is not known.
    pub(super) zone: String,
}

impl Moment {
    /// Writes the time in `pattern`; an empty one is ISO 8601 in seconds.
    pub(super) fn format(&self, pattern: &str) -> String {
        if pattern.is_empty() {
            let is_utc = !self.zone.is_empty() && self.offset_minutes() == 0;
            return self.format(if is_utc { "YYYY-MM-DDTHH:mm:ss[Z]" } else { "YYYY-MM-DDTHH:mm:ssZ" });
        }
        let mut pattern = pattern.to_owned();
        for _ in 0..MAX_EXPANSIONS {
            match expand(&pattern) {
                Some(expanded) => pattern = expanded,
                None => break,
            }
        }
        let mut output = String::new();
        let mut rest = pattern.as_str();
        while let Some(first) = rest.chars().next() {
            let length = self.write_next(rest, first, &mut output);
            rest = &rest[length..];
        }
        output
    }

    /// Writes what `rest` starts with; returns how long that is.
    fn write_next(&self, rest: &str, first: char, output: &mut String) -> usize {
        if first == '['
            && let Some(end) = bracketed(rest)
        {
            output.push_str(&rest[1..end - 1]);
            return end;
        }
        if let Some(escaped) = rest.strip_prefix('\\') {
            if escaped.starts_with('e') {
                output.push('e');
                return 2;
            }
            let length =
                token(escaped).map_or_else(|| escaped.chars().next().map_or(0, char::len_utf8), str::len);
            output.extend(escaped[..length].chars().filter(|c| !matches!(c, '\\' | '\n' | '\r')));
            return 1 + length;
        }
        if let Some(token) = token(rest) {
            output.push_str(&self.token(token));
            return token.len();
        }
        if !matches!(first, '\n' | '\r' | '\u{2028}' | '\u{2029}') {
            output.push(first);
        }
        first.len_utf8()
    }

    fn token(&self, token: &str) -> String {
        let time = &self.time;
        let (year, month, day) = (i64::from(time.year()), i64::from(time.month()), i64::from(time.day()));
        let (hour, minute) = (i64::from(time.hour()), i64::from(time.minute()));
        let second = i64::from(time.second());
        let hour_of_twelve = if hour % 12 == 0 { 12 } else { hour % 12 };
        let day_of_year = i64::from(time.day_of_year());
        let quarter = (month + 2) / 3;
        match token {
            "M" => month.to_string(),
            "MM" => fill(month, 2),
            "Mo" => ordinal(month),
            "MMM" => MONTHS[month as usize - 1][..3].to_owned(),
            "MMMM" => MONTHS[month as usize - 1].to_owned(),
            "Q" => quarter.to_string(),
            "Qo" => ordinal(quarter),
            "D" => day.to_string(),
            "DD" => fill(day, 2),
            "Do" => ordinal(day),
            "DDD" => day_of_year.to_string(),
            "DDDD" => fill(day_of_year, 3),
            "DDDo" => ordinal(day_of_year),
            "H" => hour.to_string(),
            "HH" => fill(hour, 2),
            "h" => hour_of_twelve.to_string(),
            "hh" => fill(hour_of_twelve, 2),
            "k" => if hour == 0 { 24 } else { hour }.to_string(),
            "kk" => fill(if hour == 0 { 24 } else { hour }, 2),
            "Hmm" => format!("{hour}{minute:02}"),
            "hmm" => format!("{hour_of_twelve}{minute:02}"),
            "Hmmss" => format!("{hour}{minute:02}{second:02}"),
            "hmmss" => format!("{hour_of_twelve}{minute:02}{second:02}"),
            "eHHmm" => format!("{}{hour:02}{minute:02}", self.weekday()),
            "a" => if hour < 12 { "am" } else { "pm" }.to_owned(),
            "A" => if hour < 12 { "AM" } else { "PM" }.to_owned(),
            "m" => minute.to_string(),
            "mm" => fill(minute, 2),
            "s" => second.to_string(),
            "ss" => fill(second, 2),
            "x" => time.timestamp().as_millisecond().to_string(),
            "X" => time.timestamp().as_millisecond().div_euclid(1000).to_string(),
            "YYYYYY" if year >= 0 => format!("+{}", fill(year, 6)),
            _ if token.starts_with('Y') => year_text(year, token.len()),
            _ if token.starts_with(['d', 'e', 'E']) => self.day_token(token),
            _ if token.starts_with(['w', 'W', 'g', 'G']) => self.week_token(token),
            _ if token.starts_with(['N', 'y']) => era(year, token),
            _ if token.starts_with('S') => self.fraction(token.len()),
            _ => self.zone_token(token),
        }
    }

    /// Returns the day of the week, Sunday being zero.
    fn weekday(&self) -> i64 {
        i64::from(self.time.weekday().to_sunday_zero_offset())
    }

    fn day_token(&self, token: &str) -> String {
        let weekday = self.weekday();
        let name = DAYS[weekday as usize];
        match token {
            "do" => ordinal(weekday),
            "dd" => name[..2].to_owned(),
            "ddd" => name[..3].to_owned(),
            "dddd" => name.to_owned(),
            "E" => if weekday == 0 { 7 } else { weekday }.to_string(),
            _ => weekday.to_string(),
        }
    }

    /// Weeks: those of ISO 8601 in capitals, those of America, from Sunday on, in small letters.
    fn week_token(&self, token: &str) -> String {
        let is_iso = token.starts_with(['W', 'G']);
        let (year, week) = if is_iso {
            let date = self.time.date().iso_week_date();
            (i64::from(date.year()), i64::from(date.week()))
        } else {
            week_of_year(i64::from(self.time.year()), i64::from(self.time.day_of_year()))
        };
        match token {
            "w" | "W" => week.to_string(),
            "wo" | "Wo" => ordinal(week),
            "ww" | "WW" => fill(week, 2),
            "gg" | "GG" => fill(year % 100, 2),
            "gggg" | "ggggg" | "GGGG" | "GGGGG" => fill(year, token.len()),
            other => other.to_owned(),
        }
    }

    fn fraction(&self, digits: usize) -> String {
        let millisecond = i64::from(self.time.subsec_nanosecond()) / 1_000_000;
        match digits {
            1 => (millisecond / 100).to_string(),
            2 => fill(millisecond / 10, 2),
            _ => format!("{millisecond:03}{}", "0".repeat(digits - 3)),
        }
    }

    fn offset_minutes(&self) -> i64 {
        i64::from(self.time.offset().seconds()) / 60
    }

    fn zone_token(&self, token: &str) -> String {
        let offset = self.offset_minutes();
        let separator = if token == "Z" { ":" } else { "" };
        match token {
            "z" | "zz" => self.zone.clone(),
            _ => {
                let sign = if offset < 0 { '-' } else { '+' };
                format!("{sign}{:02}{separator}{:02}", offset.abs() / 60, offset.abs() % 60)
            }
        }
    }
}

/// Returns the length of the text in brackets that `rest` starts with, brackets included.
fn bracketed(rest: &str) -> Option<usize> {
    let inner = &rest[1..];
    let reach = inner.find('[').unwrap_or(inner.len());
    inner[..reach].rfind(']').map(|end| end + 2)
}

fn token(rest: &str) -> Option<&'static str> {
    TOKENS.iter().chain(&TOKENS_OF_ZONE).find(|token| rest.starts_with(**token)).copied()
}

/// Puts long patterns for short ones; `None` where there is no short one.
fn expand(pattern: &str) -> Option<String> {
    let mut output = String::new();
    let mut has_any = false;
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        let short = |rest: &str| SHORT.iter().find(|(short, _)| rest.starts_with(short));
        let length = if first == '['
            && let Some(end) = bracketed(rest)
        {
            has_any = true;
            output.push_str(&rest[..end]);
            end
        } else if let Some((name, _)) = rest.strip_prefix('\\').and_then(short) {
            has_any = true;
            output.push_str(&rest[..=name.len()]);
            1 + name.len()
        } else if let Some((name, long)) = short(rest) {
            has_any = true;
            output.push_str(long);
            name.len()
        } else {
            output.push(first);
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    has_any.then_some(output)
}

fn fill(number: i64, width: usize) -> String {
    let sign = if number < 0 { "-" } else { "" };
    format!("{sign}{:0width$}", number.abs())
}

fn year_text(year: i64, width: usize) -> String {
    match width {
        1 if year > 9999 => format!("+{year}"),
        1 => fill(year, 4),
        2 => fill(year % 100, 2),
        _ => fill(year, width),
    }
}

fn era(year: i64, token: &str) -> String {
    let is_after = year > 0;
    let of_era = if is_after { year } else { 1 - year };
    match token {
        "NNNN" => if is_after { "Anno Domini" } else { "Before Christ" }.to_owned(),
        _ if token.starts_with('N') => if is_after { "AD" } else { "BC" }.to_owned(),
        "yo" => ordinal(of_era),
        _ => fill(of_era, token.len()),
    }
}

fn ordinal(number: i64) -> String {
    let ending = match (number % 100 / 10, number % 10) {
        (1, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

/// Returns year and week of weeks that start on Sunday; the first one holds January 1st.
fn week_of_year(year: i64, day_of_year: i64) -> (i64, i64) {
    let week = (day_of_year - week_offset(year) - 1).div_euclid(7) + 1;
    if week > weeks_in_year(year) { (year + 1, week - weeks_in_year(year)) } else { (year, week) }
}

/// Returns how many days of the first week are in the year before, as a number not above zero.
fn week_offset(year: i64) -> i64 {
    let first = jiff::civil::Date::new(year.clamp(-9998, 9998) as i16, 1, 1);
    first.map_or(0, |date| -i64::from(date.weekday().to_sunday_zero_offset()))
}

fn weeks_in_year(year: i64) -> i64 {
    let days = jiff::civil::Date::new(year.clamp(-9998, 9998) as i16, 1, 1);
    let days = days.map_or(365, |date| i64::from(date.days_in_year()));
    (days - week_offset(year) + week_offset(year + 1)) / 7
}
