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
        let piece = self.positions.div_ceil(self.pieces()).next_multiple_of(32);
        let start = part % self.pieces() * piece;
        let runs = Runs {
            rows: samples.min(self.batch - sample),
            cols: piece.min(self.positions.saturating_sub(start)),
            pitch,
        };
        (sample * pitch + channel * self.positions + start, runs)
    }

    /// Reduces every channel, and writes every part with what was made of its channel's result.
    #[allow(clippy::too_many_arguments)]
    fn in_two_passes<P: Copy + Default + Send + Sync, C: Sync, F: Float>(
        &self,
        threads: usize,
        stage: &(impl Fn() -> Stage<F> + Sync),
        reduce: &(impl Fn(&mut Stage<F>, usize, usize) -> P + Sync),
        merge: &(impl Fn(&mut P, &P) + Sync),
        finish: &(impl Fn(usize, &P) -> C + Sync),
        write: &(impl Fn(&mut Stage<F>, usize, usize, &C) + Sync),
    ) {
        let parts = self.parts();
        let places = Slots::new(self.channels * parts, P::default);
        self.each_part(threads, stage, &|stage, channel, part| {
            let reduced = reduce(stage, channel, part);
            // SAFETY: the place is this part's alone.
            unsafe { places.set(channel * parts + part, reduced) };
        });
        let places = places.into_values();
        let of_channel: Vec<C> = (0..self.channels)
            .map(|channel| {
                let mut all = P::default();
                for part in &places[channel * parts..(channel + 1) * parts] {
                    merge(&mut all, part);
                }
                finish(channel, &all)
            })
            .collect();
        self.each_part(threads, stage, &|stage, channel, part| {
            write(stage, channel, part, &of_channel[channel]);
        });
    }

    /// Calls `task` for every part of every channel, in the order of memory, a tile a thread.
    fn each_part<F>(
        &self,
        threads: usize,
        stage: &(impl Fn() -> Stage<F> + Sync),
        task: &(impl Fn(&mut Stage<F>, usize, usize) + Sync),
    ) {
        let all = self.channels * self.parts();
        let tile = (TILE / PART).max(1);
        let pieces = self.pieces();
        pool::run(threads, all.div_ceil(tile), &|index| {
            let mut stage = stage();
            for place in index * tile..all.min((index + 1) * tile) {
                // Samples outside, then channels, then the pieces of a run.
                let (run, piece) = (place / pieces, place % pieces);
                let (samples, channel) = (run / self.channels, run % self.channels);
                task(&mut stage, channel, samples * pieces + piece);
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
        let write = |stage: &mut Stage<F>, channel: usize, part: usize, normal: &Normal<F>| {
            let (at, runs) = self.part(channel, part);
            // SAFETY: the part lies in all buffers, and is this call's alone.
            unsafe {
                stage.with(
                    at,
                    runs,
                    [job.input, job.residual],
                    [job.output],
                    |[x, r], [y], runs| {
                        runs::normalise(isa, x, r, y, runs, normal, job.relu);
                    },
                );
            }
        };
        if let Some(given) = given {
            let channels = given.iter().enumerate();
            let normals: Vec<Normal<F>> = channels
                .map(|(channel, given)| job.normal(channel, given))
                .collect();
            self.each_part(threads, &stage, &|stage, channel, part| {
                write(stage, channel, part, &normals[channel]);
            });
            return given.to_vec();
        }
        let found = Slots::new(self.channels, Statistics::default);
        self.in_two_passes(
            threads,
            &stage,
            &|stage, channel, part| {
                let (at, runs) = self.part(channel, part);
                // SAFETY: the part lies in the input.
                unsafe {
                    stage.with(at, runs, [job.input], [], |[x], [], runs| {
                        runs::moments(isa, x, runs)
                    })
                }
            },
            &Moments::merge,
            &|channel, all| {
                let statistics = all.statistics();
                // SAFETY: a channel is finished once.
                unsafe { found.set(channel, statistics) };
                job.normal(channel, &statistics)
            },
            &write,
        );
        found.into_values()
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
        let count = self.count() as f64;
        let normals: Vec<Normal<F>> = (0..self.channels)
            .map(|channel| job.normal(channel))
            .collect();
        let write = |stage: &mut Stage<F>, channel: usize, part: usize, gradient: &Gradient<F>| {
            let (at, runs) = self.part(channel, part);
            let outputs = [job.grad_input, job.grad_residual];
            // SAFETY: the part lies in all buffers, and is this call's alone.
            unsafe {
                stage.with(at, runs, job.inputs(), outputs, |inputs, outputs, runs| {
                    runs::gradient(
                        isa,
                        inputs,
                        outputs,
                        runs,
                        &normals[channel],
                        gradient,
                        mask,
                    );
                });
            }
        };
        if !job.needs_sums() {
            let none = Sums::default();
            let gradients = (0..self.channels).map(|channel| job.gradient(count, channel, &none));
            let gradients: Vec<Gradient<F>> = gradients.collect();
            self.each_part(threads, &stage, &|stage, channel, part| {
                write(stage, channel, part, &gradients[channel]);
            });
            return Vec::new();
        }
        let found = Slots::new(self.channels, Sums::default);
        self.in_two_passes(
            threads,
            &stage,
            &|stage, channel, part| {
                let (at, runs) = self.part(channel, part);
                // SAFETY: the part lies in all buffers.
                unsafe {
                    stage.with(at, runs, job.inputs(), [], |[x, dy, y], [], runs| {
                        runs::sums(isa, x, dy, y, runs, &normals[channel], mask)
                    })
                }
            },
            &|all: &mut Sums, part| {
                all.grads += part.grads;
                all.products += part.products;
            },
            &|channel, all| {
                let sums = job.centered::<F>(channel, all);
                // SAFETY: a channel is finished once.
                unsafe { found.set(channel, sums) };
                job.gradient(count, channel, &sums)
            },
            &|stage, channel, part, gradient| {
                if job.writes() {
                    write(stage, channel, part, gradient);
                }
            },
        );
        found.into_values()
    }
}
