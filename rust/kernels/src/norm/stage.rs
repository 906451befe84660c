//! Between memory and kernels: 16-bit elements are decoded into a copy of a part that stays in the first
//! cache, as are numpy's unaligned ones; and large outputs are written there first, to go past the caches.

use crate::dtype::{DType, Float, Grid};
use crate::isa::Isa;
use crate::stream;

use super::moments::Runs;

/// Bytes of an output that has left the caches before the next layer reads it.
// Half of a third cache of 32 MiB, for the input goes through it as well. measured: from memory to memory
// a pass takes 0.7 of the time then
pub(super) const LARGE: usize = 16 << 20;

/// Room for the copies of a part of up to five buffers.
pub(super) struct Stage<F> {
    isa: Isa,
    dtype: DType,
    /// Whether outputs go past the caches.
    streams: bool,
    room: Vec<F>,
}

impl<F: Float> Stage<F> {
    /// For buffers of so many elements.
    pub(super) fn new(isa: Isa, dtype: DType, len: usize) -> Stage<F> {
        Stage {
            isa,
            dtype,
            streams: len * dtype.size() >= LARGE,
            room: Vec::new(),
        }
    }

    /// Calls `kernel` with the runs that begin at element `at` of every buffer, or copies of them, and
    /// stores what it wrote. A null buffer stays null; the kernel gets aligned pointers.
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
        let in_place = dtype == F::DTYPE
            && inputs.into_iter().all(aligned)
            && outputs.iter().all(|&output| aligned(output));
        // Inputs in place and outputs in a copy have the same pitch.
        let dense = runs.rows == 1 || runs.pitch == runs.cols;
        let streams = self.streams && O > 0 && in_place && dense;
        if in_place && !streams {
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
        let copies = inputs.map(|input| match places.next() {
            _ if streams => input.cast(),
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
        let of_copies = Runs {
            pitch: runs.cols,
            ..runs
        };
        let result = kernel(copies, written, of_copies);
        for (place, output) in results.iter().zip(outputs) {
            let Some(place) = place else {
                continue;
            };
            // SAFETY: by contract, the grid is the runs; what streams is dense and of this type.
            unsafe {
                if streams {
                    let bytes =
                        std::slice::from_raw_parts(place.as_ptr().cast(), size_of_val(&place[..]));
                    stream::copy(bytes, output);
                } else {
                    F::store(isa, dtype, place, grid, output);
                }
            }
        }
        result
    }
}

impl<F> Drop for Stage<F> {
    fn drop(&mut self) {
        if self.streams {
            stream::fence();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LARGE, Stage};
    use crate::dtype::DType;
    use crate::isa::Isa;
    use crate::norm::moments::Runs;

    #[test]
    fn what_the_kernel_writes_arrives_on_every_way() {
        let memory: Vec<f32> = (0..400).map(|i| i as f32).collect();
        for len in [memory.len(), LARGE / 4] {
            for (rows, cols, pitch) in [(1, 100, 100), (3, 50, 50), (3, 50, 70)] {
                for misaligned in [0, 1] {
                    let mut to = vec![0_u8; 4 * memory.len() + misaligned];
                    let runs = Runs { rows, cols, pitch };
                    let (from, at) = (memory.as_ptr().cast(), 7);
                    let output = to[misaligned..].as_mut_ptr();
                    let mut stage = Stage::<f32>::new(Isa::current(), DType::F32, len);
                    // SAFETY: the runs lie in both, which are this test's.
                    unsafe {
                        stage.with(at, runs, [from], [output], |[x], [y], runs| {
                            for row in 0..runs.rows {
                                for col in row * runs.pitch..row * runs.pitch + runs.cols {
                                    *y.add(col) = 1.0 + *x.add(col);
                                }
                            }
                        });
                    }
                    drop(stage);
                    for (place, bytes) in to[misaligned..].chunks_exact(4).enumerate() {
                        let value = f32::from_ne_bytes(std::array::from_fn(|i| bytes[i]));
                        let run = (0..rows).any(|row| {
                            (row * pitch..row * pitch + cols).contains(&place.wrapping_sub(at))
                        });
                        assert_eq!(value, if run { 1.0 + memory[place] } else { 0.0 });
                    }
                }
            }
        }
    }
}
