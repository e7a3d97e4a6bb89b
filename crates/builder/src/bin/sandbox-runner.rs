//! The program that the sandbox' own tests start again as a sandbox; `plimsoll` does the same in its `main`.

fn main() -> std::process::ExitCode {
    match builder::sandbox::enter_if_asked(std::env::args_os()) {
        Some(code) => std::process::ExitCode::from(code.clamp(0, 255) as u8),
        None => std::process::ExitCode::from(2),
    }
}
