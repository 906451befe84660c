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

use crate::dtype::{DType, Float};
use crate::isa::{Isa, per_isa};
use crate::work::{BLOCK, Layout, MAX_OPERANDS, Tensor, WorkList};

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
    blocks: std::ops::Range<usize>,
) {
    let apply = match n_states {
        0 => apply::<R, F, 0>,
        1 => apply::<R, F, 1>,
        2 => apply::<R, F, 2>,
        _ => apply::<R, F, 3>,
    };
    let n_operands = 2 + n_states;
    let used = &tensor.operands[..n_operands];
    let direct = matches!(tensor.layout, Layout::Flat)
        && used
            .iter()
            .all(|o| o.dtype == F::DTYPE && o.data.cast::<F>().is_aligned());
    if direct {
        let start = blocks.start * BLOCK;
        let len = tensor.len.min(blocks.end * BLOCK) - start;
        let mut slices = tensor.operands.iter().enumerate().map(|(i, operand)| {
            let len = if i < n_operands { len } else { 0 };
            // SAFETY: [start, start + len) lies in the operand, which nobody else uses during the
            // tile; the gradient is only read (its slice is handed on as shared).
            unsafe { std::slice::from_raw_parts_mut(operand.data.cast::<F>().add(start), len) }
        });
        let mut next = || slices.next().unwrap_or_default();
        let (param, grad, a, b, c) = (next(), next(), next(), next(), next());
        return apply(isa, scalars, scale, param, grad, a, b, c);
    }
    let mut scratch = [[F::ZERO; BLOCK]; MAX_OPERANDS];
    for block in blocks {
        let (offsets, grids) = tensor.block(block);
        let len = grids[0].rows * grids[0].cols;
        let at = |i: usize| {
            let offset = offsets[i] * used[i].dtype.size() as isize;
            used[i].data.wrapping_offset(offset)
        };
        for (i, operand) in used.iter().enumerate() {
            // SAFETY: the grid lies in the operand.
            unsafe { F::load(isa, operand.dtype, at(i), grids[i], &mut scratch[i][..len]) };
        }
        let [param, grad, a, b, c] = &mut scratch;
        apply(
            isa,
            scalars,
            scale,
            &mut param[..len],
            &grad[..len],
            &mut a[..len],
            &mut b[..len],
            &mut c[..len],
        );
        for (i, operand) in used.iter().enumerate().filter(|&(i, _)| i != 1) {
            // SAFETY: as above.
            unsafe { F::store(isa, operand.dtype, &scratch[i][..len], grids[i], at(i)) };
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
