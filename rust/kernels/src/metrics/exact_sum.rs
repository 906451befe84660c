//! Sums of floats without rounding, so that their order does not matter.
//!
//! A sum is an integer times 2⁻¹⁰⁷⁴, the smallest float, in limbs of 32 bits held in `i64`: an addition
//! touches three limbs and carries nothing, and 2³⁰ of them fit before carries have to move (Neal 2015,
//! "Fast exact summation using small and large superaccumulators", the small one). Two sums add limb by
//! limb. After [`carry`] the limbs of a sum are unique; [`value`] rounds once, to nearest even.

/// Limbs of a sum: 2098 bits that a float may have, 32 each, and room for the carries of 2⁷⁸ floats.
pub const LIMBS: usize = 68;

/// Additions between two carries.
const ADDITIONS: usize = 1 << 30;

const LOW: u64 = 0xffff_ffff;

/// Adds each value to the sum that `cell` gives for its place; `sums` are of [`LIMBS`] limbs each, with
/// carries moved before and after. What is not finite is an error, found before anything is added.
pub fn add(sums: &mut [i64], values: &[f64], cell: impl Fn(usize) -> usize) -> Result<(), usize> {
    if let Some(bad) = values.iter().position(|value| !value.is_finite()) {
        return Err(bad);
    }
    for (run, values) in values.chunks(ADDITIONS).enumerate() {
        for (index, &value) in values.iter().enumerate() {
            let start = cell(run * ADDITIONS + index) * LIMBS;
            if let Some(limbs) = sums.get_mut(start..start + LIMBS) {
                add_one(limbs, value);
            }
        }
        sums.chunks_exact_mut(LIMBS).for_each(carry);
    }
    Ok(())
}

#[inline(always)]
fn add_one(limbs: &mut [i64], value: f64) {
    let bits = value.to_bits();
    let exponent = (bits >> 52) & 0x7ff;
    let fraction = bits & ((1 << 52) - 1);
    // Subnormal numbers have the exponent of the smallest normal ones, without the leading bit.
    let normal = u64::from(exponent > 0);
    let mantissa = fraction | (normal << 52);
    let shift = exponent - normal;
    let wide = u128::from(mantissa) << (shift % 32);
    let sign = 1 - 2 * (bits >> 63) as i64;
    let first = (shift / 32) as usize;
    if let Some([low, middle, high]) = limbs.get_mut(first..first + 3) {
        *low += sign * (wide as u64 & LOW) as i64;
        *middle += sign * ((wide >> 32) as u64 & LOW) as i64;
        *high += sign * (wide >> 64) as i64;
    }
}

/// Moves what a limb has beyond 32 bits to the next; only the last one may then be negative.
pub fn carry(limbs: &mut [i64]) {
    let Some((last, limbs)) = limbs.split_last_mut() else {
        return;
    };
    let mut carried = 0;
    for limb in limbs {
        let sum = *limb + carried;
        *limb = sum & LOW as i64;
        carried = sum >> 32;
    }
    *last += carried;
}

/// The float nearest to a sum whose carries have been moved.
pub fn value(limbs: &[i64]) -> f64 {
    let mut magnitude = limbs.to_vec();
    let negative = limbs.last().is_some_and(|&last| last < 0);
    if negative {
        magnitude.iter_mut().for_each(|limb| *limb = -*limb);
        carry(&mut magnitude);
    }
    let Some(top) = magnitude.iter().rposition(|&limb| limb != 0) else {
        return 0.0;
    };
    let first = top.saturating_sub(3);
    let (rest, leading) = magnitude.split_at(first);
    let leading = leading[..=top - first]
        .iter()
        .rev()
        .fold(0_u128, |sum, &limb| sum << 32 | limb as u128);
    // Four limbs have more bits than a float; the last of them stands for all below.
    let rest = u128::from(rest.iter().any(|&limb| limb != 0));
    let rounded = (leading | rest) as f64;
    let exponent = 32 * first as i64 - 1074;
    let scale = match exponent {
        ..-1022 => f64::from_bits(1 << (exponent + 1074)),
        -1022..1024 => f64::from_bits(((exponent + 1023) as u64) << 52),
        1024.. => f64::INFINITY,
    };
    let result = rounded * scale;
    if negative { -result } else { result }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn sum(values: &[f64]) -> Vec<i64> {
        let mut limbs = vec![0; LIMBS];
        add(&mut limbs, values, |_| 0).unwrap();
        limbs
    }

    /// Shewchuk's expansion (1997): partial sums that do not overlap, and that add up to the sum.
    fn expansion(values: &[f64]) -> f64 {
        let mut partials: Vec<f64> = Vec::new();
        for &value in values {
            let mut x = value;
            let mut kept = Vec::new();
            for &y in &partials {
                let (large, small) = if x.abs() < y.abs() { (y, x) } else { (x, y) };
                let high = large + small;
                let low = small - (high - large);
                if low != 0.0 {
                    kept.push(low);
                }
                x = high;
            }
            kept.push(x);
            partials = kept;
        }
        // From the largest down to the first one that rounds; a tie is decided by the next below.
        let Some(mut high) = partials.pop() else {
            return 0.0;
        };
        let mut low = 0.0;
        while let Some(next) = partials.pop() {
            let before = high;
            high = before + next;
            low = next - (high - before);
            if low != 0.0 {
                break;
            }
        }
        if let Some(&below) = partials.last()
            && (low < 0.0) == (below < 0.0)
            && low != 0.0
        {
            let twice = low * 2.0;
            let other = high + twice;
            if twice == other - high {
                high = other;
            }
        }
        high
    }

    fn floats() -> impl Strategy<Value = f64> {
        prop_oneof![
            -1.0..1.0_f64,
            (any::<i64>(), -1074..900_i32).prop_map(|(m, e)| m as f64 * 2_f64.powi(e)),
            prop::num::f64::SUBNORMAL,
            Just(f64::MIN_POSITIVE),
            (0..60_i32).prop_map(|e| 1.0 + 2_f64.powi(-e)),
        ]
        .prop_filter("finite", |value| value.is_finite() && value.abs() < 1e300)
    }

    proptest! {
        #[test]
        fn is_the_sum_rounded_once(values in vec(floats(), 0..40)) {
            prop_assert_eq!(value(&sum(&values)), expansion(&values));
        }

        #[test]
        fn parts_add_to_the_same_limbs(values in vec(floats(), 0..40), cut in 0..40_usize) {
            let cut = cut.min(values.len());
            let mut one: Vec<i64> = sum(&values[cut..]).iter().zip(sum(&values[..cut]))
                .map(|(&a, b)| a + b).collect();
            carry(&mut one);
            prop_assert_eq!(one, sum(&values));
        }
    }

    #[test]
    fn keeps_what_floats_would_lose() {
        assert_eq!(value(&sum(&[1e300, 1.0, -1e300, 5e-324])), 1.0);
        assert_eq!(value(&sum(&[5e-324; 3])), 1.5e-323);
        assert_eq!(value(&sum(&[f64::MAX, f64::MAX])), f64::INFINITY);
        assert_eq!(value(&sum(&[f64::MIN, f64::MIN])), f64::NEG_INFINITY);
        assert_eq!(value(&sum(&[f64::MAX, -f64::MAX])), 0.0);
        assert_eq!(value(&sum(&[-1.0, 2_f64.powi(-60)])), -1.0);
        assert_eq!(add(&mut [0; LIMBS], &[1.0, f64::NAN], |_| 0), Err(1));
    }
}
