//! The exponential of what is not positive and the logarithm of what is at least 1, which is what a
//! softmax needs: plain arithmetic that becomes vectors, with the same bits on every instruction set.
//!
//! ```text
//! exp x = 2ⁿ·exp r       n = round(x / ln 2),  r = x − n·ln 2,  exp r = Σ rᵏ/k!
//! ln s  = e·ln 2 + ln m  s = 2ᵉ·m,  √½ ≤ m < √2,  ln m = 2·(q + q³/3 + q⁵/5 + …),  q = (m − 1)/(m + 1)
//! ```
//!
//! ln 2 is taken in two parts, the first so short that n times it is exact. The exponential is within
//! 1.1 ulp (f32: 1.048, every one is tested; f64: by the same steps), and 0 where it is below the least
//! normal number; the logarithm, always in f64, within 2 ulp.

use crate::dtype::Float;

/// A type with such an exponential.
pub trait Exponential: Float {
    /// −∞
    const NEG_INFINITY: Self;
    /// exp `self` for `self` ≤ 0, −∞ and NaN among them; anything for what is positive.
    fn exp_nonpositive(self) -> Self;
}

macro_rules! exponential {
    ($float:ident, $lowest:expr, $high:expr, $low:expr, $factorials:expr) => {
        impl Exponential for $float {
            const NEG_INFINITY: $float = $float::NEG_INFINITY;
            #[inline(always)]
            fn exp_nonpositive(self) -> $float {
                const FRACTION: u32 = $float::MANTISSA_DIGITS - 1;
                // Where numbers are 1 apart: adding it rounds to a whole one, in the lowest bits.
                const ROUND: $float = 1.5 * (1_u64 << FRACTION) as $float;
                let shifted = self * std::$float::consts::LOG2_E + ROUND;
                let n = shifted - ROUND;
                let r = (self - n * $high) - n * $low;
                // Two terms at a time, so that less waits for the term before.
                let (r2, mut sum) = (r * r, 0.0);
                for [odd, even] in $factorials {
                    sum = sum * r2 + (r * (1.0 / odd) + 1.0 / even);
                }
                let exp_r = 1.0 + (r + r2 * sum);
                let power = (shifted.to_bits() << FRACTION).wrapping_add($float::to_bits(1.0));
                let exp = exp_r * $float::from_bits(power);
                // A NaN is not less than anything.
                if self < $lowest { 0.0 } else { exp }
            }
        }
    };
}

// The terms that are left out are 0.1 ulp in f32 (r⁸/8!) and 0.04 in f64 (r¹⁴/14!) at r = ln 2 / 2.
exponential!(
    f32,
    -87.336_54, // the least n is −126
    355.0 / 512.0,
    -2.121_944_4e-4,
    [[5040.0, 720.0], [120.0, 24.0], [6.0, 2.0]]
);
exponential!(
    f64,
    -708.396_418_532_264_1,
    f64::from_bits(0x3fe6_2e42_fee0_0000),
    1.908_214_929_270_587_7e-10,
    [
        [6_227_020_800.0, 479_001_600.0],
        [39_916_800.0, 3_628_800.0],
        [362_880.0, 40_320.0],
        [5040.0, 720.0],
        [120.0, 24.0],
        [6.0, 2.0]
    ]
);

/// ln `s` for `s` ≥ 1, or NaN.
#[inline(always)]
pub(super) fn ln_from_one(s: f64) -> f64 {
    const HIGH: f64 = f64::from_bits(0x3fe6_2e42_fee0_0000);
    const LOW: f64 = 1.908_214_929_270_587_7e-10;
    const HALF_ROOT: u64 = 0x3fe6_a09e_667f_3bcd; // √½
    let bits = s.to_bits();
    let e = bits.wrapping_sub(HALF_ROOT) >> 52;
    let m = f64::from_bits(bits.wrapping_sub(e << 52));
    // A whole number below 2⁵² is the fraction of 2⁵² plus it.
    let e = f64::from_bits(e | 0x4330_0000_0000_0000) - (1_u64 << 52) as f64;
    let f = m - 1.0;
    let q = f / (m + 1.0);
    let q2 = q * q;
    // Eleven terms: the next is 10⁻¹⁷ of the sum at m = √2.
    let mut sum = 0.0;
    for odd in [21.0, 19.0, 17.0, 15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0] {
        sum = (sum + 1.0 / odd) * q2;
    }
    let ln = e * HIGH + (2.0 * q + (2.0 * q * sum + e * LOW));
    if s.is_nan() { s } else { ln }
}

#[cfg(test)]
mod tests {
    use super::{Exponential, ln_from_one};
    use crate::isa::{Isa, per_isa};

    per_isa! {
        fn exps[F: Exponential][F](values: &mut [F]) {
            for value in values {
                *value = value.exp_nonpositive();
            }
        }
    }

    per_isa! {
        fn logarithms[][](values: &mut [f64]) {
            for value in values {
                *value = ln_from_one(*value);
            }
        }
    }

    /// The largest error of exp over f32 −0.0, … −88 in steps of `step` bits, in ulp, against f64.
    fn largest_error(step: usize) -> f64 {
        let mut largest = 0.0_f64;
        let all: Vec<u32> = (0x8000_0000..=(-88.0_f32).to_bits())
            .step_by(step)
            .collect();
        for bits in all.chunks(4096) {
            let x: Vec<f32> = bits.iter().map(|&bits| f32::from_bits(bits)).collect();
            let mut narrow = x.clone();
            exps(Isa::SCALAR, &mut narrow);
            for &isa in Isa::available() {
                let mut wide = x.clone();
                exps(isa, &mut wide);
                let same = wide
                    .iter()
                    .zip(&narrow)
                    .all(|(a, b)| a.to_bits() == b.to_bits());
                assert!(same, "{isa:?} gives other bits");
            }
            for (&x, &exp) in x.iter().zip(&narrow) {
                let exact = f64::from(x).exp();
                if exact < f64::from(f32::MIN_POSITIVE) {
                    assert!(exp == 0.0 || exp == f32::MIN_POSITIVE, "exp {x} is {exp}");
                    continue;
                }
                let ulp = 2.0_f64.powi(exact.log2().floor() as i32 - 23);
                largest = largest.max((f64::from(exp) - exact).abs() / ulp);
            }
        }
        largest
    }

    #[test]
    fn exp_is_within_its_error() {
        let largest = largest_error(997);
        assert!(largest < 1.1, "{largest} ulp");
    }

    #[test]
    #[ignore = "a minute"]
    fn exp_is_within_its_error_for_every_f32() {
        let largest = largest_error(1);
        assert!(largest < 1.1, "{largest} ulp");
        println!("{largest} ulp");
    }

    #[test]
    fn exp_of_what_is_special() {
        for &isa in Isa::available() {
            let mut values = [0.0, -0.0, f32::NEG_INFINITY, f32::MIN, -1e-40, f32::NAN];
            exps(isa, &mut values);
            assert_eq!(values[..5], [1.0, 1.0, 0.0, 0.0, 1.0]);
            assert!(values[5].is_nan());
            let mut values = [0.0, -0.0, f64::NEG_INFINITY, f64::MIN, -1e-310, f64::NAN];
            exps(isa, &mut values);
            assert_eq!(values[..5], [1.0, 1.0, 0.0, 0.0, 1.0]);
            assert!(values[5].is_nan());
        }
    }

    #[test]
    fn f64_is_near_that_of_the_system() {
        // The system's own are within 1 ulp, so that these are within 2.1 and 3 of them.
        let x: Vec<f64> = (0..200_000).map(|i| -f64::from(i) * 0.003_541_7).collect();
        let mut expected = x.clone();
        exps(Isa::SCALAR, &mut expected);
        for (&x, &exp) in x.iter().zip(&expected) {
            let exact = x.exp();
            if exact >= f64::MIN_POSITIVE {
                assert!(
                    (exp - exact).abs() <= 2.1 * exact * f64::EPSILON,
                    "exp {x} is {exp}"
                );
            }
        }
        let s: Vec<f64> = (0..200_000)
            .map(|i| 1.0 + 10.0_f64.powf(f64::from(i) * 2e-4 - 16.0))
            .collect();
        let mut ln = s.clone();
        logarithms(Isa::SCALAR, &mut ln);
        for (&s, &ln) in s.iter().zip(&ln) {
            assert!(
                (ln - s.ln()).abs() <= 3.0 * s.ln() * f64::EPSILON,
                "ln {s} is {ln}"
            );
        }
        for &isa in Isa::available() {
            let (mut exps_wide, mut ln_wide) = (x.clone(), s.clone());
            exps(isa, &mut exps_wide);
            logarithms(isa, &mut ln_wide);
            assert_eq!((&exps_wide, &ln_wide), (&expected, &ln));
        }
        assert!(ln_from_one(f64::NAN).is_nan());
        assert_eq!(ln_from_one(1.0), 0.0);
    }
}
