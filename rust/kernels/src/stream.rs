//! Writing past the caches, where what is written will have left them before it is read.
//!
//! A store to memory that is not in a cache reads its line first: a third of the traffic of a pass that
//! reads one buffer and writes another.

/// Copies bytes without reading the lines that are written. [`fence`] before another thread may read.
///
/// # Safety
/// `to` is valid for writes of as many bytes, which do not overlap.
#[inline]
pub(crate) unsafe fn copy(from: &[u8], to: *mut u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_stream_si128};
        const LINE: usize = 64;
        const VECTOR: usize = size_of::<__m128i>();
        let head = to.align_offset(LINE).min(from.len());
        let (head, rest) = from.split_at(head);
        let whole = rest.len() / LINE * LINE;
        let (lines, tail) = rest.split_at(whole);
        // SAFETY: the parts of `to` are as long as those of `from`; the lines begin aligned, and SSE2
        // is in every x86-64. All four quarters of a line are written at once, so that it goes out whole.
        unsafe {
            let at = to.add(head.len());
            to.copy_from_nonoverlapping(head.as_ptr(), head.len());
            for offset in (0..whole).step_by(VECTOR) {
                let vector = _mm_loadu_si128(lines.as_ptr().add(offset).cast());
                _mm_stream_si128(at.add(offset).cast(), vector);
            }
            at.add(whole)
                .copy_from_nonoverlapping(tail.as_ptr(), tail.len());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: by contract.
    unsafe {
        to.copy_from_nonoverlapping(from.as_ptr(), from.len());
    }
}

/// Makes what [`copy`] wrote visible before whatever this thread does next.
pub(crate) fn fence() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: it changes nothing, and SSE is in every x86-64.
    unsafe {
        std::arch::x86_64::_mm_sfence();
    }
}

#[cfg(test)]
mod tests {
    use super::{copy, fence};

    #[test]
    fn copies_are_equal_wherever_they_begin_and_end() {
        let from: Vec<u8> = (0..1000).map(|i| (i * 7 % 251) as u8 + 1).collect();
        for start in [0, 1, 15, 16, 63, 64, 65] {
            for len in [0, 1, 15, 63, 64, 65, 128, 200, 777] {
                let mut to = vec![0; 1100];
                // SAFETY: the place has room for it.
                unsafe { copy(&from[..len], to[start..].as_mut_ptr()) };
                fence();
                assert_eq!(to[start..start + len], from[..len]);
                let around = to[..start].iter().chain(&to[start + len..]);
                assert!(around.into_iter().all(|&byte| byte == 0));
            }
        }
    }
}
