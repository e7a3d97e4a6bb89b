//! A ledger as Markdown, for the page of a CI run.

use std::fmt::Write as _;

use crate::ledger::{Ledger, ServiceRecord, Status, SuiteStatus, Verdict};

/// Returns the ledger as Markdown: a table of images, then the suites and gates that were not green.
pub fn markdown(ledger: &Ledger) -> String {
    let mut page = format!("## {}\n\n", text(&ledger.version));
    let kind = text(&ledger.event.kind.to_string());
    line(&mut page, format_args!("{kind}, commit `{}`\n", ledger.revision.short(12)));
    line(
        &mut page,
        format_args!("| service | status | digest | platforms | steps | cached | time | suites |"),
    );
    line(&mut page, format_args!("|---|---|---|---|---:|---:|---:|---|"));
    for (name, service) in &ledger.services {
        line(&mut page, format_args!("| {name} {}", columns(service)));
    }
    let mut failures = String::new();
    for (name, service) in &ledger.services {
        not_green(&mut failures, name.as_str(), service);
    }
    if !failures.is_empty() {
        line(&mut page, format_args!("\n### Not green\n\n{failures}"));
    }
    page
}

fn line(page: &mut String, arguments: std::fmt::Arguments<'_>) {
    writeln!(page, "{arguments}").expect("writing to a String cannot fail");
}

fn columns(service: &ServiceRecord) -> String {
    let digest = service.pinned().map_or("none".to_owned(), |pinned| format!("`{}`", pinned.digest()));
    let platforms: Vec<String> =
        service.platforms.keys().map(|platform| text(&platform.to_string())).collect();
    let passed = service.suites.values().filter(|suite| suite.status == SuiteStatus::Passed).count();
    let suites = match service.suites.len() {
        0 => "none".to_owned(),
        all => format!("{passed} of {all} passed"),
    };
    let (steps, status) = (service.steps, status(service.status));
    let platforms = if platforms.is_empty() { "none".to_owned() } else { platforms.join(", ") };
    let seconds = service.seconds;
    format!(
        "| {status} | {digest} | {platforms} | {} | {} | {seconds:.1} s | {suites} |",
        steps.total, steps.cached
    )
}

fn status(status: Status) -> &'static str {
    match status {
        Status::Built => "built",
        Status::Cached => "cached",
        Status::Promoted => "promoted",
        Status::Skipped => "skipped",
        Status::Failed => "**failed**",
    }
}

fn not_green(page: &mut String, name: &str, service: &ServiceRecord) {
    if let (Status::Failed | Status::Skipped, Some(reason)) = (service.status, &service.reason) {
        line(page, format_args!("- {name}: {}", text(reason)));
    }
    for (suite, record) in &service.suites {
        let what = match record.status {
            SuiteStatus::Passed => continue,
            SuiteStatus::Failed => "failed",
            SuiteStatus::TimedOut => "took too long",
            SuiteStatus::Skipped => "was not run",
        };
        line(page, format_args!("- {name}: suite {suite} {what} after {:.1} s", record.seconds));
    }
    for (gate, record) in &service.gates {
        let what = match record.verdict {
            Verdict::Pass => continue,
            Verdict::Warn => "warns",
            Verdict::Fail => "refused",
        };
        let reason = record.reason.as_deref().map(|reason| format!(": {}", text(reason)));
        line(page, format_args!("- {name}: gate {gate} {what}{}", reason.unwrap_or_default()));
    }
}

/// Returns a name that came from outside on one line, with nothing in it that Markdown, a table
/// or HTML reads.
fn text(name: &str) -> String {
    let mut safe = String::with_capacity(name.len());
    for character in name.chars().take(500) {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' | '~' | '#' | '@' | '!' => {
                write!(safe, "&#{};", u32::from(character)).expect("writing to a String cannot fail");
            }
            character if character.is_control() => safe.push(' '),
            character => safe.push(character),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::tests::{COMMIT, assumed};
    use crate::ledger::{GateRecord, PlatformRecord, Steps, SuiteRecord};
    use crate::text::Text;

    #[test]
    fn shows_images_and_what_is_not_green() {
        let event = assumed("branch:fix|x\n<b>");
        let mut ledger = Ledger::new(event, COMMIT.parse().unwrap(), "fix-x-b-abc1234".to_owned());
        let mut api = ServiceRecord::new("ghcr.io/acme/api".parse().unwrap(), Status::Built);
        api.set_digest(oci::Digest::of(b"api"));
        api.platforms
            .insert(Text("linux/arm64".parse().unwrap()), PlatformRecord { digest: oci::Digest::of(b"api") });
        api.steps = Steps { total: 7, cached: 5 };
        api.seconds = 1.25;
        let failed = SuiteRecord { status: SuiteStatus::Failed, seconds: 3.0, log: None };
        api.suites.insert("smoke".parse().unwrap(), failed);
        let refused = GateRecord { verdict: Verdict::Fail, reason: Some("CVE_1".to_owned()) };
        api.gates.insert("size".to_owned(), refused);
        ledger.services.insert("api".parse().unwrap(), api);
        let mut web = ServiceRecord::new("ghcr.io/acme/web".parse().unwrap(), Status::Failed);
        web.reason = Some("exit code 1".to_owned());
        ledger.services.insert("web".parse().unwrap(), web);
        insta::assert_snapshot!(markdown(&ledger), @r#"
        ## fix-x-b-abc1234

        branch "fix&#124;x&#92;n&lt;b&gt;", commit `abc1234def09`

        | service | status | digest | platforms | steps | cached | time | suites |
        |---|---|---|---|---:|---:|---:|---|
        | api | built | `sha256:14c2529eb4498c5d1ffd6915d05bf58a91bdda796af59f41d480d11c099d0479` | linux/arm64 | 7 | 5 | 1.2 s | 0 of 1 passed |
        | web | **failed** | none | none | 0 | 0 | 0.0 s | none |

        ### Not green

        - api: suite smoke failed after 3.0 s
        - api: gate size refused: CVE&#95;1
        - web: exit code 1
        "#);
    }
}
