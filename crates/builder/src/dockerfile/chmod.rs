//! `--chmod` of COPY and ADD: octal (`0755`) and symbolic (`u=rwX,go=rX`).
//!
//! | in a clause | means |
//! |---|---|
//! | no `u`, `g`, `o`, `a` in front | all three; no umask plays a part |
//! | `X` | execute, for folders and for what somebody could execute *before* the change |
//! | `s` | setuid for `u`, setgid for `g`, nothing for `o` |
//! | `t` | the sticky bit, unless the clause is for `o` alone |
//! | `=` | clears read, write, execute, setuid and setgid of those named; never the sticky bit |
//! | `=u`, `=g`, `=o` | clears and copies read, write, execute only |
//!
//! Source: the Dockerfile reference, "COPY --chmod"; what BuildKit makes of it, which follows BSD.

/// A change of permission bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chmod(Change);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Change {
    Exact(u32),
    Actions(Vec<Action>),
}

/// One operator with what follows it, and whom it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Action {
    who: Who,
    operator: Operator,
    bits: Bits,
}

/// The bits a clause may touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Who {
    permissions: u32,
    set_id: u32,
    sticky: u32,
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
        /// Whether `X` is among them.
        execute_if_any: bool,
    },
    /// The permissions of user, group or others, by their shift.
    CopyOf(u32),
}

const USER: Who = Who { permissions: 0o700, set_id: 0o4000, sticky: 0o1000 };
const GROUP: Who = Who { permissions: 0o070, set_id: 0o2000, sticky: 0o1000 };
const OTHERS: Who = Who { permissions: 0o007, set_id: 0, sticky: 0 };
const EXECUTE: u32 = 0o111;

impl Who {
    const NOBODY: Self = Self { permissions: 0, set_id: 0, sticky: 0 };
    const ALL: Self = USER.and(GROUP).and(OTHERS);

    const fn and(self, other: Self) -> Self {
        Self {
            permissions: self.permissions | other.permissions,
            set_id: self.set_id | other.set_id,
            sticky: self.sticky | other.sticky,
        }
    }
}

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
        Ok(Self(Change::Actions(actions)))
    }

    /// Returns the mode where it is given in numbers.
    pub fn exact(&self) -> Option<u32> {
        if let Change::Exact(mode) = self.0 { Some(mode) } else { None }
    }

    /// Returns the mode that `mode` becomes; both are the low twelve bits of `st_mode`.
    pub fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        match &self.0 {
            Change::Exact(exact) => *exact,
            Change::Actions(actions) => {
                let executable = is_directory || mode & EXECUTE != 0;
                actions.iter().fold(mode & 0o7777, |mode, action| action.apply(mode, executable))
            }
        }
    }
}

impl Action {
    fn apply(self, mode: u32, executable: bool) -> u32 {
        let Who { permissions, set_id, sticky } = self.who;
        let (bits, cleared) = match self.bits {
            Bits::Fixed { bits, execute_if_any } => {
                let execute = if execute_if_any && executable { EXECUTE } else { 0 };
                ((bits | execute) & (permissions | set_id | sticky), permissions | set_id)
            }
            Bits::CopyOf(shift) => ((((mode >> shift) & 0o7) * EXECUTE) & permissions, permissions),
        };
        match self.operator {
            Operator::Add => mode | bits,
            Operator::Remove => mode & !bits,
            Operator::Set => (mode & !cleared) | bits,
        }
    }
}

/// Reads `[ugoa...](+|-|=)[rwxXst...|u|g|o]`, with as many operators as there are.
fn parse_clause(clause: &str, actions: &mut Vec<Action>) -> Option<()> {
    let operator_at = clause.find(['+', '-', '='])?;
    let mut who = if operator_at == 0 { Who::ALL } else { Who::NOBODY };
    for letter in clause[..operator_at].chars() {
        who = who.and(match letter {
            'u' => USER,
            'g' => GROUP,
            'o' => OTHERS,
            'a' => Who::ALL,
            _ => return None,
        });
    }
    let mut rest = &clause[operator_at..];
    while let Some(first) = rest.chars().next() {
        let operator = match first {
            '+' => Operator::Add,
            '-' => Operator::Remove,
            _ => Operator::Set,
        };
        let end = rest[1..].find(['+', '-', '=']).map_or(rest.len(), |at| at + 1);
        actions.push(Action { who, operator, bits: parse_bits(&rest[1..end])? });
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
            's' => bits |= 0o6000,
            't' => bits |= 0o1000,
            _ => return None,
        }
    }
    Some(Bits::Fixed { bits, execute_if_any })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What BuildKit of Docker 28.5 made of four files (0644, 4711, 0666, 0600) and two folders (3755, 0700).
    const MADE: [(&str, [u32; 6]); 43] = [
        ("755", [0o755, 0o755, 0o755, 0o755, 0o755, 0o755]),
        ("4755", [0o4755, 0o4755, 0o4755, 0o4755, 0o4755, 0o4755]),
        ("0", [0, 0, 0, 0, 0, 0]),
        ("u=rwX,go=rX", [0o644, 0o755, 0o644, 0o644, 0o1755, 0o755]),
        ("+x", [0o755, 0o4711, 0o777, 0o711, 0o3755, 0o711]),
        ("a+x", [0o755, 0o4711, 0o777, 0o711, 0o3755, 0o711]),
        ("go-w", [0o644, 0o4711, 0o644, 0o600, 0o3755, 0o700]),
        ("o=", [0o640, 0o4710, 0o660, 0o600, 0o3750, 0o700]),
        ("g=u", [0o664, 0o4771, 0o666, 0o660, 0o3775, 0o770]),
        ("o+g", [0o644, 0o4711, 0o666, 0o600, 0o3755, 0o700]),
        ("u+s", [0o4644, 0o4711, 0o4666, 0o4600, 0o7755, 0o4700]),
        ("g+s,+t", [0o3644, 0o7711, 0o3666, 0o3600, 0o3755, 0o3700]),
        ("u+t", [0o1644, 0o5711, 0o1666, 0o1600, 0o3755, 0o1700]),
        ("g+t", [0o1644, 0o5711, 0o1666, 0o1600, 0o3755, 0o1700]),
        ("o+s", [0o644, 0o4711, 0o666, 0o600, 0o3755, 0o700]),
        ("o+t", [0o644, 0o4711, 0o666, 0o600, 0o3755, 0o700]),
        ("u=rw", [0o644, 0o611, 0o666, 0o600, 0o3655, 0o600]),
        ("u=rwx", [0o744, 0o711, 0o766, 0o700, 0o3755, 0o700]),
        ("a=r,u+w", [0o644, 0o644, 0o644, 0o644, 0o1644, 0o644]),
        ("u=r+x-r", [0o144, 0o111, 0o166, 0o100, 0o3155, 0o100]),
        ("a-x+X", [0o644, 0o4711, 0o666, 0o600, 0o3755, 0o711]),
        ("ug=o", [0o444, 0o4111, 0o666, 0, 0o3555, 0]),
        ("+t", [0o1644, 0o5711, 0o1666, 0o1600, 0o3755, 0o1700]),
        ("=r", [0o444, 0o444, 0o444, 0o444, 0o1444, 0o444]),
        ("-w", [0o444, 0o4511, 0o444, 0o400, 0o3555, 0o500]),
        ("u+xs", [0o4744, 0o4711, 0o4766, 0o4700, 0o7755, 0o4700]),
        ("g=s", [0o2604, 0o6701, 0o2606, 0o2600, 0o3705, 0o2700]),
        ("a=", [0, 0, 0, 0, 0o1000, 0]),
        ("+X", [0o644, 0o4711, 0o666, 0o600, 0o3755, 0o711]),
        ("ug+s", [0o6644, 0o6711, 0o6666, 0o6600, 0o7755, 0o6700]),
        ("u=t", [0o1044, 0o1011, 0o1066, 0o1000, 0o3055, 0o1000]),
        ("a-X", [0o644, 0o4600, 0o666, 0o600, 0o3644, 0o600]),
        ("u-t", [0o644, 0o4711, 0o666, 0o600, 0o2755, 0o700]),
        ("o=t", [0o640, 0o4710, 0o660, 0o600, 0o3750, 0o700]),
        ("go+t", [0o1644, 0o5711, 0o1666, 0o1600, 0o3755, 0o1700]),
        ("u+X", [0o644, 0o4711, 0o666, 0o600, 0o3755, 0o700]),
        ("u=X", [0o44, 0o111, 0o66, 0, 0o3155, 0o100]),
        ("go=u-w", [0o644, 0o4755, 0o644, 0o644, 0o3755, 0o755]),
        ("u=rwx,g=u,o=g", [0o777, 0o777, 0o777, 0o777, 0o3777, 0o777]),
        ("a+rX,u+w", [0o644, 0o4755, 0o666, 0o644, 0o3755, 0o755]),
        ("=x", [0o111, 0o111, 0o111, 0o111, 0o1111, 0o111]),
        ("g-s", [0o644, 0o4711, 0o666, 0o600, 0o1755, 0o700]),
        ("u=s", [0o4044, 0o4011, 0o4066, 0o4000, 0o7055, 0o4000]),
    ];

    #[test]
    fn modes_become_what_buildkit_makes_of_them() {
        let before =
            [(0o644, false), (0o4711, false), (0o666, false), (0o600, false), (0o3755, true), (0o700, true)];
        for (text, expected) in MADE {
            let chmod = Chmod::parse(text).unwrap();
            let after = before.map(|(mode, is_directory)| chmod.apply(mode, is_directory));
            assert_eq!(
                after.map(|mode| format!("{mode:o}")),
                expected.map(|mode| format!("{mode:o}")),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_refused() {
        for text in
            ["", "8", "10000", "777777777777", "x", "u", "u=q", "z+x", "u+x,", ",u+x", "0x1ff", "7 5", "u=gw"]
        {
            assert!(Chmod::parse(text).is_err(), "{text}");
        }
    }
}
