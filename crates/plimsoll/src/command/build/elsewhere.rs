//! Flags of `docker buildx build` that this program answers by a word: what they ask for is done otherwise, or not.

use crate::error::Error;

/// Flags that are understood and not done, and those that need nothing to be done.
#[derive(Debug, Default, clap::Args)]
pub struct Elsewhere {
    /// Attestations are not attached by build yet; false and disabled=true are accepted
    #[arg(long, value_name = "ATTESTATION", hide = true)]
    attest: Vec<String>,
    /// As --attest type=provenance
    #[arg(long, value_name = "WHAT", hide = true)]
    provenance: Option<String>,
    /// As --attest type=sbom
    #[arg(long, value_name = "WHAT", hide = true)]
    sbom: Option<String>,
    /// Steps run in no control group of their own
    #[arg(long, value_name = "GROUP", hide = true)]
    cgroup_parent: Option<String>,
    /// There is one builder, this program
    #[arg(long, value_name = "NAME", hide = true)]
    builder: Option<String>,
    /// check is --check; outline and targets are not done
    #[arg(long, value_name = "METHOD", hide = true)]
    call: Option<String>,
    /// Layers stay as the steps made them
    #[arg(long, hide = true)]
    squash: bool,
    /// Of Windows alone
    #[arg(long, value_name = "KIND", hide = true)]
    isolation: Option<String>,
    /// Steps run with the one profile there is
    #[arg(long, value_name = "OPTION", hide = true)]
    security_opt: Vec<String>,
    /// Nothing is left of steps anyway
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    rm: Option<String>,
    /// Nothing is left of steps anyway
    #[arg(long, hide = true)]
    force_rm: bool,
    /// The context is not sent anywhere
    #[arg(long, hide = true)]
    compress: bool,
}

impl Elsewhere {
    /// Whether `--call=check` was asked for.
    pub fn checks(&self) -> bool {
        self.call.as_deref().is_some_and(|method| method.split(',').next() == Some("check"))
    }

    /// Refuses what is not done, naming the flag and what to do instead.
    pub fn refuse(&self) -> Result<(), Error> {
        self.attestations()?;
        let call = self.call.as_deref().filter(|_| !self.checks());
        let refused = [
            (
                self.cgroup_parent.as_deref(),
                "--cgroup-parent",
                "steps run in the control group of this program",
            ),
            (
                self.builder.as_deref().filter(|name| *name != "default"),
                "--builder",
                "there is one builder, this program; a BuildKit daemon is named by [defaults] engine",
            ),
            (call.filter(|method| *method != "build"), "--call", "it is check here, as --check"),
            (
                self.squash.then_some("true"),
                "--squash",
                "use COPY --from of a stage to make one layer of several",
            ),
            (
                self.isolation.as_deref().filter(|kind| *kind != "default"),
                "--isolation",
                "it is for Windows; plimsoll doctor says how steps are isolated",
            ),
            (
                self.security_opt.first().map(String::as_str),
                "--security-opt",
                "RUN --security=insecure and --allow security.insecure take the limits away",
            ),
        ];
        match refused.into_iter().find(|(given, ..)| given.is_some()) {
            Some((given, flag, instead)) => Err(Error::Usage {
                message: format!("{flag}={} is not done here", given.unwrap_or_default()),
                hint: Some(instead.to_owned()),
            }),
            None => Ok(()),
        }
    }

    fn attestations(&self) -> Result<(), Error> {
        let is_off = |value: &str| {
            matches!(value, "false" | "0" | "") || value.split(',').any(|field| field == "disabled=true")
        };
        let asked = |flag: &'static str, value: &str| (!is_off(value)).then(|| format!("{flag}={value}"));
        let provenance = self.provenance.as_deref().and_then(|value| asked("--provenance", value));
        let sbom = self.sbom.as_deref().and_then(|value| asked("--sbom", value));
        let attest = self.attest.iter().find_map(|value| asked("--attest", value));
        match provenance.or(sbom).or(attest) {
            Some(flag) => Err(Error::Usage {
                message: format!("{flag}: build attaches no attestations yet"),
                hint: Some("leave the flag out, or write --provenance=false --sbom=false".to_owned()),
            }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        flags: Elsewhere,
    }

    fn refused(flags: &str) -> Option<String> {
        let parsed = Only::try_parse_from(std::iter::once("x").chain(flags.split_whitespace())).unwrap();
        parsed.flags.refuse().err().map(|error| error.to_string())
    }

    #[test]
    fn what_asks_for_nothing_is_accepted() {
        for flags in [
            "--provenance=false --sbom=false",
            "--attest type=sbom,disabled=true",
            "--rm --force-rm --compress",
            "--builder default --call build",
        ] {
            assert_eq!(refused(flags), None, "{flags}");
        }
    }

    #[test]
    fn what_is_not_done_is_named() {
        for (flags, words) in [
            ("--provenance true", "--provenance=true"),
            ("--provenance=mode=max", "--provenance=mode=max"),
            ("--sbom=true", "attaches no attestations"),
            ("--attest type=sbom", "--attest=type=sbom"),
            ("--cgroup-parent x", "--cgroup-parent=x is not done"),
            ("--call targets", "--call=targets"),
            ("--squash", "--squash"),
        ] {
            assert!(refused(flags).unwrap().contains(words), "{flags}");
        }
    }
}
