//! RMSprop (Tieleman & Hinton 2012), centered as in Graves (2013).
//!
//! ```text
//! g ← g + λ·θ
//! v ← α·v + (1 − α)·g²
//! m ← m + (1 − α)·(g − m)        centered: v − m² stands for v below
//! u ← g / (√v + ε)               ε inside the root: g / √(v + ε)
//! θ ← θ − lr·u                   momentum: b ← μ·b + u, θ ← θ − lr·b
//! ```
//!
//! States: v, then b with momentum, then m if centered.

use super::{UpdateRule, lerp};
use crate::dtype::Float;

/// Hyperparameters, named as in torch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rmsprop {
    /// Learning rate.
    pub lr: f64,
    /// α
    pub alpha: f64,
    /// ε
    pub eps: f64,
    /// λ
    pub weight_decay: f64,
    /// μ; 0 is none.
    pub momentum: f64,
    /// Subtract the square of the gradient's running mean.
    pub centered: bool,
    /// ε inside the root.
    pub eps_inside_sqrt: bool,
}

#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct Scalars<F> {
    lr: F,
    alpha: F,
    rest: F,
    eps: F,
    weight_decay: F,
    momentum: F,
    decays: bool,
    has_momentum: bool,
    centered: bool,
    eps_inside_sqrt: bool,
    slow: bool,
}

impl UpdateRule for Rmsprop {
    type Scalars<F: Float> = Scalars<F>;

    fn n_states(&self) -> usize {
        1 + usize::from(self.momentum > 0.0) + usize::from(self.centered)
    }

    fn scalars<F: Float>(&self, _step: f64, _first: bool) -> Scalars<F> {
        Scalars {
            lr: F::from_f64(self.lr),
            alpha: F::from_f64(self.alpha),
            rest: F::from_f64(1.0 - self.alpha),
            eps: F::from_f64(self.eps),
            weight_decay: F::from_f64(self.weight_decay),
            momentum: F::from_f64(self.momentum),
            decays: self.weight_decay != 0.0,
            has_momentum: self.momentum > 0.0,
            centered: self.centered,
            eps_inside_sqrt: self.eps_inside_sqrt,
            slow: (1.0 - self.alpha).abs() < 0.5,
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
        state[0] = s.alpha * state[0] + s.rest * grad * grad;
        let mut spread = state[0];
        if N > 1 && s.centered {
            let mean = &mut state[N - 1];
            *mean = lerp(*mean, grad, s.rest, s.slow, s.alpha);
            // Infinity stays, also where the square alone overflows: torch does not round it.
            if spread.is_finite() || !mean.is_finite() {
                spread = spread - *mean * *mean;
            }
        }
        let root = if s.eps_inside_sqrt {
            (spread + s.eps).sqrt()
        } else {
            spread.sqrt() + s.eps
        };
        if N > 1 && s.has_momentum {
            state[1] = s.momentum * state[1] + grad / root;
            *param = *param - s.lr * state[1];
        } else {
            *param = *param - s.lr * grad / root;
        }
    }
}
