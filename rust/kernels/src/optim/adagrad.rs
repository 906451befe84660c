//! AdaGrad (Duchi, Hazan & Singer 2011).
//!
//! ```text
//! g ← g + λ·θ
//! s ← s + g²
//! θ ← θ − lr / (1 + (t − 1)·η) · g / (√s + ε)
//! ```
//!
//! η is the learning rate's decay. State: s.

use super::UpdateRule;
use crate::dtype::Float;

/// Hyperparameters, named as in torch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adagrad {
    /// Learning rate.
    pub lr: f64,
    /// η
    pub lr_decay: f64,
    /// λ
    pub weight_decay: f64,
    /// ε
    pub eps: f64,
}

#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct Scalars<F> {
    lr: F,
    eps: F,
    weight_decay: F,
    decays: bool,
}

impl UpdateRule for Adagrad {
    type Scalars<F: Float> = Scalars<F>;

    fn n_states(&self) -> usize {
        1
    }

    fn scalars<F: Float>(&self, step: f64, _first: bool) -> Scalars<F> {
        Scalars {
            lr: F::from_f64(self.lr / (1.0 + (step - 1.0) * self.lr_decay)),
            eps: F::from_f64(self.eps),
            weight_decay: F::from_f64(self.weight_decay),
            decays: self.weight_decay != 0.0,
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
        state[0] = state[0] + grad * grad;
        *param = *param - s.lr * grad / (state[0].sqrt() + s.eps);
    }
}
