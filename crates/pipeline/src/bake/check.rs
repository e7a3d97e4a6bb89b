//! Values that a build could not use, found before one starts.

use oci::Platform;

use super::entries::Entry;
use super::error::{BakeError, Fault, Span};
use super::select::Bake;
use super::target::Target;

impl Bake {
    /// Checks what can be checked without touching a file: platforms, annotations, outputs, sizes, limits.
    ///
    /// # Errors
    /// [`BakeError::Invalid`] at the key that cannot be used.
    pub fn check(&self) -> Result<(), BakeError> {
        for target in self.targets.values() {
            check(target).map_err(|(key, reason)| self.at(target, key, reason))?;
        }
        Ok(())
    }

    /// Returns file and line where a target's key is set; the line is 0 where it is set nowhere.
    pub fn line(&self, target: &Target, key: &str) -> (String, usize) {
        let place = target.place(key).filter(|span| *span != Span::default());
        place.map(|span| self.sources.line(span)).unwrap_or_default()
    }

    /// Returns an error that shows where a target's key is set.
    pub fn at(&self, target: &Target, key: &str, reason: String) -> BakeError {
        let summary = format!("target {}, {key}: {reason}", target.name);
        match target.place(key) {
            Some(span) if span != Span::default() => {
                self.sources.show(Fault::new(span, "Unusable value", summary))
            }
            _ => BakeError::Links(summary),
        }
    }
}

fn check(target: &Target) -> Result<(), (&'static str, String)> {
    if target.context.as_deref() == Some("-") {
        return Err(("context", "context from stdin not allowed in bake".to_owned()));
    }
    if target.dockerfile.as_deref() == Some("-") {
        return Err(("dockerfile", "dockerfile from stdin not allowed in bake".to_owned()));
    }
    platforms(target).map_err(|reason| ("platforms", reason))?;
    for annotation in target.annotations.iter().flatten() {
        check_annotation(annotation).map_err(|reason| ("annotations", reason))?;
    }
    for output in target.outputs.iter().flatten() {
        check_output(output).map_err(|reason| ("output", reason))?;
    }
    if let Some(size) = &target.shm_size {
        let known = super::compose::bytes(size).is_some();
        known
            .then_some(())
            .ok_or_else(|| ("shm-size", format!("invalid value {size}: a size such as 128m is expected")))?;
    }
    for limit in target.ulimits.iter().flatten() {
        check_limit(limit).map_err(|reason| ("ulimits", reason))?;
    }
    Ok(())
}

/// Operating systems and architectures that stand for a platform alone.
const SYSTEMS: [&str; 10] =
    ["linux", "windows", "darwin", "freebsd", "openbsd", "netbsd", "solaris", "aix", "android", "dragonfly"];
const ARCHITECTURES: [&str; 20] = [
    "amd64", "arm64", "arm", "386", "ppc64le", "ppc64", "s390x", "riscv64", "mips", "mipsle", "mips64",
    "mips64le", "loong64", "wasm", "x86_64", "x86-64", "aarch64", "armhf", "armel", "i386",
];

/// Returns the platforms of a target; each text may name several, and half of one is enough.
pub(super) fn platforms(target: &Target) -> Result<Vec<Platform>, String> {
    let texts = target.platforms.iter().flatten().flat_map(|text| text.split(','));
    texts.map(|text| platform(text.trim())).collect()
}

fn platform(text: &str) -> Result<Platform, String> {
    let lower = text.to_lowercase();
    // A version of the system, as in windows(10.0.17763)/amd64, says nothing to a build here.
    let plain = match (lower.find('('), lower.find(')')) {
        (Some(open), Some(close)) if open < close => format!("{}{}", &lower[..open], &lower[close + 1..]),
        _ => lower,
    };
    let full = match plain.as_str() {
        "local" => return Ok(Platform::host()),
        system if SYSTEMS.contains(&system) => format!("{system}/{}", Platform::host().architecture),
        architecture if ARCHITECTURES.contains(&architecture) => format!("linux/{architecture}"),
        full => full.to_owned(),
    };
    full.parse::<Platform>().map_err(|error| error.to_string())
}

/// `[type[platform],...:]name=value`
fn check_annotation(annotation: &str) -> Result<(), String> {
    let (name, _) = annotation
        .split_once('=')
        .ok_or_else(|| format!("invalid annotation {annotation:?}, expected key=value"))?;
    let Some((types, _)) = name.split_once(':') else { return Ok(()) };
    for one in types.split(',') {
        let (kind, platform) = one
            .strip_suffix(']')
            .and_then(|one| one.split_once('['))
            .map_or((one, None), |(kind, platform)| (kind, Some(platform)));
        if !matches!(kind, "index" | "index-descriptor" | "manifest" | "manifest-descriptor") {
            return Err(format!(
                "unknown annotation type {kind:?}: index, manifest, index-descriptor and manifest-descriptor are known"
            ));
        }
        if let Some(platform) = platform {
            platform
                .parse::<Platform>()
                .map_err(|error| format!("invalid platform {platform:?}: {error}"))?;
        }
    }
    Ok(())
}

fn check_output(output: &Entry) -> Result<(), String> {
    let destination = output.attributes.get("dest").map(String::as_str);
    let as_files = output.attributes.get("tar").is_some_and(|tar| super::entries::truth(tar) == Ok(false));
    let in_folder = output.kind == "local" || matches!(output.kind.as_str(), "oci" | "docker") && as_files;
    match destination {
        None if in_folder => Err(format!("dest is required for {} exporter", output.kind)),
        Some("-") if in_folder => Err(format!("dest cannot be stdout for {} exporter", output.kind)),
        _ => Ok(()),
    }
}

fn check_limit(limit: &str) -> Result<(), String> {
    const KNOWN: [&str; 16] = [
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
        "as",
    ];
    let invalid = || format!("invalid ulimit argument: {limit}");
    let (name, values) = limit.split_once('=').ok_or_else(invalid)?;
    let values: Option<Vec<i64>> = values.split(':').map(|value| value.parse().ok()).collect();
    match values.as_deref() {
        _ if !KNOWN.contains(&name) => Err(format!("invalid ulimit type: {name}")),
        Some([_]) => Ok(()),
        Some([soft, hard]) if *hard == -1 || soft <= hard && *soft != -1 => Ok(()),
        Some([_, _]) => Err(format!("ulimit soft limit must be less than or equal to hard limit: {limit}")),
        _ => Err(invalid()),
    }
}
