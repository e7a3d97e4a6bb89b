//! Sizes, limits of steps, and addresses of hosts in `build`.

use std::collections::BTreeMap;

use super::tree::{Branch, Tree};
use crate::bake::error::Fault;

/// Returns addresses by host; several are joined by commas.
pub(super) fn hosts(tree: &Tree, path: &str) -> Result<BTreeMap<String, String>, Fault> {
    let mut hosts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut put = |name: &str, address: &str| {
        let address = address.trim_start_matches('[').trim_end_matches(']');
        hosts.entry(name.to_owned()).or_default().push(address.to_owned());
    };
    match &tree.value {
        Branch::List(_) => {
            for text in tree.texts(path)? {
                let (name, address) = text
                    .split_once('=')
                    .or_else(|| text.split_once(':'))
                    .ok_or_else(|| tree.must_be(path, "a list of HOST:ADDRESS"))?;
                put(name, address);
            }
        }
        _ => {
            for (name, _, inner) in tree.entries() {
                match &inner.value {
                    Branch::List(_) => inner.texts(path)?.iter().for_each(|address| put(name, address)),
                    _ => put(name, &inner.text(path)?),
                }
            }
        }
    }
    Ok(hosts.into_iter().map(|(name, addresses)| (name, addresses.join(","))).collect())
}

/// Returns limits as the neighbour writes them: `name=soft:hard`.
pub(super) fn ulimits(tree: &Tree, path: &str) -> Result<Vec<String>, Fault> {
    let mut limits = Vec::new();
    for (name, _, limit) in tree.entries() {
        let number = |tree: Option<&Tree>| {
            let tree = tree.unwrap_or(limit);
            let text = tree.text(&format!("{path}.{name}"))?;
            text.parse::<i64>().map_err(|_| tree.must_be(&format!("{path}.{name}"), "a number"))
        };
        let (soft, hard) = match &limit.value {
            Branch::Scalar(..) => (number(None)?, number(None)?),
            _ => (number(limit.get("soft"))?, number(limit.get("hard"))?),
        };
        limits.push(format!("{name}={soft}:{hard}"));
    }
    limits.sort();
    Ok(limits)
}

/// Reads `128m`, `1gb`, `64`. Source: go-units `RAMInBytes`.
pub(in crate::bake) fn bytes(text: &str) -> Option<f64> {
    let text = text.trim().to_lowercase();
    let end =
        text.find(|character: char| !(character.is_ascii_digit() || character == '.')).unwrap_or(text.len());
    let number: f64 = text[..end].parse().ok()?;
    let unit = text[end..].trim().trim_end_matches('b').trim_end_matches('i');
    let power = match unit {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    Some((number * 1024f64.powi(power)).trunc())
}

/// Writes a size as the neighbour prints it: four digits and a binary unit.
pub(super) fn size(bytes: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut size = bytes;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < units.len() {
        size /= 1024.0;
        unit += 1;
    }
    let whole = size.trunc().abs().to_string().len();
    let shown = format!("{size:.*}", 4usize.saturating_sub(whole));
    let shown = if shown.contains('.') { shown.trim_end_matches('0').trim_end_matches('.') } else { &shown };
    format!("{shown}{}", units[unit])
}
