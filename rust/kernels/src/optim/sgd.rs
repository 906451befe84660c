//! Stochastic gradient descent, with heavy-ball (Polyak 1964) or Nesterov momentum
//! (Sutskever et al. 2013, in torch's form).
//!
//! ```text
//! g ← g + λ·θ
//! b ← μ·b + (1 − τ)·g           first step: b ← g
//! θ ← θ − lr·b                  nesterov: θ ← θ − lr·(g + μ·b)
//! ```
//!
//! Without momentum θ ← θ − lr·g, and there is no state. State: b.

use super::UpdateRule;
use crate::dtype::Float;

/// Hyperparameters, named as in torch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Learning rate.
    pub lr: f64,
    /// μ
    pub momentum: f64,
    /// τ
    pub dampening: f64,
    /// λ
    pub weight_decay: f64,
    /// Nesterov's form of momentum.
    pub nesterov: bool,
}

#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct Scalars<F> {
    lr: F,
    momentum: F,
    undamped: F,
    weight_decay: F,
    decays: bool,
    nesterov: bool,
    first: bool,
}

impl UpdateRule for Sgd {
    type Scalars<F: Float> = Scalars<F>;

    fn n_states(&self) -> usize {
        usize::from(self.momentum != 0.0)
    }

    fn scalars<F: Float>(&self, _step: f64, first: bool) -> Scalars<F> {
        Scalars {
            lr: F::from_f64(self.lr),
            momentum: F::from_f64(self.momentum),
            undamped: F::from_f64(1.0 - self.dampening),
            weight_decay: F::from_f64(self.weight_decay),
            decays: self.weight_decay != 0.0,
            nesterov: self.nesterov,
            first,
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
        let direction = match state.first_mut() {
            None => grad,
            Some(buffer) => {
                *buffer = if s.first {
                    grad
                } else {
                    s.momentum * *buffer + s.undamped * grad
                };
                if s.nesterov {
                    grad + s.momentum * *buffer
                } else {
                    *buffer
                }
            }
        };
        *param = *param - s.lr * direction;
    }
}
