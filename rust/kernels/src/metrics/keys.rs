//! Scores as integers: a larger score has a smaller key, equal scores have the same one.
//!
//! The bits of a float grow with its magnitude, so that turning all bits of the negative ones, and
//! the sign of the others, gives its order; −0.0 becomes +0.0 first. Keys descend because curves do:
//! the highest threshold comes first.

use super::BadInput;
use crate::dtype::DType;
use crate::isa::{Isa, per_isa};

/// A score: a number with an order.
pub trait Score: Copy + Send + Sync + 'static {
    /// As wide as the score.
    type Key: Copy + Default + Ord + Into<u64> + Send + Sync;
    /// The smallest and the largest key.
    const KEYS: (Self::Key, Self::Key);
    /// The key; a NaN has one too, which means nothing.
    fn key(self) -> Self::Key;
    /// A key that was widened.
    fn narrow(key: u64) -> Self::Key;
    /// The score of a key.
    fn from_key(key: Self::Key) -> Self;
    /// The same as a number.
    fn value(key: u64) -> f64 {
        Self::from_key(Self::narrow(key)).to_f64()
    }
    /// The same number.
    fn to_f64(self) -> f64;
    /// Not a number.
    fn is_nan(self) -> bool;
    /// Neither infinite nor NaN.
    fn is_finite(self) -> bool;
}

macro_rules! score {
    ($float:ty, $bits:ty, $signed:ty) => {
        impl Score for $float {
            type Key = $bits;
            const KEYS: ($bits, $bits) = (0, <$bits>::MAX);
            #[inline(always)]
            fn key(self) -> $bits {
                const SIGN: $bits = 1 << (<$bits>::BITS - 1);
                let bits = (self + 0.0).to_bits();
                let negative = (bits as $signed >> (<$bits>::BITS - 1)) as $bits;
                !(bits ^ (negative | SIGN))
            }
            #[inline(always)]
            fn narrow(key: u64) -> $bits {
                key as $bits
            }
            #[inline(always)]
            fn from_key(key: $bits) -> $float {
                const SIGN: $bits = 1 << (<$bits>::BITS - 1);
                let ascending = !key;
                let negative = ascending & SIGN == 0;
                <$float>::from_bits(if negative {
                    !ascending
                } else {
                    ascending ^ SIGN
                })
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                self.into()
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                <$float>::is_nan(self)
            }
            #[inline(always)]
            fn is_finite(self) -> bool {
                <$float>::is_finite(self)
            }
        }
    };
}
score!(f32, u32, i32);
score!(f64, u64, i64);

/// A format of 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// IEEE binary16.
    F16,
    /// bfloat16.
    Bf16,
}

impl Half {
    /// Among the buffers' types.
    pub fn dtype(self) -> DType {
        match self {
            Half::F16 => DType::F16,
            Half::Bf16 => DType::Bf16,
        }
    }

    /// The bits of +∞; larger magnitudes are NaN.
    pub(super) fn infinity(self) -> u16 {
        match self {
            Half::F16 => 0x7c00,
            Half::Bf16 => 0x7f80,
        }
    }
}

per_isa! {
    /// The smallest and the largest key, and whether all scores are finite.
    fn key_range[S: Score][S](scores: &[S]) -> (S::Key, S::Key, bool) {
        let (mut low, mut high) = (S::KEYS.1, S::KEYS.0);
        let mut finite = true;
        for &score in scores {
            let key = score.key();
            low = low.min(key);
            high = high.max(key);
            finite &= score.is_finite();
        }
        (low, high, finite)
    }
}

/// The range of the keys as integers; `None` if a score is not finite.
pub(super) fn range<S: Score>(isa: Isa, scores: &[S]) -> (u64, u64, bool) {
    let (low, high, finite) = key_range(isa, scores);
    (low.into(), high.into(), finite)
}

/// The first NaN; or else, unless it is allowed, the first infinite score.
pub fn first_bad<S: Score>(scores: &[S], infinite_allowed: bool) -> Option<BadInput> {
    let nan = scores.iter().position(|score| score.is_nan());
    nan.map(BadInput::Nan).or_else(|| {
        let infinite = scores.iter().position(|score| !score.is_finite());
        infinite
            .filter(|_| !infinite_allowed)
            .map(BadInput::Infinite)
    })
}
