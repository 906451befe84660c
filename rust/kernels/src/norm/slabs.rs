//! `(N, C, …)` in row-major order: for each sample, for each channel, a run.
//!
//! All parts are summed before any is written, both in the order of memory. measured: to keep a channel in
//! the second cache between the two saves traffic, but its runs lie a sample apart, and finding them takes
//! longer than reading all of it once more.

use super::moments::{Moments, Runs};
use super::stage::Stage;
use super::{Backward, Forward, Gradient, Normal, Statistics, Sums, runs};
use crate::dtype::Float;
use crate::isa::Isa;
use crate::lanes::LANES;
use crate::pool;
use crate::slots::Slots;

/// Elements of a part, which is summed in their own type: it stays in L1 between its passes.
const PART: usize = 2048;

/// Elements that a thread takes at a time.
const TILE: usize = 64 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slabs {
    batch: usize,
    channels: usize,
    positions: usize,
}

impl Slabs {
    pub(super) fn new(batch: usize, channels: usize, positions: usize) -> Slabs {
        Slabs {
            batch,
            channels,
            positions,
        }
    }

    pub(super) fn channels(&self) -> usize {
        self.channels
    }

    pub(super) fn count(&self) -> usize {
        self.batch * self.positions
    }

    /// Pieces of a run that is longer than a part.
    fn pieces(&self) -> usize {
        self.positions.div_ceil(PART).max(1)
    }

    /// Samples whose runs are one part.
    fn samples(&self) -> usize {
        (PART / self.positions.max(1)).max(1)
    }

    /// How many parts a channel has.
    fn parts(&self) -> usize {
        match self.count() {
            0 => 0,
            _ => self.batch.div_ceil(self.samples()) * self.pieces(),
        }
    }

    /// Where a part of a channel begins, and its runs.
    fn part(&self, channel: usize, part: usize) -> (usize, Runs) {
        let pitch = self.channels * self.positions;
        let samples = self.samples();
        let sample = part / self.pieces() * samples;
        // Equal pieces of whole strips, but for the last.
        let piece = self
            .positions
            .div_ceil(self.pieces())
            .next_multiple_of(LANES);
        let start = part % self.pieces() * piece;
        let runs = Runs {
            rows: samples.min(self.batch - sample),
            cols: piece.min(self.positions.saturating_sub(start)),
            pitch,
        };
        (sample * pitch + channel * self.positions + start, runs)
    }

    /// Reduces every part, and puts a channel's parts together in their order.
    fn reduce<P: Copy + Default + Send, F>(
        &self,
        threads: usize,
        stage: &(impl Fn() -> Stage<F> + Sync),
        part: &(impl Fn(&mut Stage<F>, usize, usize, Runs) -> P + Sync),
        merge: impl Fn(&mut P, &P),
    ) -> Vec<P> {
        let parts = self.parts();
        let places = Slots::new(self.channels * parts, P::default);
        self.each_part(threads, stage, &|stage, channel, number, at, runs| {
            let reduced = part(stage, channel, at, runs);
            // SAFETY: the place is this part's alone.
            unsafe { places.set(channel * parts + number, reduced) };
        });
        let places = places.into_values();
        let of_channel = |channel| {
            let mut all = P::default();
            for part in &places[channel * parts..(channel + 1) * parts] {
                merge(&mut all, part);
            }
            all
        };
        (0..self.channels).map(of_channel).collect()
    }

    /// Calls `task` for every part of every channel, in the order of memory, a tile a thread: with the
    /// channel, the part's number in it, where it begins, and its runs.
    fn each_part<F>(
        &self,
        threads: usize,
        stage: &(impl Fn() -> Stage<F> + Sync),
        task: &(impl Fn(&mut Stage<F>, usize, usize, usize, Runs) + Sync),
    ) {
        const TILE_PARTS: usize = TILE / PART;
        let all = self.channels * self.parts();
        let pieces = self.pieces();
        pool::run(threads, all.div_ceil(TILE_PARTS), &|index| {
            let mut stage = stage();
            for place in index * TILE_PARTS..all.min((index + 1) * TILE_PARTS) {
                // Samples outside, then channels, then the pieces of a run.
                let (run, piece) = (place / pieces, place % pieces);
                let (samples, channel) = (run / self.channels, run % self.channels);
                let number = samples * pieces + piece;
                let (at, runs) = self.part(channel, number);
                task(&mut stage, channel, number, at, runs);
            }
        });
    }

    /// # Safety
    /// As for [`super::forward`].
    pub(super) unsafe fn forward<F: Float>(
        &self,
        isa: Isa,
        threads: usize,
        job: &Forward,
        given: Option<&[Statistics]>,
    ) -> Vec<Statistics> {
        let stage = || Stage::<F>::new(isa, job.dtype, self.channels * self.count());
        let found = match given {
            Some(given) => given.to_vec(),
            None => {
                let moments = |stage: &mut Stage<F>, _, at, runs| {
                    // SAFETY: the part lies in the input.
                    unsafe {
                        stage.with(at, runs, [job.input], [], |[x], [], runs| {
                            runs::moments(isa, x, runs)
                        })
                    }
                };
                let all = self.reduce(threads, &stage, &moments, Moments::merge);
                all.iter().map(Moments::statistics).collect()
            }
        };
        let channels = found.iter().enumerate();
        let normals: Vec<Normal<F>> = channels
            .map(|(channel, statistics)| job.normal(channel, statistics))
            .collect();
        self.each_part(threads, &stage, &|stage, channel, _, at, runs| {
            let (inputs, normal) = ([job.input, job.residual], &normals[channel]);
            // SAFETY: the part lies in all buffers, and is this call's alone.
            unsafe {
                stage.with(at, runs, inputs, [job.output], |[x, r], [y], runs| {
                    runs::normalise(isa, x, r, y, runs, normal, job.relu);
                });
            }
        });
        found
    }

    /// # Safety
    /// As for [`super::backward`].
    pub(super) unsafe fn backward<F: Float>(
        &self,
        isa: Isa,
        threads: usize,
        job: &Backward,
    ) -> Vec<Sums> {
        let stage = || Stage::<F>::new(isa, job.dtype, self.channels * self.count());
        let mask = job.mask();
        let normals: Vec<Normal<F>> = (0..self.channels)
            .map(|channel| job.normal(channel))
            .collect();
        let write = |stage: &mut Stage<F>, gradients: &[Gradient<F>], channel: usize, at, runs| {
            let outputs = [job.grad_input, job.grad_residual];
            let (normal, gradient) = (&normals[channel], &gradients[channel]);
            // SAFETY: the part lies in all buffers, and is this call's alone.
            unsafe {
                stage.with(at, runs, job.inputs(), outputs, |inputs, outputs, runs| {
                    runs::gradient(isa, inputs, outputs, runs, normal, gradient, mask);
                });
            }
        };
        let at_once: Option<Vec<Gradient<F>>> = job
            .writes_at_once()
            .then(|| job.gradients(self.channels, self.count(), &[]));
        let mut found = Vec::new();
        if job.needs_sums() {
            let sums = |stage: &mut Stage<F>, channel: usize, at, runs| {
                // SAFETY: the part lies in all buffers.
                let sums = unsafe {
                    stage.with(at, runs, job.inputs(), [], |[x, dy, y], [], runs| {
                        runs::sums(isa, x, dy, y, runs, &normals[channel], mask)
                    })
                };
                if let Some(gradients) = &at_once {
                    write(stage, gradients, channel, at, runs);
                }
                sums
            };
            let all = self.reduce(threads, &stage, &sums, |all: &mut Sums, part| {
                all.grads += part.grads;
                all.products += part.products;
            });
            let channels = all.iter().enumerate();
            found = channels
                .map(|(channel, sums)| job.centered::<F>(channel, sums))
                .collect();
        }
        if at_once.is_some() || !job.writes() {
            return found;
        }
        let gradients = job.gradients(self.channels, self.count(), &found);
        self.each_part(threads, &stage, &|stage, channel, _, at, runs| {
            write(stage, &gradients, channel, at, runs);
        });
        found
    }
}
