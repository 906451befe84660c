//! Random numbers that are computed from their place, not drawn one after another: Philox4x32-7
//! (Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3"; seven rounds
//! are the fewest that pass all of BigCrush).
//!
//! Number `i` of stream `s` under a seed is the same whoever asks for it, and in whatever order.
//! Sixteen blocks of four words are made side by side: number 64·g + 16·w + l is word `w` of block
//! 16·g + l, so that vectors need no shuffling.

use crate::isa::{Isa, per_isa};

const MULTIPLIERS: [u32; 2] = [0xd251_1f53, 0xcd9e_8d57];
const WEYL: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];
const ROUNDS: usize = 7;
const LANES: usize = 16;

/// Numbers that are made together.
pub const GROUP: usize = 4 * LANES;

/// The four words of a block.
pub fn philox(key: [u32; 2], counter: [u32; 4]) -> [u32; 4] {
    philox_lanes(key, counter.map(|word| [word])).map(|[word]| word)
}

#[inline(always)]
fn philox_lanes<const N: usize>(mut key: [u32; 2], counter: [[u32; N]; 4]) -> [[u32; N]; 4] {
    let [mut a, mut b, mut c, mut d] = counter;
    for _ in 0..ROUNDS {
        for lane in 0..N {
            let left = u64::from(MULTIPLIERS[0]) * u64::from(a[lane]);
            let right = u64::from(MULTIPLIERS[1]) * u64::from(c[lane]);
            a[lane] = (right >> 32) as u32 ^ b[lane] ^ key[0];
            b[lane] = right as u32;
            c[lane] = (left >> 32) as u32 ^ d[lane] ^ key[1];
            d[lane] = left as u32;
        }
        key[0] = key[0].wrapping_add(WEYL[0]);
        key[1] = key[1].wrapping_add(WEYL[1]);
    }
    [a, b, c, d]
}

per_isa! {
    /// Sets `numbers` to the numbers from 64·`group` on.
    fn fill_groups[const M: usize][M](key: [u32; 2], stream: [u32; 2], group: u32, numbers: &mut [u32]) {
        for (index, numbers) in numbers.chunks_mut(GROUP).enumerate() {
            let first = group.wrapping_add(index as u32).wrapping_mul(LANES as u32);
            let block = std::array::from_fn(|lane| first.wrapping_add(lane as u32));
            let words = philox_lanes::<LANES>(
                key,
                [block, [0; LANES], [stream[0]; LANES], [stream[1]; LANES]],
            );
            for (numbers, words) in numbers.chunks_mut(LANES).zip(&words) {
                // A length that is known is copied by vectors, not by a call.
                match <&mut [u32; LANES]>::try_from(&mut *numbers) {
                    Ok(numbers) => *numbers = *words,
                    Err(_) => numbers.copy_from_slice(&words[..numbers.len()]),
                }
            }
        }
    }
}

/// A seed and a stream of numbers under it.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    key: [u32; 2],
    stream: [u32; 2],
}

fn halves(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}

impl Stream {
    /// The stream `stream` of `seed`.
    pub fn new(seed: u64, stream: u64) -> Stream {
        Stream {
            key: halves(seed),
            stream: halves(stream),
        }
    }

    /// Sets `numbers` to 32 random bits each, the first of them number 64·`group`.
    pub fn fill(&self, isa: Isa, group: u32, numbers: &mut [u32]) {
        fill_groups::<0>(isa, self.key, self.stream, group, numbers);
    }

    /// Number `index` as a uniform one below `bound`, given its 32 bits.
    ///
    /// Where the bits cannot be divided evenly (Lemire 2019), others take their place, which depend
    /// on the index alone: the result is exactly uniform.
    #[inline(always)]
    pub fn below(&self, bound: u32, index: u32, bits: u32) -> u32 {
        let product = u64::from(bits) * u64::from(bound);
        if (product as u32) < bound {
            self.below_again(bound, index, product)
        } else {
            (product >> 32) as u32
        }
    }

    #[cold]
    fn below_again(&self, bound: u32, index: u32, mut product: u64) -> u32 {
        let uneven = bound.wrapping_neg() % bound.max(1);
        let mut attempt = 1;
        while (product as u32) < uneven {
            let counter = [index, attempt, self.stream[0], self.stream[1]];
            product = u64::from(philox(self.key, counter)[0]) * u64::from(bound);
            attempt += 1;
        }
        (product >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors that the authors publish with Random123.
    #[test]
    fn philox_gives_the_published_words() {
        let pi = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        let cases = [
            (
                [0; 2],
                [0; 4],
                [0x5f6f_b709, 0x0d89_3f64, 0x4f12_1f81, 0x4f73_0a48],
            ),
            (
                [!0; 2],
                [!0; 4],
                [0x5207_ddc2, 0x4516_5e59, 0x4d8e_e751, 0x8c52_f662],
            ),
            (
                [0xa409_3822, 0x299f_31d0],
                pi,
                [0x4dfc_caba, 0x190a_87f0, 0xc473_62ba, 0xb6b5_242a],
            ),
        ];
        for (key, counter, words) in cases {
            assert_eq!(philox(key, counter), words);
        }
    }

    #[test]
    fn every_instruction_set_makes_the_numbers_of_the_blocks() {
        let stream = Stream::new(0x0123_4567_89ab_cdef, 42 << 32 | 7);
        for &isa in Isa::available() {
            let mut numbers = [0; 3 * GROUP - 5];
            stream.fill(isa, 2, &mut numbers);
            for (index, &number) in numbers.iter().enumerate() {
                let index = index + 2 * GROUP;
                let block = (index / GROUP * LANES + index % LANES) as u32;
                let words = philox([0x89ab_cdef, 0x0123_4567], [block, 0, 7, 42]);
                assert_eq!(number, words[index % GROUP / LANES], "{isa:?}, {index}");
            }
        }
    }

    #[test]
    fn numbers_below_a_bound_are_uniform() {
        let stream = Stream::new(1, 2);
        let mut bits = vec![0; 60_000];
        stream.fill(Isa::current(), 0, &mut bits);
        // Bounds just above a half of 2^32 reject almost every second number.
        for bound in [1, 2, 3, 1000, 0x8000_0001, u32::MAX] {
            let mut thirds = [0_i32; 3];
            for (index, &bits) in bits.iter().enumerate() {
                let number = stream.below(bound, index as u32, bits);
                assert!(number < bound);
                thirds[(u64::from(number) * 3 / u64::from(bound)) as usize] += 1;
            }
            if bound > 100 {
                // Six standard deviations of a count of 20,000 in 60,000.
                assert!(
                    thirds.iter().all(|third| (third - 20_000).abs() < 700),
                    "{thirds:?}"
                );
            }
        }
    }
}
