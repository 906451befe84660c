//! Update rules, one file each, and the loop that they share.
//!
//! A rule says what happens to one element; it knows nothing of element types, strides, threads or
//! instruction sets. What depends on the step alone is prepared once, in `f64`.

mod adagrad;
mod adam;
mod clip;
mod rmsprop;
mod sgd;

pub use adagrad::Adagrad;
pub use adam::Adam;
pub use clip::{clip_coefficient, grad_norm};
pub use rmsprop::Rmsprop;
pub use sgd::Sgd;

use std::ops::Range;

use crate::dtype::{DType, Float, Grid};
use crate::isa::{Isa, per_isa};
use crate::work::{BLOCK, Layout, MAX_OPERANDS, Operand, Tensor, WorkList};

/// One optimizer's arithmetic.
pub trait UpdateRule: Sync {
    /// What a step needs, in the type of computation.
    type Scalars<F: Float>: Copy + Send + Sync;

    /// How many states an element has.
    fn n_states(&self) -> usize;

    /// Prepares step number `step`, counted from 1. `first` says that the states hold nothing yet.
    fn scalars<F: Float>(&self, step: f64, first: bool) -> Self::Scalars<F>;

    /// Updates one element and its `N` = `n_states()` states.
    fn update<F: Float, const N: usize>(
        s: &Self::Scalars<F>,
        param: &mut F,
        grad: F,
        state: &mut [F; N],
    );
}

/// A rule with its scalars, for tensors that are at the same step.
pub struct Prepared<R: UpdateRule> {
    single: R::Scalars<f32>,
    double: R::Scalars<f64>,
    n_states: usize,
    maximize: bool,
}

impl<R: UpdateRule> Prepared<R> {
    /// Prepares a step of `rule`. With `maximize` the sign of the gradient is turned.
    pub fn new(rule: &R, maximize: bool, step: f64, first: bool) -> Prepared<R> {
        Prepared {
            single: rule.scalars(step, first),
            double: rule.scalars(step, first),
            n_states: rule.n_states(),
            maximize,
        }
    }
}

/// Makes one step: `tensors[i]` (parameter, gradient, states) by `prepared[which[i]]`, every gradient
/// multiplied by `grad_scale` first.
///
/// # Safety
/// Every operand is valid for reads, and for writes if it is no gradient, over its whole layout until
/// the call returns; no written one shares memory with another operand; `work` was made of `tensors`.
pub unsafe fn step<R: UpdateRule>(
    isa: Isa,
    threads: usize,
    prepared: &[Prepared<R>],
    which: &[u32],
    tensors: &[Tensor],
    work: &WorkList,
    grad_scale: f64,
) {
    work.run(threads, &|index| {
        let tile = &work.tiles()[index];
        let tensor = &tensors[tile.tensor];
        let with = &prepared[which[tile.tensor] as usize];
        let scale = if with.maximize {
            -grad_scale
        } else {
            grad_scale
        };
        let blocks = tile.blocks.clone();
        // SAFETY: the caller vouches for the operands, and no two tiles share a block.
        unsafe {
            if tensor.operands[0].dtype == DType::F64 {
                run_tile::<R, f64>(isa, &with.double, with.n_states, scale, tensor, blocks);
            } else {
                run_tile::<R, f32>(
                    isa,
                    &with.single,
                    with.n_states,
                    scale as f32,
                    tensor,
                    blocks,
                );
            }
        }
    });
}

/// # Safety
/// As for [`step`], and nobody else works on these blocks.
unsafe fn run_tile<R: UpdateRule, F: Float>(
    isa: Isa,
    scalars: &R::Scalars<F>,
    n_states: usize,
    scale: F,
    tensor: &Tensor,
    blocks: Range<usize>,
) {
    let used = &tensor.operands[..2 + n_states];
    let no_decoding = |o: &Operand| o.dtype == F::DTYPE && o.data.cast::<F>().is_aligned();
    // SAFETY (of calls): `len` elements from `run(i)` on are operand i's, and no other's.
    let apply = |len: usize, run: &dyn Fn(usize) -> *mut F| {
        // SAFETY: see above. The gradient may be shared with other tiles: it is only read.
        let grad = unsafe { std::slice::from_raw_parts(run(1).cast_const(), len) };
        let slice = |i: usize| match i < used.len() {
            // SAFETY: see above.
            true => unsafe { std::slice::from_raw_parts_mut(run(i), len) },
            false => &mut [],
        };
        let apply = match n_states {
            0 => apply::<R, F, 0>,
            1 => apply::<R, F, 1>,
            2 => apply::<R, F, 2>,
            _ => apply::<R, F, 3>,
        };
        apply(
            isa,
            scalars,
            scale,
            slice(0),
            grad,
            slice(2),
            slice(3),
            slice(4),
        );
    };
    if matches!(tensor.layout, Layout::Flat) {
        let start = blocks.start * BLOCK;
        let len = tensor.len.min(blocks.end * BLOCK) - start;
        let at = |i: usize| tensor.operands[i].at(start);
        if used.iter().all(no_decoding) {
            return apply(len, &|i| at(i).cast());
        }
        let decoding = match n_states {
            0 => apply_decoding::<R, F, 0>,
            1 => apply_decoding::<R, F, 1>,
            2 => apply_decoding::<R, F, 2>,
            _ => apply_decoding::<R, F, 3>,
        };
        let operands = std::array::from_fn(|i| Operand {
            data: at(i),
            ..tensor.operands[i]
        });
        // SAFETY: the run lies in every operand, and is this tile's alone.
        return unsafe { decoding(isa, isa, scalars, scale, &operands, len) };
    }
    let (_, strides) = tensor.block(blocks.start);
    let staged = |i: usize| !no_decoding(&used[i]) || strides[i].col_stride != 1;
    let (most_rows, most_cols) = tensor.block_shape();
    // A line between rows: at a distance of a power of two they would share few sets of the cache.
    let pitch = if most_rows > 1 {
        most_cols + 16
    } else {
        most_cols
    };
    let mut stages: [Vec<F>; MAX_OPERANDS] =
        std::array::from_fn(|i| match i < used.len() && staged(i) {
            true => vec![F::ZERO; most_rows * pitch],
            false => Vec::new(),
        });
    for block in blocks {
        let (offsets, grids) = tensor.block(block);
        let Grid { rows, cols, .. } = grids[0];
        let at = |i: usize| {
            used[i]
                .data
                .wrapping_offset(offsets[i] * used[i].dtype.size() as isize)
        };
        for i in (0..used.len()).filter(|&i| staged(i)) {
            // SAFETY: the grid lies in the operand.
            unsafe {
                F::load(
                    isa,
                    used[i].dtype,
                    at(i),
                    grids[i],
                    &mut stages[i][..rows * pitch],
                )
            };
        }
        let starts = stages.each_mut().map(|stage| stage.as_mut_ptr());
        for row in 0..rows {
            apply(cols, &|i| match staged(i) {
                true => starts[i].wrapping_add(row * pitch),
                false => at(i)
                    .cast::<F>()
                    .wrapping_offset(row as isize * grids[i].row_stride),
            });
        }
        for i in (0..used.len()).filter(|&i| i != 1 && staged(i)) {
            // SAFETY: as above.
            unsafe {
                F::store(
                    isa,
                    used[i].dtype,
                    &stages[i][..rows * pitch],
                    grids[i],
                    at(i),
                )
            };
        }
    }
}

per_isa! {
    /// The rule over dense runs of equal length. Of `a`, `b` and `c` the first `N` are states.
    fn apply[R: UpdateRule, F: Float, const N: usize][R, F, N](
        s: &R::Scalars<F>, scale: F, param: &mut [F], grad: &[F], a: &mut [F], b: &mut [F], c: &mut [F],
    ) {
        let s = *s;
        let len = param.len();
        // Equal lengths, stated once: the loop needs no bounds checks.
        let grad = &grad[..len];
        let a = &mut a[..if N > 0 { len } else { 0 }];
        let b = &mut b[..if N > 1 { len } else { 0 }];
        let c = &mut c[..if N > 2 { len } else { 0 }];
        for i in 0..len {
            let mut state = [F::ZERO; N];
            if N > 0 { state[0] = a[i]; }
            if N > 1 { state[1] = b[i]; }
            if N > 2 { state[2] = c[i]; }
            R::update::<F, N>(&s, &mut param[i], scale * grad[i], &mut state);
            if N > 0 { a[i] = state[0]; }
            if N > 1 { b[i] = state[1]; }
            if N > 2 { c[i] = state[2]; }
        }
    }
}

per_isa! {
    /// The rule over dense runs of any types, a part at a time that stays in L1 with its decoded copy.
    ///
    /// # Safety
    /// The first `2 + N` operands have `len` elements, which nobody else uses.
    unsafe fn apply_decoding[R: UpdateRule, F: Float, const N: usize][R, F, N](
        isa: Isa, s: &R::Scalars<F>, scale: F, operands: &[Operand; MAX_OPERANDS], len: usize,
    ) {
        const PART: usize = 256;
        let mut parts = Aligned([[F::ZERO; PART]; MAX_OPERANDS]);
        for start in (0..len).step_by(PART) {
            let len = PART.min(len - start);
            for (operand, part) in operands.iter().zip(&mut parts.0).take(2 + N) {
                // SAFETY: the part lies in the operand.
                unsafe { F::decode(operand.dtype, operand.at(start), &mut part[..len]) };
            }
            let [param, grad, a, b, c] = &mut parts.0;
            // Not inlined: as arguments of a function the parts are known not to overlap.
            let (a, b, c) = (&mut a[..len], &mut b[..len], &mut c[..len]);
            apply::<R, F, N>(isa, s, scale, &mut param[..len], &grad[..len], a, b, c);
            for (_, (operand, part)) in operands.iter().zip(&parts.0).enumerate().take(2 + N).filter(|&(i, _)| i != 1) {
                // SAFETY: as above.
                unsafe { F::encode(operand.dtype, &part[..len], operand.at(start)) };
            }
        }
    }
}

/// On a cache line's border: a wide vector that crosses one costs two accesses.
#[repr(align(64))]
struct Aligned<T>(T);

/// a + weight·(b − a), exact at both ends: the form is chosen by the nearer one.
#[inline(always)]
fn lerp<F: Float>(a: F, b: F, weight: F, nearer_a: bool, rest: F) -> F {
    if nearer_a {
        a + weight * (b - a)
    } else {
        b - rest * (b - a)
    }
}

/// The larger one; NaN if either is.
#[inline(always)]
#[allow(clippy::eq_op)]
fn maximum<F: Float>(a: F, b: F) -> F {
    if a >= b || a != a { a } else { b }
}
