//! What is kept of many cases: their distinct scores, descending, with the cases of each class.
//!
//! A count has 16 bits, so that an f32 with both counts takes 8 bytes; a score of more cases stands
//! several times, one after another.

use std::sync::Mutex;

use super::BadInput;
use super::auc::RankSum;
use super::keys::Score;
use super::points::{Compensated, Points};
use super::sort::{Item, Layout, Partition, Sortable, bucketing};
use super::truth::Truth;
use crate::memory::Buffer;
use crate::pool;

/// Entries of one run that are merged at a time, up to twice as many: with those of the other they stay
/// in L2.
const TILE: usize = 1 << 13;

/// One positive case; a negative one is 1.
const POSITIVE: u32 = 1 << 16;

/// Sorted entries, in chunks of any size. No score is in two chunks.
pub(super) struct Run<S: Score> {
    chunks: Vec<Chunk<S::Key>>,
}

/// Some entries.
#[derive(Default)]
pub(super) struct Chunk<K> {
    keys: Vec<K>,
    /// Positive cases in the upper half, negative ones in the lower.
    counts: Vec<u32>,
}

/// Chunks that nothing needs any more. A fresh page costs more than what is written to it.
pub(super) type Spare<K> = Mutex<Vec<Chunk<K>>>;

impl<S: Sortable> Run<S> {
    /// Sorts cases; `items` is memory for it.
    pub fn sorted(
        threads: usize,
        scores: &[S],
        truth: &dyn Truth,
        items: &mut Buffer<<S::Flag as Layout>::Item>,
        spare: &Spare<S::Key>,
    ) -> Result<Run<S>, BadInput> {
        let partition =
            Partition::<S::Flag>::reusing(items, threads, scores, truth, false, &mut || true)?;
        let mut sorted = Ok(());
        let run = Run::in_chunks(partition.buckets(), |chunks| {
            sorted = partition.sorted(threads, &mut || true, &|bucket| {
                let bits = <S::Flag as Layout>::PAYLOAD;
                let mut chunk = Chunk::of_size(bucket.items.len(), spare);
                let (mut offset, mut count, mut place) = (u64::MAX, 0, usize::MAX);
                for &item in bucket.items {
                    let one = if item.low() & 1 == 1 { 1 } else { POSITIVE };
                    // Without branches, for ties come at random.
                    let new = (item.offset(bits) != offset) | !fits(count, one);
                    offset = item.offset(bits);
                    count = if new { one } else { count + one };
                    place = place.wrapping_add(usize::from(new));
                    chunk.write(place, S::narrow(bucket.key(item)), count);
                }
                chunk.truncate(place.wrapping_add(1));
                if let Ok(mut place) = chunks[bucket.index].lock() {
                    *place = chunk;
                }
            });
        });
        *items = partition.into_items();
        sorted.map(|()| run)
    }

    /// The entries of both; equal scores become one where their counts fit.
    pub fn merged(threads: usize, a: &Run<S>, b: &Run<S>, spare: &Spare<S::Key>) -> Run<S> {
        // Each chunk of one, or a part of it, with the entries of the other up to where the next begins.
        let mut parts = Vec::new();
        for (index, chunk) in a.chunks.iter().enumerate() {
            let n_parts = (chunk.keys.len() / TILE).max(1);
            for start in (0..chunk.keys.len()).step_by(chunk.keys.len().div_ceil(n_parts)) {
                parts.push((index, chunk.start_of(chunk.keys[start])));
            }
        }
        let cut = |part: usize| match parts.get(part) {
            Some(&(chunk, start)) if part > 0 => b.start_of(a.chunks[chunk].keys[start]),
            Some(_) => (0, 0),
            None => (b.chunks.len(), 0),
        };
        Run::in_chunks(parts.len(), |chunks| {
            pool::run(threads, parts.len(), &|part| {
                let (chunk, start) = parts[part];
                let end = match parts.get(part + 1) {
                    Some(&(next, end)) if next == chunk => end,
                    _ => a.chunks[chunk].keys.len(),
                };
                let one = a.chunks[chunk].slice(start, end);
                let merged = Chunk::merged(one, &b.slices(cut(part), cut(part + 1)), spare);
                if let Ok(mut place) = chunks[part].lock() {
                    *place = merged;
                }
            });
        })
    }

    fn in_chunks(n: usize, work: impl FnOnce(&[Mutex<Chunk<S::Key>>])) -> Run<S> {
        let chunks: Vec<Mutex<Chunk<S::Key>>> = (0..n).map(|_| Mutex::default()).collect();
        work(&chunks);
        let chunks = chunks.into_iter();
        let chunks = chunks.map(|chunk| chunk.into_inner().unwrap_or_default());
        let chunks = chunks.filter(|chunk| !chunk.keys.is_empty()).collect();
        Run { chunks }
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.keys.len()).sum()
    }

    /// Its memory.
    pub fn into_chunks(self) -> Vec<Chunk<S::Key>> {
        self.chunks
    }

    /// The chunk and the place where entries of a score, or else of a lower one, begin.
    fn start_of(&self, key: S::Key) -> (usize, usize) {
        let ends_before = |chunk: &Chunk<S::Key>| chunk.keys.last().is_some_and(|&last| last < key);
        let index = self.chunks.partition_point(ends_before);
        let chunk = self.chunks.get(index);
        (index, chunk.map_or(0, |chunk| chunk.start_of(key)))
    }

    /// The entries between two such places.
    fn slices(&self, from: (usize, usize), to: (usize, usize)) -> Vec<Slice<'_, S::Key>> {
        let part = |index: usize| {
            let chunk = self.chunks.get(index)?;
            let start = if index == from.0 { from.1 } else { 0 };
            let end = if index == to.0 {
                to.1
            } else {
                chunk.keys.len()
            };
            (start < end).then(|| chunk.slice(start, end))
        };
        (from.0..=to.0).filter_map(part).collect()
    }

    /// The same scores in another type, which has all of them.
    pub fn map<T: Score>(&self, convert: impl Fn(S) -> T) -> Run<T> {
        let key = |&key: &S::Key| convert(S::from_key(key)).key();
        let convert = |chunk: &Chunk<S::Key>| Chunk {
            keys: chunk.keys.iter().map(key).collect(),
            counts: chunk.counts.clone(),
        };
        Run {
            chunks: self.chunks.iter().map(convert).collect(),
        }
    }

    /// Each entry's score, positive and negative cases.
    pub fn entries(&self) -> impl Iterator<Item = (S, u16, u16)> {
        self.chunks.iter().flat_map(|chunk| {
            let scores = chunk.keys.iter().map(|&key| S::from_key(key));
            let counts = chunk.counts.iter();
            scores
                .zip(counts)
                .map(|(score, &count)| (score, (count >> 16) as u16, count as u16))
        })
    }

    /// Takes entries as long as they descend, and returns how many.
    pub fn of_entries(scores: &[S], positives: &[u16], negatives: &[u16]) -> (Run<S>, usize) {
        let descends = |pair: &[S]| pair[0].key() <= pair[1].key();
        let len = 1 + scores.windows(2).take_while(|pair| descends(pair)).count();
        let counts = positives.iter().zip(negatives);
        let chunk = Chunk {
            keys: scores[..len].iter().map(|score| score.key()).collect(),
            counts: counts
                .map(|(&p, &n)| u32::from(p) << 16 | u32::from(n))
                .take(len)
                .collect(),
        };
        let chunks = vec![chunk];
        (Run { chunks }, len)
    }

    /// Positive and negative cases.
    pub fn totals(&self) -> (u64, u64) {
        let add = |(p, n), &count| (p + u64::from(count >> 16), n + u64::from(count & 0xffff));
        let counts = self.chunks.iter().flat_map(|chunk| &chunk.counts);
        counts.fold((0, 0), add)
    }

    /// The counts behind the AUC.
    pub fn rank_sum(&self, threads: usize) -> RankSum {
        let sums: Vec<Mutex<RankSum>> = self.chunks.iter().map(|_| Mutex::default()).collect();
        pool::run(threads, sums.len(), &|index| {
            let mut sum = RankSum::default();
            self.chunks[index].groups(|_, p, n| sum.append(RankSum::of_ties(p, n)));
            if let Ok(mut place) = sums[index].lock() {
                *place = sum;
            }
        });
        let mut total = RankSum::default();
        for sum in sums {
            total.append(sum.into_inner().unwrap_or_default());
        }
        total
    }

    /// Shows each distinct score with its positive and negative cases.
    fn groups(&self, mut see: impl FnMut(S::Key, u64, u64)) {
        for chunk in &self.chunks {
            chunk.groups(&mut see);
        }
    }

    /// Average precision; NaN without a positive case. The same bits as from the cases themselves.
    pub fn average_precision(&self) -> f64 {
        let (positives, negatives) = self.totals();
        let first = self.chunks.first().and_then(|chunk| chunk.keys.first());
        let last = self.chunks.last().and_then(|chunk| chunk.keys.last());
        let (Some(&first), Some(&last)) = (first, last) else {
            return f64::NAN;
        };
        let mut sum = Compensated::default();
        if positives + negatives > u64::from(u32::MAX) {
            let (mut tp, mut fp) = (0, 0);
            self.groups(|_, p, n| {
                (tp, fp) = (tp + p, fp + n);
                sum.add(p as f64 * (tp as f64 / (tp + fp) as f64));
            });
            return sum.total() / positives as f64;
        }
        // As many points at a time as the sort of all cases would have put into a bucket.
        let first: u64 = first.into();
        let cases = (positives + negatives) as usize;
        let (shift, _) = bucketing::<S::Flag>(cases, last.into() - first);
        let (mut tps, mut fps) = (Vec::new(), Vec::new());
        let (mut tp, mut fp, mut before, mut bucket) = (0_u32, 0_u32, 0, 0);
        self.groups(|key, p, n| {
            let next = (key.into() - first) >> shift;
            if next != bucket {
                let (tps, fps) = (&mut tps, &mut fps);
                sum.add(Points { tps, fps }.precisions(before));
                (before, bucket) = (tp, next);
                tps.clear();
                fps.clear();
            }
            (tp, fp) = (tp + p as u32, fp + n as u32);
            tps.push(tp);
            fps.push(fp);
        });
        let (tps, fps) = (&tps, &fps);
        sum.add(Points { tps, fps }.precisions(before));
        sum.total() / positives as f64
    }
}

/// Whether neither half of the sum of two counts has a carry.
#[inline(always)]
fn fits(one: u32, other: u32) -> bool {
    let sum = one.wrapping_add(other);
    let carries = (one & other) | ((one | other) & !sum);
    carries & 0x8000_8000 == 0
}

/// Keys and counts.
type Slice<'a, K> = (&'a [K], &'a [u32]);

impl<K: Copy + Default + Ord> Chunk<K> {
    /// Room for entries.
    fn of_size(n: usize, spare: &Spare<K>) -> Chunk<K> {
        let mut chunk = (spare.lock().ok().and_then(|mut spare| spare.pop())).unwrap_or_default();
        chunk.truncate(0);
        chunk.keys.resize(n, K::default());
        chunk.counts.resize(n, 0);
        chunk
    }

    fn truncate(&mut self, n: usize) {
        self.keys.truncate(n);
        self.counts.truncate(n);
    }

    fn start_of(&self, key: K) -> usize {
        self.keys.partition_point(|&other| other < key)
    }

    fn slice(&self, start: usize, end: usize) -> Slice<'_, K> {
        (&self.keys[start..end], &self.counts[start..end])
    }

    #[inline(always)]
    fn groups(&self, mut see: impl FnMut(K, u64, u64)) {
        let mut entries = self.keys.iter().zip(&self.counts);
        let Some((&first, &count)) = entries.next() else {
            return;
        };
        let (mut key, mut p, mut n) = (first, u64::from(count >> 16), u64::from(count & 0xffff));
        for (&next, &count) in entries {
            if next != key {
                see(key, p, n);
                (key, p, n) = (next, 0, 0);
            }
            p += u64::from(count >> 16);
            n += u64::from(count & 0xffff);
        }
        see(key, p, n);
    }

    #[inline(always)]
    fn write(&mut self, place: usize, key: K, count: u32) {
        if let (Some(to), Some(counts)) = (self.keys.get_mut(place), self.counts.get_mut(place)) {
            (*to, *counts) = (key, count);
        }
    }

    fn merged((keys, counts): Slice<'_, K>, others: &[Slice<'_, K>], spare: &Spare<K>) -> Chunk<K> {
        let n = keys.len() + others.iter().map(|other| other.0.len()).sum::<usize>();
        let mut chunk = Chunk::of_size(n, spare);
        let (mut start, mut place) = (0, 0);
        for &other in others {
            let last = other.0.last();
            let end = start + keys[start..].partition_point(|key| Some(key) <= last);
            let one = (&keys[start..end], &counts[start..end]);
            place += merge(
                one,
                other,
                &mut chunk.keys[place..],
                &mut chunk.counts[place..],
            );
            start = end;
        }
        let rest = keys.len() - start;
        chunk.keys[place..place + rest].copy_from_slice(&keys[start..]);
        chunk.counts[place..place + rest].copy_from_slice(&counts[start..]);
        place += rest;
        chunk.truncate(place);
        if place < chunk.keys.capacity() / 4 * 3 {
            chunk.keys.shrink_to_fit();
            chunk.counts.shrink_to_fit();
        }
        chunk
    }
}

/// Merges entries, and returns how many there are. In two halves side by side: each step waits for the
/// one before it, and so the processor has twice as much to do.
fn merge<K: Copy + Ord>(
    one: Slice<'_, K>,
    other: Slice<'_, K>,
    keys: &mut [K],
    counts: &mut [u32],
) -> usize {
    let start_of = |slice: Slice<'_, K>| match one.0.get(one.0.len() / 2) {
        Some(middle) => slice.0.partition_point(|key| key < middle),
        None => 0,
    };
    let (i, j) = (start_of(one), start_of(other));
    let (low_keys, high_keys) = keys.split_at_mut(i + j);
    let (low_counts, high_counts) = counts.split_at_mut(i + j);
    let mut low = Lane {
        one: (&one.0[..i], &one.1[..i]),
        other: (&other.0[..j], &other.1[..j]),
        to: (low_keys, low_counts),
        places: (0, 0, 0),
    };
    let mut high = Lane {
        one: (&one.0[i..], &one.1[i..]),
        other: (&other.0[j..], &other.1[j..]),
        to: (high_keys, high_counts),
        places: (0, 0, 0),
    };
    while low.step() && high.step() {}
    let (used, more) = (low.finish(), high.finish());
    keys.copy_within(i + j..i + j + more, used);
    counts.copy_within(i + j..i + j + more, used);
    used + more
}

/// Two slices on their way into one.
struct Lane<'a, K> {
    one: Slice<'a, K>,
    other: Slice<'a, K>,
    to: (&'a mut [K], &'a mut [u32]),
    places: (usize, usize, usize),
}

impl<K: Copy + Ord> Lane<'_, K> {
    /// Writes an entry; false if one of the slices has none left.
    #[inline(always)]
    fn step(&mut self) -> bool {
        let (i, j, place) = self.places;
        let (Some(&one), Some(&count)) = (self.one.0.get(i), self.one.1.get(i)) else {
            return false;
        };
        let (Some(&other), Some(&more)) = (self.other.0.get(j), self.other.1.get(j)) else {
            return false;
        };
        // Without branches: which comes first is random.
        let takes_one = one <= other;
        let takes_other = (other < one) | ((one == other) & fits(count, more));
        let mask = |takes: bool| u32::from(takes).wrapping_neg();
        if let (Some(key), Some(sum)) = (self.to.0.get_mut(place), self.to.1.get_mut(place)) {
            *key = if takes_one { one } else { other };
            *sum = (count & mask(takes_one)) + (more & mask(takes_other));
        }
        self.places = (
            i + usize::from(takes_one),
            j + usize::from(takes_other),
            place + 1,
        );
        true
    }

    /// Writes what is left, and returns how many entries there are.
    fn finish(mut self) -> usize {
        while self.step() {}
        let (i, j, mut place) = self.places;
        for ((keys, counts), start) in [(self.one, i), (self.other, j)] {
            let end = place + keys.len() - start;
            self.to.0[place..end].copy_from_slice(&keys[start..]);
            self.to.1[place..end].copy_from_slice(&counts[start..]);
            place = end;
        }
        place
    }
}
