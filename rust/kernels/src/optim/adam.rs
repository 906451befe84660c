//! Adam (Kingma & Ba 2015), AMSGrad (Reddi, Kale & Kumar 2018), AdamW (Loshchilov & Hutter 2019).
//!
//! ```text
//! g ← g + λ·θ                    decoupled: θ ← (1 − lr·λ)·θ
//! m ← β₁·m + (1 − β₁)·g
//! v ← β₂·v + (1 − β₂)·g²
//! w ← max(w, v)                  amsgrad: w stands for v below
//! θ ← θ − lr / (1 − β₁ᵗ) · m / (√v / √(1 − β₂ᵗ) + ε)
//! ```
//!
//! Without the first moment's correction, as in the lecture, lr stands alone. The roots of the
//! corrections are prepared as factors: one root and one division an element.
//! States: m, v, then w with amsgrad.

use super::{UpdateRule, lerp, maximum};
use crate::dtype::Float;

/// Hyperparameters, named as in torch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Learning rate.
    pub lr: f64,
    /// β₁
    pub beta1: f64,
    /// β₂
    pub beta2: f64,
    /// ε
    pub eps: f64,
    /// λ
    pub weight_decay: f64,
    /// λ shrinks the parameter instead of joining the gradient (AdamW).
    pub decoupled_weight_decay: bool,
    /// Divide by the largest second moment so far.
    pub amsgrad: bool,
    /// Correct the first moment's bias too, as torch does; the lecture corrects the second alone.
    pub correct_first: bool,
}

#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct Scalars<F> {
    step_size: F,
    root_correction: F,
    eps: F,
    beta1: F,
    rest1: F,
    beta2: F,
    rest2: F,
    weight_decay: F,
    shrink: F,
    decays: bool,
    shrinks: bool,
    slow: bool,
}

impl UpdateRule for Adam {
    type Scalars<F: Float> = Scalars<F>;

    fn n_states(&self) -> usize {
        2 + usize::from(self.amsgrad)
    }

    fn scalars<F: Float>(&self, step: f64, _first: bool) -> Scalars<F> {
        let correction1 = if self.correct_first {
            1.0 - self.beta1.powf(step)
        } else {
            1.0
        };
        let correction2 = 1.0 - self.beta2.powf(step);
        let decays = self.weight_decay != 0.0;
        Scalars {
            step_size: F::from_f64(self.lr / correction1),
            root_correction: F::from_f64(1.0 / correction2.sqrt()),
            eps: F::from_f64(self.eps),
            beta1: F::from_f64(self.beta1),
            rest1: F::from_f64(1.0 - self.beta1),
            beta2: F::from_f64(self.beta2),
            rest2: F::from_f64(1.0 - self.beta2),
            weight_decay: F::from_f64(self.weight_decay),
            shrink: F::from_f64(1.0 - self.lr * self.weight_decay),
            decays: decays && !self.decoupled_weight_decay,
            shrinks: decays && self.decoupled_weight_decay,
            slow: 1.0 - self.beta1 < 0.5,
        }
    }

    #[inline(always)]
    fn update<F: Float, const N: usize>(
        s: &Scalars<F>,
        param: &mut F,
        grad: F,
        state: &mut [F; N],
    ) {
        let grad = if s.decays {
            grad + s.weight_decay * *param
        } else {
            grad
        };
        if s.shrinks {
            *param = *param * s.shrink;
        }
        state[0] = lerp(state[0], grad, s.rest1, s.slow, s.beta1);
        state[1] = s.beta2 * state[1] + s.rest2 * grad * grad;
        let mut second = state[1];
        if N > 2 {
            state[2] = maximum(state[2], second);
            second = state[2];
        }
        let root = second.sqrt() * s.root_correction + s.eps;
        *param = *param - s.step_size * state[0] / root;
    }
}
