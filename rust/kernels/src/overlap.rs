//! Finds buffers that share memory where at least one of them is written.
//!
//! Almost always no two buffers' address ranges meet, and that is all that is asked: in an order
//! remembered from the last time (buffers seldom move), so that it costs one pass. Only ranges that
//! meet are compared element by element, so interleaved slices that share nothing are told apart.

use crate::work::View;

/// The memory of one buffer.
#[derive(Clone, Copy, Debug)]
pub struct Extent<'a> {
    first: usize,
    end: usize,
    /// Whether the job writes it.
    pub written: bool,
    /// Whose it is; the answer names these.
    pub owner: usize,
    view: View<'a>,
}

impl<'a> Extent<'a> {
    /// The range of addresses of `view`, which belongs to `owner`.
    pub fn new(view: View<'a>, written: bool, owner: usize) -> Extent<'a> {
        let (mut low, mut high) = (0, 0);
        for (&size, &stride) in view.shape.iter().zip(view.strides) {
            let reach = (size - 1).max(0) * stride;
            if reach < 0 {
                low += reach
            } else {
                high += reach
            }
        }
        let width = view.dtype.size();
        let address = |elements: i64| {
            view.data
                .addr()
                .wrapping_add_signed(elements as isize * width as isize)
        };
        let end = if view.is_empty() {
            address(low)
        } else {
            address(high) + width
        };
        Extent {
            first: address(low),
            end,
            written,
            owner,
            view,
        }
    }

    /// Whether two indices lead to one address (a broadcast dimension, say).
    fn may_fold(&self) -> bool {
        self.end - self.first < self.view.len() * self.view.dtype.size() || {
            let mut dims: Vec<(u64, i64)> = self
                .view
                .strides
                .iter()
                .map(|s| s.unsigned_abs())
                .zip(self.view.shape.iter().copied())
                .filter(|&(_, size)| size > 1)
                .collect();
            dims.sort_unstable();
            let mut reach = 0;
            dims.iter().any(|&(stride, size)| {
                let folds = stride <= reach;
                reach += stride * (size as u64 - 1);
                folds
            })
        }
    }

    fn for_each_address(&self, mut f: impl FnMut(usize)) {
        if self.view.is_empty() {
            return;
        }
        let width = self.view.dtype.size() as isize;
        let mut index = vec![0; self.view.shape.len()];
        let mut address = self.view.data.addr();
        loop {
            f(address);
            let mut axis = index.len();
            loop {
                if axis == 0 {
                    return;
                }
                axis -= 1;
                let step = self.view.strides[axis] as isize * width;
                if index[axis] + 1 < self.view.shape[axis] {
                    index[axis] += 1;
                    address = address.wrapping_add_signed(step);
                    break;
                }
                address = address.wrapping_add_signed(-step * index[axis] as isize);
                index[axis] = 0;
            }
        }
    }
}

/// The search, with the order of the last one.
#[derive(Debug, Default)]
pub struct Search {
    order: Vec<u32>,
}

impl Search {
    /// The owners whose memory meets other memory (or itself) where one side is written; ascending.
    pub fn owners(&mut self, extents: &[Extent]) -> Vec<usize> {
        self.sort(extents);
        let sorted = || self.order.iter().map(|&i| &extents[i as usize]);
        let (mut any, mut written) = (0, 0);
        let meets = |extent: &Extent| {
            let meets = extent.first < written || (extent.written && extent.first < any);
            any = any.max(extent.end);
            if extent.written {
                written = written.max(extent.end);
            }
            meets
        };
        let folds = |extent: &Extent| extent.written && extent.may_fold();
        if !sorted().any({
            let mut meets = meets;
            move |e| meets(e)
        }) && !extents.iter().any(folds)
        {
            return Vec::new();
        }
        let mut owners = Vec::new();
        let mut cluster: Vec<&Extent> = Vec::new();
        let mut end = 0;
        for extent in sorted().filter(|extent| extent.end > extent.first) {
            if extent.first >= end {
                shared(&cluster, &mut owners);
                cluster.clear();
            }
            end = end.max(extent.end);
            cluster.push(extent);
        }
        shared(&cluster, &mut owners);
        owners.sort_unstable();
        owners.dedup();
        owners
    }

    fn sort(&mut self, extents: &[Extent]) {
        if self.order.len() != extents.len() {
            self.order = (0..extents.len() as u32).collect();
        }
        let first = |i: u32| extents[i as usize].first;
        if !self.order.is_sorted_by_key(|&i| first(i)) {
            self.order.sort_by_key(|&i| first(i));
        }
    }
}

/// Adds the owners in a cluster of meeting ranges that really share an element.
fn shared(cluster: &[&Extent], owners: &mut Vec<usize>) {
    let alone = cluster.len() < 2 && !cluster.iter().any(|extent| extent.may_fold());
    if alone || !cluster.iter().any(|extent| extent.written) {
        return;
    }
    const WRITTEN: u8 = 1;
    const READ: u8 = 2;
    const CLASH: u8 = 4;
    let base = cluster.iter().map(|extent| extent.first).min().unwrap_or(0);
    let end = cluster.iter().map(|extent| extent.end).max().unwrap_or(0);
    let mut marks = vec![0_u8; end - base];
    for extent in cluster {
        let width = extent.view.dtype.size();
        extent.for_each_address(|address| {
            for mark in &mut marks[address - base..][..width] {
                let clash = *mark != 0 && (extent.written || *mark & WRITTEN != 0);
                *mark |= if extent.written { WRITTEN } else { READ };
                *mark |= if clash { CLASH } else { 0 };
            }
        });
    }
    for extent in cluster {
        let width = extent.view.dtype.size();
        let mut clashes = false;
        extent.for_each_address(|address| {
            clashes |= marks[address - base..][..width]
                .iter()
                .any(|mark| mark & CLASH != 0);
        });
        if clashes {
            owners.push(extent.owner);
        }
    }
}
