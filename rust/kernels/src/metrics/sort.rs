//! Scores in descending order, by a radix sort in two steps.
//!
//! The range of the keys is cut into up to 2,048 buckets of equal width. Parts of the input are
//! distributed over the buckets side by side; what is left of a key within its bucket, and a case's
//! label (or label and row), fit an integer, so that the memory at work is about one copy of the
//! scores. Then the buckets are sorted side by side, each by its highest digits; where these leave
//! cases together that may differ in lower ones, a comparison sort finishes the run.

use std::iter::repeat_n;
use std::sync::Mutex;

use super::keys::{self, Score};
use super::points::Points;
use super::truth::Truth;
use super::{BadInput, first_bad};
use crate::isa::Isa;
use crate::memory::{Buffer, Plain};
use crate::pool;

/// Cases that are distributed by one thread at a time.
// A part of 2^17 f32 is 512 KiB, which stays in a second-level cache while it is scattered
const PART: usize = 1 << 17;

/// log2 of the most buckets.
const MOST_BUCKETS: u32 = 11;

/// log2 of the cases that a bucket has on average, as long as there are fewer than the most buckets.
const BUCKET: u32 = 12;

/// So few cases are not distributed, if the range of their keys fits an item.
// measured: up to here two passes over all cases are faster than distributing first
const UNDIVIDED: usize = 1 << 14;

/// Cases between two questions whether to go on.
// measured: a pass over so many takes 10 to 100 ms, a busy neighbour's pauses aside
pub(super) const PIECE: usize = 1 << 22;

/// Labels that are read at a time.
const CHUNK: usize = 1024;

/// A bucket of so few cases is sorted by comparing.
const FEW: usize = 64;

/// The negative cases' bit in a [`Row`](Layout::PAYLOAD).
pub(super) const NEGATIVE: u32 = 1 << 31;

/// An unsigned integer that is sorted: what is left of the key, above what the case carries.
pub(super) trait Item: Plain + Ord + Default + Send + Sync {
    fn new(offset: u64, payload_bits: u32, payload: u32) -> Self;
    fn offset(self, payload_bits: u32) -> u64;
    /// The lowest bits.
    fn low(self) -> u32;
    /// Bits from `from` on.
    fn digit(self, from: u32) -> usize;
}

macro_rules! item {
    ($($integer:ty),*) => {$(
        impl Item for $integer {
            #[inline(always)]
            fn new(offset: u64, payload_bits: u32, payload: u32) -> Self {
                ((offset as $integer) << payload_bits) | (payload as $integer)
            }
            #[inline(always)]
            fn offset(self, payload_bits: u32) -> u64 {
                (self >> payload_bits) as u64
            }
            #[inline(always)]
            fn low(self) -> u32 {
                self as u32
            }
            #[inline(always)]
            fn digit(self, from: u32) -> usize {
                (self >> from) as usize
            }
        }
    )*};
}
item!(u32, u64, u128);

/// What is sorted by what, and what a case carries: its flag, or its flag and its row.
pub(super) trait Layout: Sync {
    type Score: Score;
    type Item: Item;
    /// Bits that a case carries.
    const PAYLOAD: u32;
    /// Where the bits that are sorted begin: with the flag, so that positives come first among ties.
    const SORTED_FROM: u32 = Self::PAYLOAD - 1;

    /// A case with its key's distance from the bucket's first.
    #[inline(always)]
    fn item(offset: u64, flag: u8, row: u32) -> Self::Item {
        let flag = u32::from(flag & 1);
        let payload = if Self::PAYLOAD == 1 {
            flag
        } else {
            (flag * NEGATIVE) | row
        };
        Self::Item::new(offset, Self::PAYLOAD, payload)
    }
}

macro_rules! layout {
    ($($name:ident: $score:ty, $item:ty, $payload:literal;)*) => {$(
        pub(super) struct $name;
        impl Layout for $name {
            type Score = $score;
            type Item = $item;
            const PAYLOAD: u32 = $payload;
        }
    )*};
}
layout! {
    FlagF32: f32, u32, 1;
    FlagF64: f64, u64, 1;
    RowF32: f32, u64, 32;
    RowF64: f64, u128, 32;
}

/// The layouts of a score.
pub(super) trait Sortable: Score {
    type Flag: Layout<Score = Self>;
    type Row: Layout<Score = Self>;
}
impl Sortable for f32 {
    type Flag = FlagF32;
    type Row = RowF32;
}
impl Sortable for f64 {
    type Flag = FlagF64;
    type Row = RowF64;
}

/// Cases distributed over buckets, the highest scores in the first.
pub(super) struct Partition<L: Layout> {
    /// The cases of each part, bucket after bucket.
    items: Buffer<L::Item>,
    /// Where each bucket begins in each part; one more for the end.
    starts: Vec<Vec<u32>>,
    /// The positive and the negative cases before each bucket, and of all at the end.
    before: Vec<(u32, u32)>,
    first_key: u64,
    shift: u32,
    buckets: usize,
}

/// log2 of a bucket's width, and the number of buckets, for `n` cases with keys over a range.
pub(super) fn bucketing<L: Layout>(n: usize, range: u64) -> (u32, usize) {
    let bits = u64::BITS - range.leading_zeros();
    let item_bits = 8 * size_of::<L::Item>() as u32;
    let fits = bits + L::PAYLOAD <= item_bits && bits < u64::BITS;
    let wanted = if n <= UNDIVIDED && fits {
        0
    } else {
        (n.max(1).ilog2().saturating_sub(BUCKET)).clamp(1, MOST_BUCKETS)
    };
    let shift = bits.saturating_sub(wanted);
    (shift, (range >> shift) as usize + 1)
}

/// A bucket's cases, sorted.
pub(super) struct Bucket<'a, L: Layout> {
    /// Which of the buckets.
    pub index: usize,
    /// The cases.
    pub items: &'a [L::Item],
    /// The positive and the negative cases in the buckets before.
    pub before: (u32, u32),
    first_key: u64,
}

impl<L: Layout> Bucket<'_, L> {
    /// The key of a case's score.
    #[inline(always)]
    pub fn key(&self, item: L::Item) -> u64 {
        self.first_key.wrapping_add(item.offset(L::PAYLOAD))
    }

    /// The score of a case.
    pub fn score(&self, item: L::Item) -> f64 {
        L::Score::value(self.key(item))
    }

    /// Fills `counts` with the cases at or above each distinct score, counted over all buckets, and
    /// shows each score with its place; returns how many there are. There is room for all cases.
    #[inline(always)]
    pub fn groups(
        &self,
        tps: &mut [u32],
        fps: &mut [u32],
        mut see: impl FnMut(usize, L::Item),
    ) -> usize {
        let (mut tp, mut fp) = self.before;
        let mut place = 0;
        let rest = self.items.iter().skip(1);
        let next = rest.map(|item| item.offset(L::PAYLOAD)).chain([u64::MAX]);
        for (&item, next) in self.items.iter().zip(next) {
            let negative = (item.low() >> (L::PAYLOAD - 1)) & 1;
            tp += 1 - negative;
            fp += negative;
            // Ties write the same place, one after another: no branch, for they come at random.
            if let (Some(tps), Some(fps)) = (tps.get_mut(place), fps.get_mut(place)) {
                (*tps, *fps) = (tp, fp);
            }
            see(place, item);
            place += usize::from(item.offset(L::PAYLOAD) != next);
        }
        place
    }
}

impl<L: Layout> Partition<L> {
    /// Checks and distributes. Scores and labels are of the same number, less than 2^31.
    pub fn new(
        threads: usize,
        scores: &[L::Score],
        truth: &dyn Truth,
        infinite_allowed: bool,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Partition<L>, BadInput> {
        Partition::reusing(
            &mut Buffer::default(),
            threads,
            scores,
            truth,
            infinite_allowed,
            go_on,
        )
    }

    /// The same in memory that is there, and that [`into_items`](Partition::into_items) gives back.
    pub fn reusing(
        memory: &mut Buffer<L::Item>,
        threads: usize,
        scores: &[L::Score],
        truth: &dyn Truth,
        infinite_allowed: bool,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Partition<L>, BadInput> {
        let n = scores.len();
        assert!(n == truth.len(), "{n} scores and {} labels", truth.len());
        if n >= NEGATIVE as usize {
            return Err(BadInput::TooManyRows(n));
        }
        let (first_key, last_key) = key_range(threads, scores, infinite_allowed, go_on)?;
        let (shift, buckets) = bucketing::<L>(n, last_key - first_key);

        let mut items = std::mem::take(memory).resized(n);
        let n_parts = n.div_ceil(PART);
        let results: Vec<Mutex<PartCounts>> = (0..n_parts).map(|_| Mutex::default()).collect();
        let targets: Vec<Mutex<&mut [L::Item]>> = items.chunks_mut(PART).map(Mutex::new).collect();
        in_turns(threads, repeat_n(PART, n_parts), go_on, &|part| {
            let start = part * PART;
            let scores = &scores[start..n.min(start + PART)];
            let last = buckets - 1;
            // Another thread may write the scores while we read: a wrong answer, but no panic.
            let bucket = |key: u64| ((key.wrapping_sub(first_key) >> shift) as usize).min(last);
            let mut starts = vec![0_u32; buckets + 1];
            if buckets == 1 {
                starts[1] = scores.len() as u32;
            } else {
                for score in scores {
                    starts[bucket(score.key().into()) + 1] += 1;
                }
            }
            for index in 1..=buckets {
                starts[index] += starts[index - 1];
            }
            let mut cursors = starts.clone();
            let mut negatives = vec![0_u32; buckets];
            let Ok(mut target) = targets[part].lock() else {
                return;
            };
            let mask = (1_u64 << shift) - 1;
            let mut flags = [0; CHUNK];
            let mut known = true;
            for (chunk, scores) in scores.chunks(CHUNK).enumerate() {
                let start = start + chunk * CHUNK;
                let flags = &mut flags[..scores.len()];
                known &= truth.flags(start, flags);
                if buckets == 1 {
                    // In their order, which needs no count.
                    let target = target.iter_mut().skip(chunk * CHUNK);
                    for (index, (place, score)) in target.zip(scores).enumerate() {
                        let offset = score.key().into().wrapping_sub(first_key) & mask;
                        let row = (start + index) as u32;
                        *place = L::item(offset, flags[index], row);
                        negatives[0] += u32::from(flags[index]);
                    }
                    continue;
                }
                for (index, (score, &flag)) in scores.iter().zip(flags.iter()).enumerate() {
                    let key: u64 = score.key().into();
                    let bucket = bucket(key);
                    negatives[bucket] += u32::from(flag);
                    let cursor = &mut cursors[bucket];
                    if let Some(place) = target.get_mut(*cursor as usize) {
                        let offset = key.wrapping_sub(first_key) & mask;
                        *place = L::item(offset, flag, (start + index) as u32);
                    }
                    *cursor += 1;
                }
            }
            if let Ok(mut result) = results[part].lock() {
                *result = PartCounts {
                    starts,
                    negatives,
                    known,
                };
            }
        })?;
        drop(targets);
        let mut starts = Vec::with_capacity(n_parts);
        let mut sizes = vec![(0, 0); buckets];
        for result in results {
            let part = result.into_inner().unwrap_or_default();
            if !part.known {
                return Err(BadInput::Label);
            }
            for (bucket, size) in sizes.iter_mut().enumerate() {
                let cases = part.starts[bucket + 1] - part.starts[bucket];
                // No more than there are, also where the scores were written meanwhile.
                let negatives = part.negatives[bucket].min(cases);
                size.0 += cases - negatives;
                size.1 += negatives;
            }
            starts.push(part.starts);
        }
        let mut before = vec![(0, 0)];
        let mut sum = (0, 0);
        for size in sizes {
            sum = (sum.0 + size.0, sum.1 + size.1);
            before.push(sum);
        }
        Ok(Partition {
            items,
            starts,
            before,
            first_key,
            shift,
            buckets,
        })
    }

    /// The memory of the cases.
    pub fn into_items(self) -> Buffer<L::Item> {
        self.items
    }

    /// The number of buckets; some may be empty.
    pub fn buckets(&self) -> usize {
        self.buckets
    }

    /// The number of cases in each bucket.
    pub fn sizes(&self) -> impl Iterator<Item = usize> {
        let size = |pair: &[(u32, u32)]| {
            ((pair[1].0 - pair[0].0) as usize) + ((pair[1].1 - pair[0].1) as usize)
        };
        self.before.windows(2).map(size)
    }

    /// All positive and all negative cases.
    pub fn totals(&self) -> (u32, u32) {
        self.before.last().copied().unwrap_or_default()
    }

    /// A bucket's cases, part by part.
    fn pieces(&self, bucket: usize) -> impl Iterator<Item = &[L::Item]> + Clone {
        let parts = self.starts.iter().zip(self.items.chunks(PART));
        parts.map(move |(starts, items)| {
            &items[starts[bucket] as usize..starts[bucket + 1] as usize]
        })
    }

    /// Sorts every bucket and shows it to `visit`, on any thread and in any order.
    pub fn sorted(
        &self,
        threads: usize,
        go_on: &mut dyn FnMut() -> bool,
        visit: &(dyn Fn(Bucket<'_, L>) + Sync),
    ) -> Result<(), BadInput> {
        let spare: Mutex<Vec<Scratch<L::Item>>> = Mutex::default();
        in_turns(threads, self.sizes(), go_on, &|index| {
            let size: usize = self.pieces(index).map(<[_]>::len).sum();
            if size == 0 {
                return;
            }
            let mut scratch =
                (spare.lock().ok().and_then(|mut spare| spare.pop())).unwrap_or_default();
            let items = scratch.sort(
                size,
                self.pieces(index),
                L::SORTED_FROM,
                L::PAYLOAD + self.shift,
            );
            let first_key = self.first_key + ((index as u64) << self.shift);
            visit(Bucket {
                index,
                items,
                before: self.before[index],
                first_key,
            });
            if let Ok(mut spare) = spare.lock() {
                spare.push(scratch);
            }
        })
    }
}

/// Runs a job's tiles as long as `go_on` says so, which is asked after some `PIECE` cases; `sizes`
/// has the cases of each tile.
fn in_turns(
    threads: usize,
    sizes: impl Iterator<Item = usize>,
    go_on: &mut dyn FnMut() -> bool,
    tile: &(dyn Fn(usize) + Sync),
) -> Result<(), BadInput> {
    let mut sizes = sizes.peekable();
    let mut start = 0;
    while sizes.peek().is_some() {
        if start > 0 && !go_on() {
            return Err(BadInput::Stopped);
        }
        let (mut cases, mut tiles, mut end) = (0, 0, start);
        // Few large tiles would leave threads without work.
        while cases < PIECE || tiles < 4 * threads {
            let Some(size) = sizes.next() else {
                break;
            };
            cases += size;
            tiles += usize::from(size > 0);
            end += 1;
        }
        pool::run(threads, end - start, &|index| tile(start + index));
        start = end;
    }
    Ok(())
}

/// Sees a bucket's number, the positive and negative cases before it, and its points.
type Visit<'a> = dyn Fn(usize, (u32, u32), Points<'_>) + Sync + 'a;

impl<L: Layout> Partition<L> {
    /// Sorts every bucket and shows its number, the cases in the buckets before it, and the points
    /// of the curve that lie in it, on any thread and in any order.
    pub fn grouped(
        &self,
        threads: usize,
        go_on: &mut dyn FnMut() -> bool,
        visit: &Visit<'_>,
    ) -> Result<(), BadInput> {
        let spare: Mutex<Vec<(Vec<u32>, Vec<u32>)>> = Mutex::default();
        self.sorted(threads, go_on, &|bucket| {
            let (mut tps, mut fps) =
                (spare.lock().ok().and_then(|mut spare| spare.pop())).unwrap_or_default();
            let size = bucket.items.len();
            if tps.len() < size {
                tps.resize(size, 0);
                fps.resize(size, 0);
            }
            let len = bucket.groups(&mut tps, &mut fps, |_, _| ());
            let points = Points {
                tps: &tps[..len],
                fps: &fps[..len],
            };
            visit(bucket.index, bucket.before, points);
            if let Ok(mut spare) = spare.lock() {
                spare.push((tps, fps));
            }
        })
    }
}

/// What a part of the input counts.
#[derive(Default)]
struct PartCounts {
    /// Where each bucket begins, and the end.
    starts: Vec<u32>,
    /// Negative cases in each bucket.
    negatives: Vec<u32>,
    /// Whether every label is known.
    known: bool,
}

/// The range of all keys.
pub(super) fn key_range<S: Score>(
    threads: usize,
    scores: &[S],
    infinite_allowed: bool,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<(u64, u64), BadInput> {
    let n_parts = scores.len().div_ceil(PART);
    let whole: Mutex<(u64, u64, bool)> = Mutex::new((u64::MAX, 0, true));
    let isa = Isa::current();
    in_turns(threads, repeat_n(PART, n_parts), go_on, &|part| {
        let start = part * PART;
        let (low, high, finite) = keys::range(isa, &scores[start..scores.len().min(start + PART)]);
        if let Ok(mut whole) = whole.lock() {
            *whole = (whole.0.min(low), whole.1.max(high), whole.2 & finite);
        }
    })?;
    let (low, high, finite) = whole.into_inner().unwrap_or((0, u64::MAX, false));
    if !finite && let Some(bad) = first_bad(scores, infinite_allowed) {
        return Err(bad);
    }
    Ok((low.min(high), high))
}

/// Memory in which a thread sorts one bucket after another.
struct Scratch<I> {
    one: Vec<I>,
    other: Vec<I>,
    counts: Vec<u32>,
}

impl<I> Default for Scratch<I> {
    fn default() -> Scratch<I> {
        Scratch {
            one: Vec::new(),
            other: Vec::new(),
            counts: Vec::new(),
        }
    }
}

impl<I: Item> Scratch<I> {
    /// The items of `pieces`, sorted by their bits from `from` to `to`; those above are zero.
    fn sort<'a, 'b>(
        &'a mut self,
        size: usize,
        pieces: impl Iterator<Item = &'b [I]> + Clone,
        from: u32,
        to: u32,
    ) -> &'a mut [I]
    where
        I: 'b,
    {
        let Scratch { one, other, counts } = self;
        if size <= FEW || to <= from {
            one.clear();
            pieces.for_each(|piece| one.extend_from_slice(piece));
            one.sort_unstable();
            return one;
        }
        // Two digits: the highest bits. Fewer bits for few items, whose counts must not cost more.
        let digit = if size < 2048 { 8 } else { 11 }.min((to - from).div_ceil(2));
        let radix = 1_usize << digit;
        let mask = radix - 1;
        let first = to.saturating_sub(2 * digit).max(from);
        let second = first + digit;
        counts.clear();
        counts.resize(2 * radix, 0);
        let (low, high) = counts.split_at_mut(radix);
        for piece in pieces.clone() {
            for &item in piece {
                low[item.digit(first) & mask] += 1;
                high[item.digit(second) & mask] += 1;
            }
        }
        if one.len() < size {
            one.resize(size, I::default());
        }
        let is_trivial = |counts: &[u32]| counts.iter().any(|&count| count as usize == size);
        if is_trivial(low) {
            let mut start = 0;
            for piece in pieces {
                one[start..start + piece.len()].copy_from_slice(piece);
                start += piece.len();
            }
        } else {
            scatter(pieces, one, low, first, mask);
        }
        let sorted = if is_trivial(high) {
            &mut one[..size]
        } else {
            if other.len() < size {
                other.resize(size, I::default());
            }
            scatter(std::iter::once(&one[..size]), other, high, second, mask);
            &mut other[..size]
        };
        if first > from {
            finish_runs(sorted, first);
        }
        sorted
    }
}

/// Distributes items by a digit, in their order. `counts` says how many there are of each.
#[inline(always)]
fn scatter<'a, I: Item + 'a>(
    pieces: impl Iterator<Item = &'a [I]>,
    to: &mut [I],
    counts: &mut [u32],
    from: u32,
    mask: usize,
) {
    let mut next = 0;
    for count in counts.iter_mut() {
        next += std::mem::replace(count, next);
    }
    for piece in pieces {
        for &item in piece {
            let place = &mut counts[item.digit(from) & mask];
            if let Some(to) = to.get_mut(*place as usize) {
                *to = item;
            }
            *place += 1;
        }
    }
}

/// Sorts each run of items that agree from bit `above` on.
fn finish_runs<I: Item>(items: &mut [I], above: u32) {
    let mut start = 0;
    while start + 1 < items.len() {
        let digit = items[start].digit(above);
        if items[start + 1].digit(above) != digit {
            start += 1;
            continue;
        }
        let rest = &mut items[start..];
        let len = rest
            .iter()
            .take_while(|item| item.digit(above) == digit)
            .count();
        if len == 2 {
            // By far the most.
            let (low, high) = (rest[0].min(rest[1]), rest[0].max(rest[1]));
            (rest[0], rest[1]) = (low, high);
        } else {
            rest[..len].sort_unstable();
        }
        start += len;
    }
}
