//! Codes for labels that no table can be indexed by (strings, integers far apart): numbered as they
//! first occur, found by hashing.

/// A column of labels of one width, whatever their bytes mean. Equal labels have equal bytes.
#[derive(Clone, Copy, Debug)]
pub struct Rows {
    data: *const u8,
    len: usize,
    stride: isize,
    width: usize,
}

// SAFETY: the memory is only read, and `Rows::new` asks that it be readable as long as it is used.
unsafe impl Send for Rows {}
// SAFETY: as above.
unsafe impl Sync for Rows {}

impl Rows {
    /// `len` labels of `width` bytes, `stride` bytes from one to the next.
    ///
    /// # Safety
    /// All of them are valid for reads while this value is used.
    pub unsafe fn new(data: *const u8, len: usize, stride: isize, width: usize) -> Rows {
        Rows {
            data,
            len,
            stride,
            width,
        }
    }

    /// The number of labels.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of a label.
    pub fn width(&self) -> usize {
        self.width
    }

    fn row(&self, index: usize) -> &[u8] {
        assert!(index < self.len);
        let first = self.data.wrapping_offset(index as isize * self.stride);
        // SAFETY: the label is one of the column's, and readable (`new`).
        unsafe { std::slice::from_raw_parts(first, self.width) }
    }
}

/// Labels as numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Codes {
    /// The code of each label, column after column.
    pub codes: Vec<u32>,
    /// Where each code first occurs, counted through all columns.
    pub first: Vec<usize>,
}

/// Rows between two questions whether to go on.
const PIECE: usize = 1 << 22;

/// Numbers the labels of columns of one width. `None` if `go_on`, which is asked every tenth of a
/// second or so, says no, or if there are more than 2³² − 1 different ones.
pub fn factorize(columns: &[Rows], go_on: &mut dyn FnMut() -> bool) -> Option<Codes> {
    let starts: Vec<usize> = columns
        .iter()
        .scan(0, |start, column| {
            let this = *start;
            *start += column.len;
            Some(this)
        })
        .collect();
    let row = |index: usize| {
        let column = starts.partition_point(|&start| start <= index) - 1;
        columns[column].row(index - starts[column])
    };
    let mut found = Found::default();
    let mut codes = Vec::with_capacity(columns.iter().map(Rows::len).sum());
    for (column, &start) in columns.iter().zip(&starts) {
        assert_eq!(column.width, columns[0].width);
        for index in 0..column.len {
            if index % PIECE == PIECE - 1 && !go_on() {
                return None;
            }
            codes.push(found.code(column.row(index), start + index, row)?);
        }
    }
    Some(Codes {
        codes,
        first: found.first,
    })
}

/// The labels found so far, in a table of twice as many slots or more.
#[derive(Default)]
struct Found {
    /// Codes plus one; 0 is free. A power of two of them.
    slots: Vec<u32>,
    hashes: Vec<u64>,
    first: Vec<usize>,
}

impl Found {
    /// The code of a label, which is the next one if it is new. `row` finds an earlier label.
    #[inline]
    fn code<'a>(
        &mut self,
        label: &[u8],
        index: usize,
        row: impl Fn(usize) -> &'a [u8],
    ) -> Option<u32> {
        if self.slots.len() <= 2 * self.first.len() {
            self.grow();
        }
        let hash = hash(label);
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        while let Some(code) = self.slots[slot].checked_sub(1) {
            let at = code as usize;
            if self.hashes[at] == hash && row(self.first[at]) == label {
                return Some(code);
            }
            slot = (slot + 1) & mask;
        }
        let next = u32::try_from(self.first.len() + 1).ok()?;
        self.slots[slot] = next;
        self.hashes.push(hash);
        self.first.push(index);
        Some(next - 1)
    }

    fn grow(&mut self) {
        let slots = (4 * self.slots.len()).max(64);
        self.slots = vec![0; slots];
        for (code, &hash) in (1..).zip(&self.hashes) {
            let mut slot = hash as usize & (slots - 1);
            while self.slots[slot] != 0 {
                slot = (slot + 1) & (slots - 1);
            }
            self.slots[slot] = code;
        }
    }
}

/// Multiplies eight bytes at a time and folds the halves: text of UTF-32 has most of its bits in few
/// places.
#[inline]
fn hash(label: &[u8]) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let (words, rest) = label.as_chunks::<8>();
    let mut tail = [0; 8];
    tail[..rest.len()].copy_from_slice(rest);
    let words = words.iter().chain(std::iter::once(&tail));
    words.fold(ODD, |hash, &word| {
        let product = u128::from(hash ^ u64::from_le_bytes(word)) * u128::from(ODD);
        (product as u64) ^ ((product >> 64) as u64)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn rows(bytes: &[u8], width: usize) -> Rows {
        // SAFETY: as many labels as the bytes have room for.
        unsafe { Rows::new(bytes.as_ptr(), bytes.len() / width, width as isize, width) }
    }

    proptest! {
        #[test]
        fn codes_are_numbered_as_they_occur(
            width in 1..20_usize,
            left in vec(0..3_u8, 0..3000),
            right in vec(0..3_u8, 0..3000),
        ) {
            let columns = [rows(&left, width), rows(&right, width)];
            let got = factorize(&columns, &mut || true).unwrap();
            let mut known = HashMap::new();
            let (mut codes, mut first) = (vec![], vec![]);
            let labels = left.chunks_exact(width).chain(right.chunks_exact(width));
            for (index, label) in labels.enumerate() {
                let next = known.len() as u32;
                codes.push(*known.entry(label).or_insert_with(|| {
                    first.push(index);
                    next
                }));
            }
            prop_assert_eq!(got, Codes { codes, first });
        }
    }

    #[test]
    fn many_labels_and_any_stride() {
        let values: Vec<u64> = (0..100_000_u64)
            .map(|i| i * i % 65_537 * 0x1_0000_0001)
            .collect();
        let end = &values[values.len() - 1];
        // SAFETY: from the last back to the first.
        let reversed = unsafe { Rows::new(std::ptr::from_ref(end).cast(), values.len(), -8, 8) };
        let codes = factorize(&[reversed], &mut || true).unwrap();
        for (code, value) in codes.codes.iter().zip(values.iter().rev()) {
            let first = codes.first[*code as usize];
            assert_eq!(values[values.len() - 1 - first], *value);
        }
        assert_eq!(codes.first.len(), 32_769);
    }
}
