//! A job over columns, piece by piece: threads take tiles of it, and in between it may be stopped.

use crate::pool;

/// Elements handled at a time: they stay in L1.
pub(super) const BLOCK: usize = 256;

/// Elements that a thread takes at a time.
// Some 40 µs: a helper that comes late still finds work, and 16 bits hold a tile's counts.
pub(super) const TILE: usize = 64 * 1024;

/// Elements between two questions whether to go on.
const PIECE: usize = 1 << 25;

/// Why there are no counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoCounts {
    /// The labels are too far apart for a table.
    TooWide,
    /// `go_on` said no.
    Stopped,
}

/// Runs a job on tiles of `len` elements, piece by piece, as long as `go_on` says so.
pub(super) fn in_pieces(
    threads: usize,
    len: usize,
    go_on: &mut dyn FnMut() -> bool,
    tile: &(dyn Fn(usize, usize) + Sync),
) -> Result<(), NoCounts> {
    for piece in (0..len).step_by(PIECE) {
        if piece > 0 && !go_on() {
            return Err(NoCounts::Stopped);
        }
        let end = len.min(piece + PIECE);
        pool::run(threads, (end - piece).div_ceil(TILE), &|index| {
            let start = piece + index * TILE;
            tile(start, TILE.min(end - start));
        });
    }
    Ok(())
}
