//! Where the time of a run went: a trace for `--timings FILE`, and the longest steps in a line at the end.
//!
//! The file is in Chrome's trace format, which chrome://tracing, Perfetto and speedscope open: a row for the stages
//! of the run and rows for each service, as many as it had steps at the same time.
//!
//! Source: "Trace Event Format", complete events (`X`) and metadata events (`M`).

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use pipeline::progress::{Progress, Step};
use serde_json::{Value, json};

use super::quantity;

/// Runs that took less say nothing at the end.
const WORTH_TELLING: Duration = Duration::from_secs(1);
/// How many steps the line at the end names.
const NAMED_STEPS: usize = 3;
/// Characters of an instruction that the line shows.
const SHOWN_WORDS: usize = 48;

/// Collects what happened when.
pub struct Timeline {
    start: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: BTreeMap<String, Open>,
    spans: Vec<Span>,
    /// Steps whose result was known.
    known: usize,
}

struct Open {
    name: String,
    row: String,
    lane: usize,
    start: Duration,
}

struct Span {
    open: Open,
    category: &'static str,
    duration: Duration,
    ended: &'static str,
}

impl Timeline {
    /// Starts now.
    pub fn new() -> Self {
        Self { start: Instant::now(), state: Mutex::default() }
    }

    /// Takes note of one thing that happened.
    pub fn tell(&self, progress: &Progress) {
        let at = self.start.elapsed();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match progress {
            Progress::StageStarted { stage } => {
                state.begin(format!("stage {stage:?}"), format!("{stage:?}"), "stages", at)
            }
            Progress::StageFinished { stage, .. } => {
                state.end(&format!("stage {stage:?}"), "stage", "done", at)
            }
            Progress::StepStarted(step) => {
                state.begin(step_key(step), step.instruction.clone(), step.id.service.as_str(), at)
            }
            Progress::StepCached(step) => {
                state.open.remove(&step_key(step));
                state.known += 1;
            }
            Progress::StepFinished { step, .. } => state.end(&format!("step {step:?}"), "step", "done", at),
            Progress::StepFailed { step, .. } => state.end(&format!("step {step:?}"), "step", "failed", at),
            Progress::PushStarted { service, target, .. } => {
                state.begin(format!("push {service}"), format!("push to {target}"), service.as_str(), at);
            }
            Progress::PushFinished { service, .. } => {
                state.end(&format!("push {service}"), "push", "done", at)
            }
            Progress::SuiteStarted { suite } => {
                state.begin(format!("suite {suite}"), suite.to_string(), "suites", at)
            }
            Progress::SuiteFinished { suite, .. } => {
                state.end(&format!("suite {suite}"), "suite", "done", at)
            }
            _ => {}
        }
    }

    /// Returns the trace.
    pub fn trace(&self) -> Value {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rows: BTreeMap<(&str, usize), u64> = BTreeMap::new();
        for span in &state.spans {
            rows.insert((&span.open.row, span.open.lane), 0);
        }
        for (number, row) in rows.values_mut().enumerate() {
            *row = number as u64 + 1;
        }
        let names = rows.iter().map(|((row, lane), number)| {
            let name = if *lane == 0 { (*row).to_owned() } else { format!("{row} ({})", lane + 1) };
            json!({"ph": "M", "name": "thread_name", "pid": 1, "tid": number, "args": {"name": name}})
        });
        let spans = state.spans.iter().map(|span| {
            json!({
                "ph": "X",
                "name": span.open.name,
                "cat": span.category,
                "ts": span.open.start.as_micros() as u64,
                "dur": span.duration.as_micros() as u64,
                "pid": 1,
                "tid": rows[&(&*span.open.row, span.open.lane)],
                "args": {"ended": span.ended},
            })
        });
        let events: Vec<Value> = names.chain(spans).collect();
        json!({"schema": "plimsoll.timings/1", "displayTimeUnit": "ms", "traceEvents": events})
    }

    /// Says which steps took longest, where they took long enough to care.
    pub fn summary(&self) -> Option<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut steps: Vec<&Span> = state.spans.iter().filter(|span| span.category == "step").collect();
        let total: Duration = steps.iter().map(|span| span.duration).sum();
        if total < WORTH_TELLING {
            return None;
        }
        steps.sort_by_key(|span| std::cmp::Reverse(span.duration));
        let named = steps.iter().take(NAMED_STEPS).map(|span| {
            format!("{} {}: {}", span.open.row, shortened(&span.open.name), quantity::duration(span.duration))
        });
        let mut parts: Vec<String> = named.collect();
        let rest = &steps[steps.len().min(NAMED_STEPS)..];
        if !rest.is_empty() {
            let took = rest.iter().map(|span| span.duration).sum();
            parts.push(format!("{} more: {}", rest.len(), quantity::duration(took)));
        }
        let known = if state.known > 0 { format!("; {} known", state.known) } else { String::new() };
        Some(format!("steps took {}: {}{known}", quantity::duration(total), parts.join(", ")))
    }
}

impl State {
    fn begin(&mut self, key: String, name: String, row: &str, start: Duration) {
        let taken = |lane: usize| self.open.values().any(|open| open.row == row && open.lane == lane);
        let lane = (0..).find(|lane| !taken(*lane)).expect("there are more numbers than steps");
        self.open.insert(key, Open { name, row: row.to_owned(), lane, start });
    }

    fn end(&mut self, key: &str, category: &'static str, ended: &'static str, at: Duration) {
        if let Some(open) = self.open.remove(key) {
            let duration = at.saturating_sub(open.start);
            self.spans.push(Span { open, category, duration, ended });
        }
    }
}

fn step_key(step: &Step) -> String {
    format!("step {:?}", step.id)
}

fn shortened(instruction: &str) -> String {
    match instruction.char_indices().nth(SHOWN_WORDS) {
        Some((at, _)) => format!("{}...", &instruction[..at]),
        None => instruction.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use pipeline::progress::{Stage, StepId};

    use super::*;

    fn step(number: u32, instruction: &str) -> Step {
        let id = StepId { service: "api".parse().unwrap(), platform: "linux/amd64".to_owned(), number };
        Step { id, of: 3, instruction: instruction.to_owned(), place: None, cache: None }
    }

    fn finished(number: u32) -> Progress {
        Progress::StepFinished { step: step(number, "").id, seconds: 0.0, layer_bytes: 0 }
    }

    #[test]
    fn steps_at_the_same_time_have_rows_of_their_own() {
        let timeline = Timeline::new();
        timeline.tell(&Progress::StageStarted { stage: Stage::Build });
        timeline.tell(&Progress::StepStarted(step(1, "RUN one")));
        timeline.tell(&Progress::StepStarted(step(2, "RUN two")));
        timeline.tell(&Progress::StepStarted(step(3, "RUN known")));
        timeline.tell(&Progress::StepCached(step(3, "RUN known")));
        timeline.tell(&finished(1));
        timeline.tell(&finished(2));
        timeline.tell(&Progress::StageFinished { stage: Stage::Build, seconds: 0.0 });
        let trace = timeline.trace();
        let events = trace["traceEvents"].as_array().unwrap();
        let rows: Vec<_> = events.iter().filter(|event| event["ph"] == "M").collect();
        let names: Vec<_> = rows.iter().map(|row| row["args"]["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["api", "api (2)", "stages"]);
        let spans: Vec<_> = events.iter().filter(|event| event["ph"] == "X").collect();
        assert_eq!(spans.len(), 3);
        assert_ne!(spans[0]["tid"], spans[1]["tid"]);
        assert!(spans[2]["dur"].as_u64() >= spans[0]["dur"].as_u64());
        assert_eq!(timeline.summary(), None);
    }

    #[test]
    fn the_longest_steps_are_named() {
        let timeline = Timeline::new();
        {
            let mut state = timeline.state.lock().unwrap();
            for (number, seconds) in [(1, 1), (2, 40), (3, 2), (4, 3)] {
                let open =
                    Open { name: format!("RUN {number}"), row: "api".into(), lane: 0, start: Duration::ZERO };
                let duration = Duration::from_secs(seconds);
                state.spans.push(Span { open, category: "step", duration, ended: "done" });
            }
            state.known = 2;
        }
        let expected = "steps took 46.0 s: api RUN 2: 40.0 s, api RUN 4: 3.0 s, api RUN 3: 2.0 s, 1 more: 1.0 s; 2 known";
        assert_eq!(timeline.summary().unwrap(), expected);
    }
}
