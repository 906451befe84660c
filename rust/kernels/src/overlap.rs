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

#[derive(Clone, Debug)]
struct Gaps {
    origin: usize,
    width: usize,
    /// Size and step in bytes, of the dimensions that lead to other addresses.
    dims: Vec<(usize, isize)>,
    /// Whether some dimension leads to the same address again.
    repeats: bool,
}

impl Extent {
    /// The extent of `view`, which the job writes or only reads.
    pub fn new(view: &View, written: bool) -> Extent {
        let width = view.dtype.size();
        let origin = view.data.addr();
        if view.is_contiguous() || view.is_empty() {
            return Extent {
                first: origin,
                end: origin + view.len() * width,
                written,
                gaps: None,
            };
        }
        let dims = view.shape.iter().zip(view.strides);
        let dims = dims.map(|(&size, &stride)| (size as usize, stride as isize * width as isize));
        let dims: Vec<_> = dims.filter(|&(size, _)| size > 1).collect();
        let moving: Vec<_> = dims
            .iter()
            .copied()
            .filter(|&(_, step)| step != 0)
            .collect();
        let gaps = Gaps {
            origin,
            width,
            repeats: moving.len() < dims.len(),
            dims: moving,
        };
        let (mut low, mut high) = (0, 0);
        for &(size, step) in &gaps.dims {
            let reach = (size - 1) as isize * step;
            if reach < 0 {
                low += reach
            } else {
                high += reach
            }
        }
        Extent {
            first: origin.wrapping_add_signed(low),
            end: origin.wrapping_add_signed(high) + width,
            written,
            gaps: Some(Box::new(gaps)),
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
        let mut dims = gaps.dims.clone();
        dims.sort_unstable_by_key(|&(_, step)| step.unsigned_abs());
        let mut reach = gaps.width - 1;
        dims.iter().any(|&(size, step)| {
            let folds = step.unsigned_abs() <= reach;
            reach += step.unsigned_abs() * (size - 1);
            folds
        })
    }

    /// Whether an element of `self` and one of `other` may share a byte. All differences of their
    /// addresses are that of their origins and a multiple of the steps' greatest common divisor.
    fn may_meet(&self, other: &Extent) -> bool {
        if !(self.written || other.written) || self.first >= other.end || other.first >= self.end {
            return false;
        }
        let parts = |extent: &Extent| match &extent.gaps {
            Some(gaps) => (gaps.origin, gaps.width),
            None => (extent.first, extent.end - extent.first),
        };
        let steps = |extent: &Extent| -> Vec<usize> {
            extent
                .gaps
                .iter()
                .flat_map(|gaps| gaps.dims.iter().map(|&(_, step)| step.unsigned_abs()))
                .collect()
        };
        let divisor = steps(self)
            .into_iter()
            .chain(steps(other))
            .fold(0, greatest_common_divisor);
        let ((origin, width), (other_origin, other_width)) = (parts(self), parts(other));
        if divisor == 0 {
            return true;
        }
        let offset =
            (other_origin as isize - origin as isize).rem_euclid(divisor as isize) as usize;
        offset < width || offset + other_width > divisor
    }

    /// Calls `f` with the addresses of each element.
    fn for_each(&self, mut f: impl FnMut(Range<usize>)) {
        let Some(gaps) = &self.gaps else {
            return f(self.first..self.end);
        };
        let mut index = vec![0; gaps.dims.len()];
        let mut address = gaps.origin;
        'elements: loop {
            f(address..address + gaps.width);
            for (index, &(size, step)) in index.iter_mut().zip(&gaps.dims).rev() {
                if *index + 1 < size {
                    *index += 1;
                    address = address.wrapping_add_signed(step);
                    continue 'elements;
                }
                address = address.wrapping_add_signed(-step * *index as isize);
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
