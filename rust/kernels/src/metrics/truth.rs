//! Labels of any type as flags: 0 for a positive case, 1 for a negative one.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::pool;

/// Which cases are negative, whatever the labels are.
pub trait Truth: Sync {
    /// The number of cases.
    fn len(&self) -> usize;
    /// Whether there is no case.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Sets `flags` to 1 where the case is negative, from case `start` on; false if a label is of
    /// neither class.
    fn flags(&self, start: usize, flags: &mut [u8]) -> bool;
}

/// Labels, and which of them is the positive class.
#[derive(Clone, Copy, Debug)]
pub struct Cases<'a, T> {
    /// One label a case.
    pub labels: &'a [T],
    /// The positive class.
    pub positive: T,
    /// The negative class; `None` if every other label is negative.
    pub negative: Option<T>,
}

impl<T: Copy + PartialEq + Sync> Truth for Cases<'_, T> {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn flags(&self, start: usize, flags: &mut [u8]) -> bool {
        let labels = self.labels.get(start..).unwrap_or(&[]);
        let positive = self.positive;
        let mut strangers = 0_u8;
        let negative = self.negative.unwrap_or(positive);
        for (flag, &label) in flags.iter_mut().zip(labels) {
            *flag = u8::from(label != positive);
            strangers |= *flag & u8::from(label != negative);
        }
        self.negative.is_none() || strangers == 0
    }
}

/// The first label and the first other one, the smaller first. One if all are equal.
pub fn two_classes<T: Copy + PartialOrd>(labels: &[T]) -> Option<(T, Option<T>)> {
    let &first = labels.first()?;
    let other = labels.iter().copied().find(|&label| label != first);
    Some(match other {
        Some(other) if other < first => (other, Some(first)),
        other => (first, other),
    })
}

/// Whether every label is one of these two.
pub fn are_binary<T: Copy + PartialEq + Sync>(
    threads: usize,
    labels: &[T],
    low: T,
    high: Option<T>,
) -> bool {
    const PART: usize = 1 << 16;
    let high = high.unwrap_or(low);
    let binary = AtomicBool::new(true);
    pool::run(threads, labels.len().div_ceil(PART), &|part| {
        let labels = &labels[part * PART..labels.len().min((part + 1) * PART)];
        // Blocks without an exit, for vectors.
        let is_known = |labels: &[T]| {
            labels.iter().fold(true, |known, &label| {
                known & ((label == low) | (label == high))
            })
        };
        if !labels.chunks(1024).all(is_known) {
            binary.store(false, Ordering::Relaxed);
        }
    });
    binary.into_inner()
}
