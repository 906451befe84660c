//! The global norm of the gradients and the factor that clips it (Pascanu, Mikolov & Bengio 2013).
//!
//! ```text
//! ‖g‖ = √ Σ g²          over all gradients
//! g ← g · min(1, max_norm / (‖g‖ + 10⁻⁶))
//! ```
//!
//! Squares are summed in `f64`, in the same order for any number of threads and any instruction set:
//! 32 lanes a block, then pairwise over lanes, blocks and tiles.

use crate::dtype::{DType, Float, Grid};
use crate::isa::{Isa, per_isa};
use crate::slots::{Slots, pairwise_sum};
use crate::work::{BLOCK, Tensor, WorkList};

/// The Euclidean norm of operand 0 of all tensors.
///
/// # Safety
/// That operand is valid for reads over its whole layout until the call returns, and `work` was made
/// of `tensors`.
pub unsafe fn grad_norm(isa: Isa, threads: usize, tensors: &[Tensor], work: &WorkList) -> f64 {
    let slots = Slots::new(work.tiles().len(), || 0.0);
    work.run(threads, &|index| {
        let tile = &work.tiles()[index];
        let tensor = &tensors[tile.tensor];
        // SAFETY: the caller vouches for the operand.
        let sums = tile.blocks.clone().map(|block| unsafe {
            if tensor.operands[0].dtype == DType::F64 {
                block_sum::<f64>(isa, tensor, block)
            } else {
                block_sum::<f32>(isa, tensor, block)
            }
        });
        let sums: Vec<f64> = sums.collect();
        // SAFETY: a tile is run by one thread.
        unsafe { slots.set(index, pairwise_sum(&sums)) };
    });
    pairwise_sum(&slots.into_values()).sqrt()
}

/// The factor that torch's `clip_grad_norm_` applies.
pub fn clip_coefficient(norm: f64, max_norm: f64) -> f64 {
    let coefficient = max_norm / (norm + 1e-6);
    // `min` would lose a NaN.
    if coefficient > 1.0 { 1.0 } else { coefficient }
}

/// # Safety
/// As for [`grad_norm`].
unsafe fn block_sum<F: Float>(isa: Isa, tensor: &Tensor, block: usize) -> f64 {
    let operand = tensor.operands[0];
    let (offsets, grids) = tensor.block(block);
    let Grid {
        rows,
        cols,
        col_stride,
        ..
    } = grids[0];
    let data = operand
        .data
        .wrapping_offset(offsets[0] * operand.dtype.size() as isize);
    if operand.dtype == F::DTYPE && rows == 1 && col_stride == 1 && data.cast::<F>().is_aligned() {
        // SAFETY: the block is a run of `cols` elements of the operand.
        return sum_of_squares(isa, unsafe {
            std::slice::from_raw_parts(data.cast::<F>(), cols)
        });
    }
    // One operand alone never disagrees with another, so its blocks are small.
    let mut scratch = [F::ZERO; BLOCK];
    let run = &mut scratch[..rows * cols];
    // SAFETY: the grid lies in the operand.
    unsafe { F::load(isa, operand.dtype, data, grids[0], run) };
    sum_of_squares(isa, run)
}

per_isa! {
    fn sum_of_squares[F: Float][F](run: &[F]) -> f64 {
        const LANES: usize = 32;
        let mut lanes = [0.0_f64; LANES];
        let chunks = run.chunks_exact(LANES);
        let rest = chunks.remainder();
        for chunk in chunks {
            for lane in 0..LANES {
                let value = chunk[lane].to_f64();
                lanes[lane] += value * value;
            }
        }
        for (lane, value) in lanes.iter_mut().zip(rest) {
            let value = value.to_f64();
            *lane += value * value;
        }
        pairwise_sum(&lanes)
    }
}
