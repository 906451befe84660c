//! Where 16-bit elements are computed with, and numpy's unaligned ones: decoded copies of a part, in the first cache.

use crate::dtype::{DType, Float, Grid};
use crate::isa::Isa;

use super::moments::Runs;

/// Room for the decoded parts of up to five buffers.
pub(super) struct Stage<F> {
    isa: Isa,
    dtype: DType,
    room: Vec<F>,
}

impl<F: Float> Stage<F> {
    pub(super) fn new(isa: Isa, dtype: DType) -> Stage<F> {
        Stage {
            isa,
            dtype,
            room: Vec::new(),
        }
    }

    /// Calls `kernel` with the runs that begin at element `at` of every buffer, decoded if need be, and
    /// stores what it wrote. A null buffer stays null.
    ///
    /// The kernel gets aligned pointers.
    ///
    /// # Safety
    /// The runs are valid for reads in `inputs` and for writes in `outputs`.
    #[inline(always)]
    pub(super) unsafe fn with<const I: usize, const O: usize, T>(
        &mut self,
        at: usize,
        runs: Runs,
        inputs: [*const u8; I],
        outputs: [*mut u8; O],
        kernel: impl FnOnce([*const F; I], [*mut F; O], Runs) -> T,
    ) -> T {
        let (isa, dtype) = (self.isa, self.dtype);
        let start = at * dtype.size();
        let begin = |buffer: *const u8| match buffer.is_null() {
            true => buffer,
            false => buffer.wrapping_add(start),
        };
        let inputs = inputs.map(begin);
        let outputs = outputs.map(|buffer| begin(buffer).cast_mut());
        let aligned = |buffer: *const u8| buffer.cast::<F>().is_aligned();
        let in_place = inputs.into_iter().all(aligned) && outputs.iter().all(|&o| aligned(o));
        if dtype == F::DTYPE && in_place {
            return kernel(
                inputs.map(|input| input.cast()),
                outputs.map(|output| output.cast()),
                runs,
            );
        }
        let len = runs.len();
        if self.room.len() < len * (I + O) {
            self.room.resize(len * (I + O), F::ZERO);
        }
        let grid = Grid {
            rows: runs.rows,
            cols: runs.cols,
            row_stride: runs.pitch as isize,
            col_stride: 1,
        };
        let mut places = self.room.chunks_exact_mut(len);
        let decoded = inputs.map(|input| match places.next() {
            Some(place) if !input.is_null() => {
                // SAFETY: by contract, the grid is the runs.
                unsafe { F::load(isa, dtype, input, grid, place) };
                place.as_ptr()
            }
            _ => std::ptr::null(),
        });
        let mut results = outputs.map(|output| match places.next() {
            Some(place) if !output.is_null() => Some(place),
            _ => None,
        });
        let written = results.each_mut().map(|place| match place {
            Some(place) => place.as_mut_ptr(),
            None => std::ptr::null_mut(),
        });
        let decoded_runs = Runs {
            pitch: runs.cols,
            ..runs
        };
        let result = kernel(decoded, written, decoded_runs);
        for (place, output) in results.iter().zip(outputs) {
            if let Some(place) = place {
                // SAFETY: as above.
                unsafe { F::store(isa, dtype, place, grid, output) };
            }
        }
        result
    }
}
