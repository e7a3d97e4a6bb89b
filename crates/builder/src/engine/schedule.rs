//! Stages side by side: each needed stage on a thread of its own, waiting only where it reads
//! another one. How many steps work at the same time is bounded here and nowhere else.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use crate::BuildError;

/// Results of stages as they become known.
pub(crate) struct Schedule<T> {
    cells: Vec<Cell<T>>,
    stopped: AtomicBool,
    permits: Permits,
}

struct Cell<T> {
    name: String,
    result: Mutex<Option<Result<Arc<T>, ()>>>,
    known: Condvar,
}

impl<T: Send + Sync> Schedule<T> {
    /// Returns a schedule of stages by name; `steps` may work at the same time.
    pub fn new(stages: Vec<String>, steps: usize) -> Self {
        let cell = |name| Cell { name, result: Mutex::new(None), known: Condvar::new() };
        Self {
            cells: stages.into_iter().map(cell).collect(),
            stopped: AtomicBool::new(false),
            permits: Permits::new(steps),
        }
    }

    /// Runs `work` for each of `needed`, `target` here and the others on threads of their own, and returns the
    /// result of `target`.
    /// After a failure no further step starts.
    ///
    /// # Errors
    /// That of the first stage, in the order of the file, that failed by itself.
    pub fn run(
        &self,
        needed: &BTreeSet<usize>,
        target: usize,
        work: impl Fn(usize) -> Result<T, BuildError> + Sync,
    ) -> Result<Arc<T>, BuildError> {
        let errors: Mutex<Vec<(usize, BuildError)>> = Mutex::default();
        let run = |stage: usize| {
            let known = match work(stage) {
                Ok(value) => Ok(Arc::new(value)),
                Err(error) => {
                    self.stop();
                    errors.lock().expect("no holder panics").push((stage, error));
                    Err(())
                }
            };
            self.cells[stage].set(known);
        };
        std::thread::scope(|threads| {
            let run = &run;
            for &stage in needed.iter().filter(|stage| **stage != target) {
                threads.spawn(move || run(stage));
            }
            if needed.contains(&target) {
                run(target);
            }
        });
        let mut errors = errors.into_inner().expect("no holder panics");
        errors.sort_by_key(|(stage, error)| (matches!(error, BuildError::Dependency { .. }), *stage));
        match errors.into_iter().next() {
            Some((_, error)) => Err(error),
            None => self.wait(target),
        }
    }

    /// Has no further step start.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// Waits for the result of a stage.
    ///
    /// # Errors
    /// `Dependency` where the stage failed.
    pub fn wait(&self, stage: usize) -> Result<Arc<T>, BuildError> {
        let cell = &self.cells[stage];
        let mut result = cell.result.lock().expect("no holder panics");
        loop {
            match &*result {
                Some(Ok(value)) => return Ok(Arc::clone(value)),
                Some(Err(())) => return Err(BuildError::Dependency { stage: cell.name.clone() }),
                None => result = cell.known.wait(result).expect("no holder panics"),
            }
        }
    }

    /// Returns leave to do work whose turn has not come, where nobody waits for it; after a failure there is none.
    pub fn permit_if_free(&self) -> Option<Permit<'_>> {
        if self.stopped.load(Ordering::Acquire) { None } else { self.permits.take_if_free() }
    }

    /// Waits for leave to do a step's work.
    ///
    /// # Errors
    /// `Dependency` where another stage failed, so that this one is not needed any more.
    pub fn permit(&self, stage: usize) -> Result<Permit<'_>, BuildError> {
        let permit = self.permits.take();
        if self.stopped.load(Ordering::Acquire) {
            return Err(BuildError::Dependency { stage: self.cells[stage].name.clone() });
        }
        Ok(permit)
    }
}

impl<T> Cell<T> {
    fn set(&self, result: Result<Arc<T>, ()>) {
        *self.result.lock().expect("no holder panics") = Some(result);
        self.known.notify_all();
    }
}

struct Permits {
    free: Mutex<usize>,
    freed: Condvar,
}

impl Permits {
    fn new(count: usize) -> Self {
        Self { free: Mutex::new(count), freed: Condvar::new() }
    }

    fn take(&self) -> Permit<'_> {
        let free = self.free.lock().expect("no holder panics");
        let mut free = self.freed.wait_while(free, |free| *free == 0).expect("no holder panics");
        *free -= 1;
        Permit(self)
    }

    fn take_if_free(&self) -> Option<Permit<'_>> {
        let mut free = self.free.lock().expect("no holder panics");
        *free = free.checked_sub(1)?;
        Some(Permit(self))
    }
}

/// Leave to do a step's work, until dropped.
pub(crate) struct Permit<'a>(&'a Permits);

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().expect("no holder panics") += 1;
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(count: usize) -> Schedule<usize> {
        Schedule::new((0..count).map(|number| format!("s{number}")).collect(), 2)
    }

    fn failure() -> BuildError {
        BuildError::NoDockerfile { path: "x".into() }
    }

    #[test]
    fn a_stage_waits_for_what_it_reads() {
        let schedule = schedule(3);
        let sum = schedule.run(&[0, 1, 2].into(), 2, |stage| match stage {
            2 => Ok(*schedule.wait(0)? + *schedule.wait(1)?),
            other => Ok(other + 10),
        });
        assert_eq!(*sum.unwrap(), 21);
    }

    #[test]
    fn the_stage_that_failed_is_reported_and_not_those_that_waited() {
        let schedule = schedule(3);
        let error = schedule.run(&[0, 1, 2].into(), 2, |stage| match stage {
            1 => Err(failure()),
            2 => Ok(*schedule.wait(1)?),
            _ => Ok(0),
        });
        assert!(matches!(error, Err(BuildError::NoDockerfile { .. })));
    }

    #[test]
    fn no_step_starts_after_a_failure() {
        let schedule = schedule(2);
        let error = schedule.run(&[0, 1].into(), 0, |stage| match stage {
            1 => Err(failure()),
            _ => {
                let _ = schedule.wait(1);
                schedule.permit(0).map(|_| 0)
            }
        });
        assert!(matches!(error, Err(BuildError::NoDockerfile { .. })));
    }

    #[test]
    fn permits_bound_the_work() {
        let permits = Permits::new(2);
        let (first, _second) = (permits.take(), permits.take());
        assert_eq!(*permits.free.lock().unwrap(), 0);
        assert!(permits.take_if_free().is_none());
        drop(first);
        assert_eq!(*permits.free.lock().unwrap(), 1);
    }
}
