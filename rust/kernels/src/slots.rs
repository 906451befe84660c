//! A place for the result of each tile of a job, and the sum of such results.

use std::cell::UnsafeCell;

/// Values that threads set at different places.
pub(crate) struct Slots<T>(Vec<UnsafeCell<T>>);

// SAFETY: `set` leaves it to its caller that no place is used by two threads at a time.
unsafe impl<T: Send> Sync for Slots<T> {}

impl<T> Slots<T> {
    pub(crate) fn new(n: usize, value: impl Fn() -> T) -> Slots<T> {
        Slots((0..n).map(|_| UnsafeCell::new(value())).collect())
    }

    /// # Safety
    /// Nobody else uses this place until the job has ended.
    pub(crate) unsafe fn set(&self, place: usize, value: T) {
        // SAFETY: by contract.
        unsafe { *self.0[place].get() = value };
    }

    pub(crate) fn into_values(self) -> Vec<T> {
        self.0.into_iter().map(UnsafeCell::into_inner).collect()
    }
}

/// The sum over a balanced tree: its rounding error grows with the logarithm of the length.
pub(crate) fn pairwise_sum(values: &[f64]) -> f64 {
    match values {
        [] => 0.0,
        [value] => *value,
        _ => {
            let (left, right) = values.split_at(values.len() / 2);
            pairwise_sum(left) + pairwise_sum(right)
        }
    }
}
