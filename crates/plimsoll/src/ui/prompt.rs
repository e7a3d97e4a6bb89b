//! Questions: only on a terminal, and secrets without showing what is typed.

use std::io::{self, BufRead, Read, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::env::Environment;
use crate::error::{Code, Error};

/// Longest answer that is taken, in bytes. Tokens of some registries have several thousand.
const LONGEST: u64 = 64 << 10;

/// Reads a line that is no secret.
pub fn line(environment: &Environment, question: &str) -> Result<String, Error> {
    ask(environment, question)?;
    let mut answer = String::new();
    io::stdin().lock().take(LONGEST).read_line(&mut answer).map_err(cannot_read)?;
    Ok(answer.trim().to_owned())
}

/// Reads a secret from the terminal without showing it.
pub fn secret(environment: &Environment, question: &str) -> Result<String, Error> {
    ask(environment, question)?;
    let terminal = Hidden::start().map_err(cannot_read)?;
    let typed = type_line(io::stdin().lock());
    drop(terminal);
    let _ = writeln!(io::stderr());
    typed
}

/// Reads a secret that is piped in; the line break at its end does not belong to it.
pub fn piped_secret() -> Result<String, Error> {
    let mut text = String::new();
    io::stdin().lock().take(LONGEST).read_to_string(&mut text).map_err(cannot_read)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn ask(environment: &Environment, question: &str) -> Result<(), Error> {
    if !environment.stdin_is_terminal {
        return Err(Error::Usage {
            message: format!("cannot ask for {question}: standard input is not a terminal"),
            hint: Some("give it on the command line, the password with --password-stdin".to_owned()),
        });
    }
    let mut err = io::stderr().lock();
    let _ = write!(err, "{question}: ").and_then(|()| err.flush());
    Ok(())
}

fn cannot_read(source: io::Error) -> Error {
    Error::file("read", std::path::Path::new("standard input"), source)
}

/// A terminal that neither shows what is typed nor turns Ctrl-C into a signal: the process could
/// otherwise end while the terminal is still mute.
struct Hidden {
    before: Termios,
}

impl Hidden {
    fn start() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut mute = before.clone();
        mute.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        tcsetattr(io::stdin(), OptionalActions::Flush, &mute)?;
        Ok(Self { before })
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.before);
    }
}

/// Reads keys up to Return and does what the terminal would have done with them.
fn type_line(keys: impl Read) -> Result<String, Error> {
    const CTRL_C: u8 = 3;
    const CTRL_D: u8 = 4;
    const CTRL_U: u8 = 21;
    let mut typed = Vec::new();
    // One byte at a time on purpose: what is typed ahead belongs to whoever reads next.
    #[allow(clippy::unbuffered_bytes, reason = "see above")]
    for key in keys.take(LONGEST).bytes() {
        match key.map_err(cannot_read)? {
            b'\r' | b'\n' | CTRL_D => break,
            CTRL_C => return Err(Error::Stopped(Code::Interrupted)),
            CTRL_U => typed.clear(),
            8 | 127 => erase_character(&mut typed),
            key => typed.push(key),
        }
    }
    String::from_utf8(typed).map_err(|_| Error::usage("what was typed is not UTF-8"))
}

fn erase_character(typed: &mut Vec<u8>) {
    while let Some(byte) = typed.pop() {
        let continues = byte & 0b1100_0000 == 0b1000_0000;
        if !continues {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(keys: &str, expected: &str) {
        assert_eq!(type_line(keys.as_bytes()).unwrap(), expected);
    }

    #[test]
    fn keys_do_what_a_terminal_does() {
        check("secret\nmore", "secret");
        check("secrex\u{7f}t\r", "secret");
        check("pä\u{7f}a\n", "pa");
        check("wrong\u{15}right\n", "right");
        check("\u{7f}x\u{4}y", "x");
        check("", "");
        assert!(matches!(type_line(&b"ab\x03"[..]), Err(Error::Stopped(Code::Interrupted))));
    }
}
