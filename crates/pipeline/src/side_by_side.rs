//! The same work for many things, some of them at the same time.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Does `work` for every item, at most `width` at the same time; results are in the items' order.
pub(crate) fn side_by_side<T: Sync, R: Send>(
    items: &[T],
    width: usize,
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<(usize, R)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..width.min(items.len()) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(number) else { return };
                    let result = work(item);
                    results.lock().expect("nothing panics while it holds the lock").push((number, result));
                }
            });
        }
    });
    let mut results = results.into_inner().expect("the threads are joined");
    results.sort_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_the_order_of_the_items() {
        let items: Vec<u32> = (0..100).collect();
        let doubled: Vec<u32> = items.iter().map(|item| item * 2).collect();
        assert_eq!(side_by_side(&items, 7, |item| item * 2), doubled);
        assert!(side_by_side(&[], 7, |item: &u32| *item).is_empty());
    }
}
