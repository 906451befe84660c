//! `(N, C)`, and channels_last: rows with an element of each channel.
//!
//! All is summed before any is written. A tile of rows is summed as a whole by one thread, and the tiles'
//! results are put together in their order; the tiles depend on the shape alone.

use super::columns::{self, Columns};
use super::moments::{Runs, merge};
use super::stage::Stage;
use super::{Backward, Forward, Gradient, Statistics, Sums};
use crate::dtype::Float;
use crate::isa::Isa;
use crate::lanes::LANES;
use crate::pool;
use crate::slots::Slots;

/// Elements that are summed in their own type: they stay in the first cache between the two passes.
const PART: usize = 8192;

/// Rows of a part: a sum in the elements' own type adds up no more than the last, and what a part costs
/// for each column is shared by the first.
const PART_ROWS: std::ops::RangeInclusive<usize> = 32..=64;

/// Elements that are written at a time: copies of two inputs and two outputs stay in the first cache.
const WRITTEN: usize = 1024;

/// Elements of a tile, and the rows that it has at least.
const TILE: usize = 64 * 1024;
const TILE_ROWS: usize = 128;

/// Columns of a tile, at most.
const PANEL: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rows {
    rows: usize,
    channels: usize,
}

/// Rows that are put together, from column `first` on.
#[derive(Clone, Copy, Debug)]
struct Tile {
    at: usize,
    first: usize,
    runs: Runs,
}

/// Some rows of a tile, and how many of its rows come before.
struct Part {
    at: usize,
    runs: Runs,
    first: usize,
    done: usize,
}

/// How many rows are written at a time.
fn written_rows(runs: Runs) -> usize {
    (WRITTEN / runs.cols.max(1)).max(1)
}

impl Rows {
    pub(super) fn new(rows: usize, channels: usize) -> Rows {
        Rows { rows, channels }
    }

    pub(super) fn channels(&self) -> usize {
        self.channels
    }

    pub(super) fn count(&self) -> usize {
        self.rows
    }

    /// How many rows are taken as one: short ones until they are whole strips.
    fn folded(&self) -> usize {
        // So many sums at a time hide what an addition and its way through memory take.
        const LONG: usize = 4 * LANES;
        if self.channels == 0 || self.channels >= LONG {
            return 1;
        }
        let mut folded = LANES >> self.channels.trailing_zeros().min(LANES.ilog2());
        while self.channels * folded < LONG {
            folded *= 2;
        }
        if self.rows < folded { 1 } else { folded }
    }

    /// The tiles; rows that are left over from the folded ones are the last.
    fn tiles(&self) -> Vec<Tile> {
        let folded = self.folded();
        let width = self.channels * folded;
        let rows = self.rows / folded;
        let tile_rows = (TILE / width.max(1)).max(TILE_ROWS);
        let mut tiles = Vec::new();
        for row in (0..rows).step_by(tile_rows) {
            for first in (0..width).step_by(PANEL) {
                tiles.push(Tile {
                    at: row * width + first,
                    first,
                    runs: Runs {
                        rows: tile_rows.min(rows - row),
                        cols: PANEL.min(width - first),
                        pitch: width,
                    },
                });
            }
        }
        if !self.rows.is_multiple_of(folded) {
            tiles.push(Tile {
                at: rows * width,
                first: 0,
                runs: Runs {
                    rows: self.rows - rows * folded,
                    cols: self.channels,
                    pitch: self.channels,
                },
            });
        }
        tiles
    }

    /// Calls `part` for the parts of a tile of so many rows: its first element, its rows.
    fn parts(tile: &Tile, part_rows: usize, mut part: impl FnMut(usize, Runs)) {
        let Runs { rows, pitch, .. } = tile.runs;
        for row in (0..rows).step_by(part_rows) {
            let runs = Runs {
                rows: part_rows.min(rows - row),
                ..tile.runs
            };
            part(tile.at + row * pitch, runs);
        }
    }

    /// Reduces every tile to two lists of its columns, and these to two of the channels: `merge` gets
    /// lists, their count of rows, and those that are merged into them.
    fn reduce<F: Float>(
        &self,
        threads: usize,
        tiles: &[Tile],
        stage: &(impl Fn() -> Stage<F> + Sync),
        part: &(impl Fn(&mut Stage<F>, &mut Vec<F>, &Part, &mut [Vec<f64>; 2]) + Sync),
        merge: &impl Fn(f64, [&mut [f64]; 2], f64, [&[f64]; 2]),
    ) -> [Vec<f64>; 2] {
        let places = Slots::new(tiles.len(), <[Vec<f64>; 2]>::default);
        pool::run(threads, tiles.len(), &|index| {
            let tile = &tiles[index];
            let mut stage = stage();
            let mut lists = [vec![0.0; tile.runs.cols], vec![0.0; tile.runs.cols]];
            let (mut done, mut scratch) = (0, Vec::new());
            let part_rows = PART / tile.runs.cols.max(1);
            let part_rows = part_rows.clamp(*PART_ROWS.start(), *PART_ROWS.end());
            Self::parts(tile, part_rows, |at, runs| {
                let piece = Part {
                    at,
                    runs,
                    first: tile.first,
                    done,
                };
                part(&mut stage, &mut scratch, &piece, &mut lists);
                done += runs.rows;
            });
            // SAFETY: the place is this tile's alone.
            unsafe { places.set(index, lists) };
        });
        let folded = self.folded();
        let width = self.channels * folded;
        let mut wide = [vec![0.0; width], vec![0.0; width]];
        let mut of_channel = [vec![0.0; self.channels], vec![0.0; self.channels]];
        let mut count = 0.0;
        let mut fold = |wide: &mut [Vec<f64>; 2], rows: f64| {
            for fold in 0..folded {
                let columns = fold * self.channels..(fold + 1) * self.channels;
                let part = wide.each_ref().map(|list| &list[columns.clone()]);
                merge(
                    count,
                    of_channel.each_mut().map(|list| &mut list[..]),
                    rows,
                    part,
                );
                count += rows;
            }
        };
        let mut done = 0;
        for (tile, part) in tiles.iter().zip(places.into_values()) {
            let rows = tile.runs.rows;
            if tile.runs.pitch != width {
                fold(&mut wide, done as f64);
                merge(
                    count,
                    of_channel.each_mut().map(|list| &mut list[..]),
                    rows as f64,
                    part.each_ref().map(|list| &list[..]),
                );
                return of_channel;
            }
            let columns = tile.first..tile.first + tile.runs.cols;
            let lists = wide.each_mut().map(|list| &mut list[columns.clone()]);
            merge(
                done as f64,
                lists,
                rows as f64,
                part.each_ref().map(|list| &list[..]),
            );
            if columns.end == width {
                done += rows;
            }
        }
        fold(&mut wide, done as f64);
        of_channel
    }

    /// Calls `task` for every part of every tile, a tile a thread.
    fn each_part<F: Float>(
        &self,
        threads: usize,
        tiles: &[Tile],
        stage: &(impl Fn() -> Stage<F> + Sync),
        task: &(impl Fn(&mut Stage<F>, usize, Runs, usize) + Sync),
    ) {
        pool::run(threads, tiles.len(), &|index| {
            let mut stage = stage();
            let tile = &tiles[index];
            Self::parts(tile, written_rows(tile.runs), |at, runs| {
                task(&mut stage, at, runs, tile.first)
            });
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
        let tiles = self.tiles();
        let stage = || Stage::<F>::new(isa, job.dtype, self.rows * self.channels);
        let found = match given {
            Some(given) => given.to_vec(),
            None => {
                let [means, squares] = self.reduce(
                    threads,
                    &tiles,
                    &stage,
                    &|stage, scratch, part, [means, squares]| {
                        // SAFETY: the rows lie in the input.
                        unsafe {
                            stage.with(part.at, part.runs, [job.input], [], |[x], [], runs| {
                                columns::moments(isa, x, runs, part.done, means, squares, scratch);
                            });
                        }
                    },
                    &|count, [means, squares], rows, part| {
                        merge(count, means, squares, rows, part[0], part[1]);
                    },
                );
                let channels = means.into_iter().zip(squares);
                let statistics = |(mean, squares): (f64, f64)| Statistics {
                    mean,
                    variance: squares / self.rows as f64,
                };
                channels.map(statistics).collect()
            }
        };
        let normals: Vec<[F; 3]> = (0..self.channels)
            .map(|channel| job.normal(channel, &found[channel]).numbers())
            .collect();
        let normals = Columns::new(&normals, self.folded());
        self.each_part(threads, &tiles, &stage, &|stage, at, runs, first| {
            // SAFETY: the rows lie in all buffers, and are this call's alone.
            unsafe {
                stage.with(
                    at,
                    runs,
                    [job.input, job.residual],
                    [job.output],
                    |[x, r], [y], runs| {
                        columns::normalise(isa, x, r, y, runs, first, &normals, job.relu);
                    },
                );
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
        let tiles = self.tiles();
        let stage = || Stage::<F>::new(isa, job.dtype, self.rows * self.channels);
        let mask = job.mask();
        let normals: Vec<[F; 3]> = (0..self.channels)
            .map(|channel| job.normal(channel).numbers())
            .collect();
        let normals = Columns::new(&normals, self.folded());
        let columns_of = |sums: &[Sums]| {
            let gradients: Vec<Gradient<F>> = job.gradients(self.channels, self.rows, sums);
            let gradients: Vec<[F; 4]> = gradients.iter().map(Gradient::numbers).collect();
            Columns::new(&gradients, self.folded())
        };
        let write = |stage: &mut Stage<F>, gradients: &Columns<F, 4>, at, runs, first| {
            let outputs = [job.grad_input, job.grad_residual];
            // SAFETY: the rows lie in all buffers, and are this call's alone.
            unsafe {
                stage.with(at, runs, job.inputs(), outputs, |inputs, outputs, runs| {
                    columns::gradient(isa, inputs, outputs, runs, first, &normals, gradients, mask);
                });
            }
        };
        let at_once = job.writes_at_once().then(|| columns_of(&[]));
        let mut found = Vec::new();
        if job.needs_sums() {
            let [grads, products] = self.reduce(
                threads,
                &tiles,
                &stage,
                &|stage, scratch, part, [grads, products]| {
                    // SAFETY: the rows lie in all buffers.
                    unsafe {
                        stage.with(part.at, part.runs, job.inputs(), [], |inputs, [], runs| {
                            columns::sums(
                                isa, inputs, runs, part.first, &normals, mask, grads, products,
                                scratch,
                            );
                        });
                    }
                    if let Some(gradients) = &at_once {
                        let (first, at, runs) = (part.first, part.at, part.runs);
                        Self::parts(&Tile { at, first, runs }, written_rows(runs), |at, runs| {
                            write(stage, gradients, at, runs, first);
                        });
                    }
                },
                &|_, lists, _, parts| {
                    for (list, part) in lists.into_iter().zip(parts) {
                        list.iter_mut()
                            .zip(part)
                            .for_each(|(sum, part)| *sum += part);
                    }
                },
            );
            let channels = grads.into_iter().zip(products).enumerate();
            found = channels
                .map(|(channel, (grads, products))| {
                    job.centered::<F>(channel, &Sums { grads, products })
                })
                .collect();
        }
        if at_once.is_some() || !job.writes() {
            return found;
        }
        let gradients = columns_of(&found);
        self.each_part(threads, &tiles, &stage, &|stage, at, runs, first| {
            write(stage, &gradients, at, runs, first);
        });
        found
    }
}
