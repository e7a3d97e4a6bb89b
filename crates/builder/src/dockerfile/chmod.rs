//! `--chmod` of COPY and ADD: octal (`0755`) and symbolic (`u=rwX,go=rX`).
//!
//! No umask plays a part: a clause without `u`, `g`, `o` or `a` means all three.
//!
//! Source: the Dockerfile reference, "COPY --chmod"; POSIX.1-2017, chmod, "Extended description".

/// A change of permission bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chmod(Change);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Change {
    Exact(u32),
    Clauses(Vec<Action>),
}

/// One operator of one clause, with whom it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Action {
    /// The bits it may touch: of user (with setuid), group (with setgid), others (with sticky).
    affected: u32,
    operator: Operator,
    bits: Bits,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Add,
    Remove,
    Set,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bits {
    Fixed {
        bits: u32,
        /// Whether execution is granted to folders and to what somebody may execute already (`X`).
        execute_if_any: bool,
    },
    /// The permissions of user, group or others, by their shift.
    CopyOf(u32),
}

const USER: u32 = 0o4700;
const GROUP: u32 = 0o2070;
const OTHERS: u32 = 0o1007;
const EXECUTE: u32 = 0o111;
const SET_ID: u32 = 0o6000;

impl Chmod {
    /// Reads a mode.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.starts_with(|first: char| first.is_ascii_digit()) {
            let octal = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
            let mode = octal.ok_or_else(|| format!("{text:?} is not an octal mode from 0 to 7777"))?;
            return Ok(Self(Change::Exact(mode)));
        }
        let mut actions = Vec::new();
        for clause in text.split(',') {
            parse_clause(clause, &mut actions)
                .ok_or_else(|| format!("{text:?} is not a mode; write it as 755 or u=rwX,go=rX"))?;
        }
        Ok(Self(Change::Clauses(actions)))
    }

    /// Returns the mode that `mode` becomes; both are the low twelve bits of `st_mode`.
    pub fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        match &self.0 {
            Change::Exact(exact) => *exact,
            Change::Clauses(actions) => {
                actions.iter().fold(mode & 0o7777, |mode, action| action.apply(mode, is_directory))
            }
        }
    }
}

impl Action {
    fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        let bits = match self.bits {
            Bits::Fixed { bits, execute_if_any } => {
                let execute = execute_if_any && (is_directory || mode & EXECUTE != 0);
                if execute { bits | EXECUTE } else { bits }
            }
            Bits::CopyOf(shift) => ((mode >> shift) & 0o7) * EXECUTE,
        };
        let bits = bits & self.affected;
        match self.operator {
            Operator::Add => mode | bits,
            Operator::Remove => mode & !bits,
            // A folder keeps its set-id bits when permissions are assigned, as chmod does.
            Operator::Set if is_directory => (mode & !(self.affected & !SET_ID)) | bits,
            Operator::Set => (mode & !self.affected) | bits,
        }
    }
}

/// Reads `[ugoa...](+|-|=)[rwxXst...|u|g|o]`, with as many operators as there are.
fn parse_clause(clause: &str, actions: &mut Vec<Action>) -> Option<()> {
    let operator_at = clause.find(['+', '-', '='])?;
    let mut affected = 0;
    for who in clause[..operator_at].chars() {
        affected |= match who {
            'u' => USER,
            'g' => GROUP,
            'o' => OTHERS,
            'a' => USER | GROUP | OTHERS,
            _ => return None,
        };
    }
    if operator_at == 0 {
        affected = USER | GROUP | OTHERS;
    }
    let mut rest = &clause[operator_at..];
    while let Some(first) = rest.chars().next() {
        let operator = match first {
            '+' => Operator::Add,
            '-' => Operator::Remove,
            _ => Operator::Set,
        };
        let end = rest[1..].find(['+', '-', '=']).map_or(rest.len(), |at| at + 1);
        actions.push(Action { affected, operator, bits: parse_bits(&rest[1..end])? });
        rest = &rest[end..];
    }
    Some(())
}

fn parse_bits(text: &str) -> Option<Bits> {
    match text {
        "u" => return Some(Bits::CopyOf(6)),
        "g" => return Some(Bits::CopyOf(3)),
        "o" => return Some(Bits::CopyOf(0)),
        _ => {}
    }
    let (mut bits, mut execute_if_any) = (0, false);
    for letter in text.chars() {
        match letter {
            'r' => bits |= 0o444,
            'w' => bits |= 0o222,
            'x' => bits |= EXECUTE,
            'X' => execute_if_any = true,
            's' => bits |= SET_ID,
            't' => bits |= 0o1000,
            _ => return None,
        }
    }
    Some(Bits::Fixed { bits, execute_if_any })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, before: u32, is_directory: bool, after: u32) {
        let mode = Chmod::parse(text).unwrap().apply(before, is_directory);
        assert_eq!(mode, after, "{text}: {before:o} became {mode:o}, expected {after:o}");
    }

    #[test]
    fn octal() {
        check("755", 0o644, false, 0o755);
        check("0644", 0o7777, true, 0o644);
        check("4755", 0, false, 0o4755);
        check("0", 0o777, false, 0);
    }

    #[test]
    fn symbolic() {
        check("u=rwX,go=rX", 0o600, false, 0o644);
        check("u=rwX,go=rX", 0o700, false, 0o755);
        check("u=rwX,go=rX", 0o600, true, 0o755);
        check("+x", 0o644, false, 0o755);
        check("a+x", 0o644, false, 0o755);
        check("go-w", 0o666, false, 0o644);
        check("o=", 0o777, false, 0o770);
        check("g=u", 0o640, false, 0o660);
        check("o+g", 0o640, false, 0o644);
        check("u+s", 0o755, false, 0o4755);
        check("g+s,+t", 0o755, true, 0o3755);
        check("u+t", 0o755, true, 0o755);
        check("o+s", 0o755, false, 0o755);
        check("u=rw", 0o4755, false, 0o655);
        check("u=rwx", 0o4755, true, 0o4755);
        check("a=r,u+w", 0o777, false, 0o644);
        check("u=r+x-r", 0o600, false, 0o100);
        check("a-x+X", 0o755, true, 0o755);
        check("a-x+X", 0o755, false, 0o644);
    }

    #[test]
    fn what_is_refused() {
        for text in
            ["", "8", "10000", "777777777777", "x", "u", "u=q", "z+x", "u+x,", ",u+x", "u+ug", "0x1ff", "7 5"]
        {
            assert!(Chmod::parse(text).is_err(), "{text}");
        }
    }
}
