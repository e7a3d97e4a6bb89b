//! What the steps of builds get of this machine, as flags and as `[defaults]` has it.

use builder::sandbox::Allowance;
use builder::{BuildOptions, HostAccess};
use pipeline::configuration::{ByteSize, Defaults};

use crate::error::Error;
use crate::session::Session;

/// Certificates, memory, processes.
#[derive(Debug, Default, clap::Args)]
pub struct Machine {
    /// Lends this machine's certificate authorities and proxy settings to RUN steps; never in a layer or a cache key
    #[arg(long)]
    host_ca: bool,
    /// Most memory of all steps of a build together, such as 512m or 4g
    #[arg(short, long, value_name = "BYTES", value_parser = memory)]
    memory: Option<u64>,
    /// Most processes and threads of all steps of a build together
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pids_limit: Option<u64>,
}

/// A size in the units of the configuration, or docker's one letter.
fn memory(text: &str) -> Result<u64, String> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, unit) = lower.split_at(digits);
    let scale = match unit {
        "" | "b" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        _ => return text.parse().map(|ByteSize(bytes)| bytes).map_err(|error| error.to_string()),
    };
    let number = digits.parse::<u64>().ok().filter(|number| *number > 0);
    let bytes = number.and_then(|number| number.checked_mul(scale));
    bytes.ok_or_else(|| "it is a size, such as 512m, 4g or 64MiB".to_owned())
}

impl Machine {
    /// Adds what is asked for by these flags, else by `defaults`, to the options of a build.
    pub fn lend(
        &self,
        session: &Session,
        defaults: Option<&Defaults>,
        options: BuildOptions,
    ) -> Result<BuildOptions, Error> {
        let limits = defaults.map(|defaults| defaults.limits).unwrap_or_default();
        let allowance = Allowance {
            memory: self.memory.or(limits.memory.map(|size| size.0)),
            processes: self.pids_limit.or(limits.processes),
        };
        let host = match self.host_ca || defaults.is_some_and(|defaults| defaults.host_ca) {
            true => session.environment.host_access()?,
            false => HostAccess::default(),
        };
        Ok(BuildOptions { host, allowance, ..options })
    }
}

#[cfg(test)]
mod tests {
    use super::memory;

    #[test]
    fn sizes_are_dockers_or_the_configurations() {
        let cases =
            [("512m", 512 << 20), ("4G", 4 << 30), ("100", 100), ("64MiB", 64 << 20), ("20MB", 20_000_000)];
        for (text, bytes) in cases {
            assert_eq!(memory(text), Ok(bytes), "{text}");
        }
        for text in ["", "0", "m", "-1", "1.5g", "99999999999g", "x"] {
            assert!(memory(text).is_err(), "{text}");
        }
    }
}
