//! Scores that come part by part, kept exactly.
//!
//! Cases are gathered as they come; when there are many they are sorted into a [`Run`], and runs of
//! about one size are merged, as in a log-structured tree (O'Neil et al. 1996): a case is moved once for
//! every doubling. What is kept is a multiset, so that neither the order nor the parts matter.

use std::sync::{Arc, Mutex};

use super::BadInput;
use super::auc::RankSum;
use super::run::{Run, Spare};
use super::sort::{Layout, Sortable, key_range};
use super::truth::{Cases, Truth};
use crate::memory::Buffer;

/// A multiset of scores and classes.
#[derive(Clone)]
#[allow(private_bounds)]
pub struct Stream<S: Sortable> {
    scores: Vec<S>,
    /// 0 for a positive case, 1 for a negative one.
    flags: Vec<u8>,
    /// The largest first.
    runs: Vec<Arc<Run<S>>>,
    memory: Memory<S>,
    /// Cases that are gathered before they are sorted.
    gathered: usize,
}

/// What sorting and merging need, kept for the next time.
struct Memory<S: Sortable> {
    items: Buffer<<S::Flag as Layout>::Item>,
    spare: Spare<S::Key>,
    flags: Vec<u8>,
}

impl<S: Sortable> Default for Memory<S> {
    fn default() -> Memory<S> {
        Memory {
            items: Buffer::default(),
            spare: Mutex::default(),
            flags: Vec::new(),
        }
    }
}

impl<S: Sortable> Clone for Memory<S> {
    /// A copy has its own.
    fn clone(&self) -> Memory<S> {
        Memory::default()
    }
}

#[allow(private_bounds)]
impl<S: Sortable> Stream<S> {
    /// Nothing yet; `gathered` cases are sorted at a time.
    pub fn new(gathered: usize) -> Stream<S> {
        Stream {
            scores: Vec::new(),
            flags: Vec::new(),
            runs: Vec::new(),
            memory: Memory::default(),
            gathered: gathered.clamp(1, 1 << 30),
        }
    }

    /// Adds cases; none of them if a score is not finite or a label unknown.
    pub fn add(&mut self, threads: usize, scores: &[S], truth: &dyn Truth) -> Result<(), BadInput> {
        // The labels of so many cases are read once; of more, a chunk of them twice.
        const CHUNK: usize = 1 << 22;
        key_range(threads, scores, false, &mut || true)?;
        let n = scores.len();
        let mut flags = std::mem::take(&mut self.memory.flags);
        flags.resize(CHUNK.min(n), 0);
        let chunks = || {
            (0..n)
                .step_by(CHUNK)
                .map(|start| start..n.min(start + CHUNK))
        };
        if !chunks().all(|chunk| truth.flags(chunk.start, &mut flags[..chunk.len()])) {
            return Err(BadInput::Label);
        }
        for chunk in chunks() {
            if n > CHUNK {
                truth.flags(chunk.start, &mut flags[..chunk.len()]);
            }
            let mut start = 0;
            while start < chunk.len() {
                let room = self.gathered.saturating_sub(self.scores.len()).max(1);
                let end = chunk.len().min(start + room);
                self.flags.extend_from_slice(&flags[start..end]);
                let (start_, end_) = (chunk.start + start, chunk.start + end);
                self.scores.extend_from_slice(&scores[start_..end_]);
                if self.scores.len() >= self.gathered {
                    self.sort(threads)?;
                }
                start = end;
            }
        }
        self.memory.flags = flags;
        Ok(())
    }

    /// Adds what another stream has.
    pub fn merge(&mut self, threads: usize, other: &Stream<S>) -> Result<(), BadInput> {
        for run in &other.runs {
            self.push(threads, Arc::clone(run));
        }
        self.add(threads, &other.scores, &cases(&other.flags))
    }

    /// Sorts what has been gathered.
    fn sort(&mut self, threads: usize) -> Result<(), BadInput> {
        if !self.scores.is_empty() {
            let Memory { items, spare, .. } = &mut self.memory;
            let run = Run::sorted(threads, &self.scores, &cases(&self.flags), items, spare)?;
            self.scores.clear();
            self.flags.clear();
            self.push(threads, Arc::new(run));
        }
        Ok(())
    }

    fn push(&mut self, threads: usize, run: Arc<Run<S>>) {
        self.runs.push(run);
        while let [.., large, small] = &self.runs[..]
            && large.len() < 2 * small.len()
        {
            self.join(threads);
        }
    }

    /// Merges the last two runs.
    fn join(&mut self, threads: usize) {
        if let (Some(small), Some(large)) = (self.runs.pop(), self.runs.pop()) {
            let spare = &mut self.memory.spare;
            let merged = Run::merged(threads, &large, &small, spare);
            self.runs.push(Arc::new(merged));
            // Unless another stream has them too.
            if let Ok(spare) = spare.get_mut() {
                let free = [large, small].into_iter().filter_map(Arc::into_inner);
                spare.extend(free.flat_map(Run::into_chunks));
            }
        }
    }

    /// All as one run; `None` if there is nothing.
    fn whole(&mut self, threads: usize) -> Result<Option<&Run<S>>, BadInput> {
        self.sort(threads)?;
        while self.runs.len() > 1 {
            self.join(threads);
        }
        self.memory = Memory::default();
        Ok(self.runs.first().map(|run| &**run))
    }

    /// The counts behind the AUC.
    pub fn rank_sum(&mut self, threads: usize) -> Result<RankSum, BadInput> {
        let whole = self.whole(threads)?;
        Ok(whole.map(|run| run.rank_sum(threads)).unwrap_or_default())
    }

    /// Average precision; NaN without a positive case.
    pub fn average_precision(&mut self, threads: usize) -> Result<f64, BadInput> {
        let whole = self.whole(threads)?;
        Ok(whole.map_or(f64::NAN, Run::average_precision))
    }

    /// The scores, descending, with their positive and negative cases; a score of more than 65,535 of a
    /// class comes several times.
    #[allow(clippy::type_complexity)]
    pub fn entries(&mut self, threads: usize) -> Result<(Vec<S>, Vec<u16>, Vec<u16>), BadInput> {
        let whole = self.whole(threads)?;
        let len = whole.map_or(0, Run::len);
        let mut columns = (
            Vec::with_capacity(len),
            Vec::with_capacity(len),
            Vec::with_capacity(len),
        );
        for (score, positive, negative) in whole.into_iter().flat_map(Run::entries) {
            columns.0.push(score);
            columns.1.push(positive);
            columns.2.push(negative);
        }
        Ok(columns)
    }

    /// Adds entries in any order: those of several streams, one after another, say.
    pub fn add_entries(
        &mut self,
        threads: usize,
        mut scores: &[S],
        mut positives: &[u16],
        mut negatives: &[u16],
    ) -> Result<(), BadInput> {
        assert!(scores.len() == positives.len() && scores.len() == negatives.len());
        key_range(threads, scores, false, &mut || true)?;
        while !scores.is_empty() {
            let (run, len) = Run::of_entries(scores, positives, negatives);
            self.push(threads, Arc::new(run));
            (scores, positives, negatives) = (&scores[len..], &positives[len..], &negatives[len..]);
        }
        Ok(())
    }
}

impl Stream<f32> {
    /// The same scores as f64.
    pub fn widened(&self) -> Stream<f64> {
        let runs = self.runs.iter();
        Stream {
            scores: self.scores.iter().copied().map(f64::from).collect(),
            flags: self.flags.clone(),
            runs: runs.map(|run| Arc::new(run.map(f64::from))).collect(),
            memory: Memory::default(),
            gathered: self.gathered,
        }
    }
}

fn cases(flags: &[u8]) -> Cases<'_, u8> {
    Cases {
        labels: flags,
        positive: 0,
        negative: Some(1),
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::metrics::{average_precision, rank_sum};

    proptest! {
        #[test]
        fn any_parts_are_the_whole(
            parts in vec(vec((-9..9_i8, 0..2_u8), 0..80), 1..12),
            gathered in 1..60_usize,
            threads in 1..3_usize,
        ) {
            let (mut streams, mut all, mut all_flags) =
                ([Stream::new(gathered), Stream::new(gathered)], vec![], vec![]);
            for (index, part) in parts.iter().enumerate() {
                let scores: Vec<f32> = part.iter().map(|case| f32::from(case.0) / 3.0).collect();
                let flags: Vec<u8> = part.iter().map(|case| case.1).collect();
                streams[index % 2].add(threads, &scores, &cases(&flags)).unwrap();
                all.extend(scores);
                all_flags.extend(flags);
            }
            let [mut one, other] = streams;
            one.merge(threads, &other).unwrap();
            let expected = rank_sum(1, &all, &cases(&all_flags), false, &mut || true).unwrap();
            prop_assert_eq!(one.rank_sum(threads).unwrap(), expected);
            let (precision, _) = average_precision(1, &all, &cases(&all_flags), false, &mut || true).unwrap();
            let found = one.average_precision(threads).unwrap();
            prop_assert!(found == precision || (found.is_nan() && precision.is_nan()));
            let mut wide = one.widened();
            prop_assert_eq!(wide.rank_sum(threads).unwrap(), expected);
            let (scores, positives, negatives) = wide.entries(threads).unwrap();
            let mut again = Stream::new(gathered);
            again.add_entries(threads, &scores, &positives, &negatives).unwrap();
            prop_assert_eq!(again.rank_sum(threads).unwrap(), expected);
        }
    }

    #[test]
    fn a_count_beyond_16_bits_is_kept() {
        let mut stream = Stream::new(40_000);
        let (scores, flags) = (vec![0.5_f32; 300_000], vec![1; 300_000]);
        stream.add(2, &scores, &cases(&flags)).unwrap();
        stream.add(2, &[0.5, 0.25], &cases(&[0, 0])).unwrap();
        let sum = stream.rank_sum(2).unwrap();
        assert_eq!(
            (sum.two_u, sum.positives, sum.negatives),
            (300_000, 2, 300_000)
        );
        assert!(stream.entries(2).unwrap().0.len() < 20);
    }
}
