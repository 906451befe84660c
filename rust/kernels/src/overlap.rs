//! Finds buffers that share memory where at least one of them is written.
//!
//! Almost always no two buffers' address ranges meet, and that is all that is asked: in an order
//! remembered from the last time (buffers seldom move), so that it costs one pass. Only ranges that
//! meet are compared element by element, so interleaved slices that share nothing are told apart.

use std::ops::Range;

use crate::work::View;

/// The memory of one buffer.
#[derive(Clone, Debug)]
pub struct Extent {
    first: usize,
    end: usize,
    written: bool,
    /// Where its elements lie in between, if not one after another.
    gaps: Option<Box<Gaps>>,
}

/// Runs of bytes that begin at the first address and at each sum of multiples of the steps.
#[derive(Clone, Debug)]
struct Gaps {
    width: usize,
    /// Size and step in bytes, of the dimensions that lead to other addresses; ascending steps.
    dims: Vec<(usize, usize)>,
    /// Whether some dimension leads to the same address again.
    repeats: bool,
}

impl Extent {
    /// The extent of `view`, which the job writes or only reads.
    pub fn new(view: &View, written: bool) -> Extent {
        let mut width = view.dtype.size();
        let mut first = view.data.addr();
        if view.is_contiguous() || view.is_empty() {
            return Extent {
                first,
                end: first + view.len() * width,
                written,
                gaps: None,
            };
        }
        let mut repeats = false;
        let mut dims = Vec::with_capacity(view.shape.len());
        for (&size, &stride) in view.shape.iter().zip(view.strides) {
            let (size, step) = (size as usize, stride as isize * width as isize);
            if size < 2 {
                continue;
            }
            if step < 0 {
                first = first.wrapping_add_signed(step * (size - 1) as isize);
            }
            if step == 0 {
                repeats = true;
            } else {
                dims.push((size, step.unsigned_abs()));
            }
        }
        dims.sort_unstable_by_key(|&(_, step)| step);
        let adjoining = dims.iter().take_while(|&&(size, step)| {
            let adjoins = step == width;
            width *= if adjoins { size } else { 1 };
            adjoins
        });
        let merged = adjoining.count();
        dims.drain(..merged);
        let reach: usize = dims.iter().map(|&(size, step)| (size - 1) * step).sum();
        Extent {
            first,
            end: first + reach + width,
            written,
            gaps: Some(Box::new(Gaps {
                width,
                dims,
                repeats,
            })),
        }
    }

    /// Whether two indices may lead to one address: not if each step is longer than what all
    /// shorter ones reach together.
    fn may_fold(&self) -> bool {
        let Some(gaps) = &self.gaps else {
            return false;
        };
        if gaps.repeats {
            return true;
        }
        let mut reach = gaps.width - 1;
        gaps.dims.iter().any(|&(size, step)| {
            let folds = step <= reach;
            reach += step * (size - 1);
            folds
        })
    }

    /// Whether an element of `self` and one of `other` may share a byte. All differences of their
    /// addresses are that of their origins and a multiple of the steps' greatest common divisor.
    fn may_meet(&self, other: &Extent) -> bool {
        if !(self.written || other.written) || self.first >= other.end || other.first >= self.end {
            return false;
        }
        let width = |extent: &Extent| match &extent.gaps {
            Some(gaps) => gaps.width,
            None => extent.end - extent.first,
        };
        let steps = |extent: &Extent| -> Vec<usize> {
            let dims = extent.gaps.iter().flat_map(|gaps| &gaps.dims);
            dims.map(|&(_, step)| step).collect()
        };
        let divisor = steps(self)
            .into_iter()
            .chain(steps(other))
            .fold(0, greatest_common_divisor);
        if divisor == 0 {
            return true;
        }
        let offset = (other.first as isize - self.first as isize).rem_euclid(divisor as isize);
        let offset = offset as usize;
        offset < width(self) || offset + width(other) > divisor
    }

    /// Calls `f` with the addresses of each run of bytes.
    fn for_each(&self, mut f: impl FnMut(Range<usize>)) {
        let Some(gaps) = &self.gaps else {
            return f(self.first..self.end);
        };
        let mut index = vec![0; gaps.dims.len()];
        let mut address = self.first;
        'runs: loop {
            f(address..address + gaps.width);
            for (index, &(size, step)) in index.iter_mut().zip(&gaps.dims) {
                if *index + 1 < size {
                    *index += 1;
                    address += step;
                    continue 'runs;
                }
                address -= step * *index;
                *index = 0;
            }
            return;
        }
    }
}

/// The search, with the order of the last one.
#[derive(Debug, Default)]
pub struct Search {
    order: Vec<u32>,
}

impl Search {
    /// The indices of the extents whose memory meets another's, or itself, where one side is
    /// written; ascending.
    pub fn shared(&mut self, extents: &[Extent]) -> Vec<usize> {
        self.sort(extents);
        let (mut any, mut written) = (0, 0);
        let mut suspect = false;
        for extent in self.order.iter().map(|&index| &extents[index as usize]) {
            suspect |= extent.first < written
                || extent.written && (extent.first < any || extent.may_fold());
            any = any.max(extent.end);
            if extent.written {
                written = written.max(extent.end);
            }
        }
        if suspect {
            self.compare(extents)
        } else {
            Vec::new()
        }
    }

    fn sort(&mut self, extents: &[Extent]) {
        if self.order.len() != extents.len() {
            self.order = (0..extents.len() as u32).collect();
        }
        let first = |index: u32| extents[index as usize].first;
        if !self.order.is_sorted_by_key(|&index| first(index)) {
            self.order.sort_by_key(|&index| first(index));
        }
    }

    /// Looks at every element of the ranges that meet, one cluster of them after another.
    fn compare(&self, extents: &[Extent]) -> Vec<usize> {
        let mut found = Vec::new();
        let mut cluster: Vec<usize> = Vec::new();
        let mut end = 0;
        for index in self.order.iter().map(|&index| index as usize) {
            if extents[index].first >= end {
                compare_cluster(&cluster, extents, &mut found);
                cluster.clear();
            }
            end = end.max(extents[index].end);
            cluster.push(index);
        }
        compare_cluster(&cluster, extents, &mut found);
        found.sort_unstable();
        found
    }
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 {
        a
    } else {
        greatest_common_divisor(b, a % b)
    }
}

fn compare_cluster(cluster: &[usize], extents: &[Extent], found: &mut Vec<usize>) {
    const READ: u8 = 1;
    const WRITTEN: u8 = 2;
    const CLASH: u8 = 4;
    let each = || cluster.iter().map(|&index| &extents[index]);
    let meets = |(i, extent): (usize, &Extent)| {
        extent.written && extent.may_fold()
            || each().skip(i + 1).any(|other| extent.may_meet(other))
    };
    // Each with each, but not where many columns of a matrix are each a buffer.
    const FEW: usize = 32;
    if cluster.len() <= FEW && !each().enumerate().any(meets) {
        return;
    }
    let base = each().map(|extent| extent.first).min().unwrap_or(0);
    let end = each().map(|extent| extent.end).max().unwrap_or(0);
    let mut marks = Vec::new();
    if marks.try_reserve_exact(end - base).is_err() {
        // Too far apart to be told apart: all may be shared.
        return found.extend_from_slice(cluster);
    }
    marks.resize(end - base, 0);
    for extent in each() {
        let own = if extent.written { WRITTEN } else { READ };
        extent.for_each(|bytes| {
            for mark in &mut marks[bytes.start - base..bytes.end - base] {
                let clash = *mark != 0 && (*mark | own) & WRITTEN != 0;
                *mark |= own | if clash { CLASH } else { 0 };
            }
        });
    }
    for &index in cluster {
        let extent = &extents[index];
        let mut clashes = extent.written && extent.gaps.as_ref().is_some_and(|gaps| gaps.repeats);
        extent.for_each(|bytes| {
            clashes |= marks[bytes.start - base..bytes.end - base]
                .iter()
                .any(|mark| mark & CLASH != 0);
        });
        if clashes {
            found.push(index);
        }
    }
}
