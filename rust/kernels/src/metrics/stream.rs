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
    items: Vec<<S::Flag as Layout>::Item>,
    spare: Spare<S::Key>,
}

impl<S: Sortable> Default for Memory<S> {
    fn default() -> Memory<S> {
        Memory {
            items: Vec::new(),
            spare: Mutex::default(),
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
        const CHUNK: usize = 1 << 16;
        key_range(threads, scores, false)?;
        let mut flags = vec![0; CHUNK.min(scores.len())];
        let starts = || (0..scores.len()).step_by(CHUNK);
        let size = |start: usize| CHUNK.min(scores.len() - start);
        let one = scores.len() <= CHUNK;
        for start in starts() {
            if !truth.flags(start, &mut flags[..size(start)]) {
                return Err(BadInput::Label);
            }
        }
        for start in starts() {
            let flags = &mut flags[..size(start)];
            if !one {
                truth.flags(start, flags);
            }
            self.scores
                .extend_from_slice(&scores[start..start + flags.len()]);
            self.flags.extend_from_slice(flags);
            if self.scores.len() >= self.gathered {
                self.sort(threads)?;
            }
        }
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
            let Memory { items, spare } = &mut self.memory;
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
        key_range(threads, scores, false)?;
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
