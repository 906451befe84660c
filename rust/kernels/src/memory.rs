//! Large buffers, kept for the next call.
//!
//! A fresh page costs a fault, a microsecond on a virtual machine: for a sort of a million scores that
//! is half of the time. So large pages are asked for, and what is needed during a call alone is kept
//! for the next one, up to [`MOST_KEPT`].

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::Mutex;

/// Bytes kept in all.
const MOST_KEPT: usize = 64 << 20;

/// Bytes below which the allocator has a page at hand.
const SMALL: usize = 64 << 10;

/// What buffers are made of: aligned for every [`Plain`] type.
type Unit = u128;

static KEPT: Mutex<Vec<Vec<Unit>>> = Mutex::new(Vec::new());

/// A number, for which any bits are a value.
///
/// # Safety
/// That is so, and it is aligned to 16 bytes or less.
pub(crate) unsafe trait Plain: Copy {}

// SAFETY: they are such numbers.
unsafe impl Plain for u32 {}
// SAFETY: as above.
unsafe impl Plain for u64 {}
// SAFETY: as above.
unsafe impl Plain for u128 {}
// SAFETY: as above.
unsafe impl Plain for f64 {}

/// A slice of its own.
#[derive(Debug, Default)]
pub struct Buffer<T> {
    units: Vec<Unit>,
    len: usize,
    of: PhantomData<T>,
}

/// `n` zeros, in a block that is kept when they are not needed any more.
pub(crate) fn buffer<T: Plain>(n: usize) -> Buffer<T> {
    let units = (n * size_of::<T>()).div_ceil(size_of::<Unit>());
    let kept = if bytes(units) < SMALL {
        None
    } else {
        take(units)
    };
    let units = match kept {
        Some(mut kept) => {
            kept.clear();
            kept.resize(units, 0);
            kept
        }
        None => zeroed(units),
    };
    Buffer {
        units,
        len: n,
        of: PhantomData,
    }
}

fn bytes(units: usize) -> usize {
    units * size_of::<Unit>()
}

/// The smallest kept block with so much room, and not much more.
fn take(units: usize) -> Option<Vec<Unit>> {
    // Not waited for: a lock that was held as a process was forked is never released in the child.
    let mut kept = KEPT.try_lock().ok()?;
    let fits = |capacity: usize| capacity >= units && capacity / 4 <= units;
    let sizes = kept.iter().map(Vec::capacity).enumerate();
    let (place, _) = sizes
        .filter(|&(_, capacity)| fits(capacity))
        .min_by_key(|&(_, capacity)| capacity)?;
    Some(kept.remove(place))
}

/// `n` zeros, to be given away.
pub(crate) fn zeroed<T: Copy + Default>(n: usize) -> Vec<T> {
    let block = vec![T::default(); n];
    ask_for_large_pages(block.as_ptr().cast(), std::mem::size_of_val(&block[..]));
    block
}

/// Asks for large pages where a block has none yet: those that lie in it as a whole.
pub(crate) fn ask_for_large_pages(start: *const u8, len: usize) {
    #[cfg(target_os = "linux")]
    {
        const PAGE: usize = 2 << 20;
        let first = start.addr().next_multiple_of(PAGE);
        let end = (start.addr() + len) / PAGE * PAGE;
        if end > first {
            let pages = start.wrapping_add(first - start.addr());
            // SAFETY: the pages lie in the block, and the advice changes nothing that a program sees.
            unsafe { libc::madvise(pages.cast_mut().cast(), end - first, libc::MADV_HUGEPAGE) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (start, len);
}

impl<T> Drop for Buffer<T> {
    fn drop(&mut self) {
        let size = bytes(self.units.capacity());
        if !(SMALL..=MOST_KEPT).contains(&size) {
            return;
        }
        let Ok(mut kept) = KEPT.try_lock() else {
            return;
        };
        let mut total: usize = size
            + kept
                .iter()
                .map(|block| bytes(block.capacity()))
                .sum::<usize>();
        while total > MOST_KEPT {
            total -= bytes(kept.remove(0).capacity());
        }
        kept.push(std::mem::take(&mut self.units));
    }
}

#[allow(private_bounds)]
impl<T: Plain> Buffer<T> {
    /// `n` zeros, in its own block if there is room.
    pub(crate) fn resized(mut self, n: usize) -> Buffer<T> {
        let units = (n * size_of::<T>()).div_ceil(size_of::<Unit>());
        if self.units.capacity() < units {
            drop(self);
            return buffer(n);
        }
        self.units.clear();
        self.units.resize(units, 0);
        self.len = n;
        self
    }
}

impl<T> Buffer<T> {
    /// Forgets what lies behind the first `len`.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
}

#[allow(private_bounds)]
impl<T: Plain> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `buffer` made room for `len` of them, which `truncate` only lowers, aligned as a
        // unit, and any bits are a value.
        unsafe { std::slice::from_raw_parts(self.units.as_ptr().cast(), self.len) }
    }
}

#[allow(private_bounds)]
impl<T: Plain> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and nobody else has the units.
        unsafe { std::slice::from_raw_parts_mut(self.units.as_mut_ptr().cast(), self.len) }
    }
}

#[allow(private_bounds)]
impl<'a, T: Plain> IntoIterator for &'a Buffer<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[allow(private_bounds)]
impl<T: Plain + PartialEq, S: Deref<Target = [T]>> PartialEq<S> for Buffer<T> {
    fn eq(&self, other: &S) -> bool {
        self[..] == other[..]
    }
}

#[cfg(test)]
mod tests {
    use super::{Buffer, KEPT, MOST_KEPT, buffer, bytes};

    fn kept() -> usize {
        let kept = KEPT.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        kept.iter().map(|block| bytes(block.capacity())).sum()
    }

    #[test]
    fn buffers_are_zero_whatever_was_in_them_and_little_is_kept() {
        for round in 0..20_usize {
            for n in [0, 1, 7, 20_000, 3_000_000, 9_000_000 + round] {
                let mut first: Buffer<u32> = buffer(n);
                assert_eq!(first.len(), n);
                assert!(first.iter().all(|&x| x == 0));
                first.fill(u32::MAX);
                let mut other: Buffer<f64> = buffer(n / 2);
                assert!(other.iter().all(|&x| x == 0.0));
                other.fill(f64::NAN);
                other.truncate(3);
                assert_eq!(other.len(), 3.min(n / 2));
                for n in [n / 3, 2 * n] {
                    other = other.resized(n);
                    assert_eq!(other.len(), n);
                    assert!(other.iter().all(|&x| x == 0.0));
                    other.fill(f64::NAN);
                }
            }
            assert!(kept() <= MOST_KEPT);
        }
        assert!(kept() > 0);
    }
}
