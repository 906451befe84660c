//! Buffers of any type and layout, whose margins must stay as they are.

use half::{bf16, f16};
use ironstep_kernels::dtype::DType;
use ironstep_kernels::work::View;

use crate::layouts::Layout;

const MARGIN: usize = 24;
const FILL: u8 = 0xa5;

/// Writes a number as it lies in memory, without the crate under test.
fn write(dtype: DType, value: f64, to: &mut [u8]) {
    match dtype {
        DType::F64 => to.copy_from_slice(&value.to_ne_bytes()),
        DType::F32 => to.copy_from_slice(&(value as f32).to_ne_bytes()),
        DType::F16 => to.copy_from_slice(&f16::from_f32(value as f32).to_ne_bytes()),
        DType::Bf16 => to.copy_from_slice(&bf16::from_f32(value as f32).to_ne_bytes()),
    }
}

fn read(dtype: DType, from: &[u8]) -> f64 {
    match dtype {
        DType::F64 => f64::from_ne_bytes(std::array::from_fn(|i| from[i])),
        DType::F32 => f32::from_ne_bytes(std::array::from_fn(|i| from[i])).into(),
        DType::F16 => f16::from_ne_bytes(std::array::from_fn(|i| from[i])).into(),
        DType::Bf16 => bf16::from_ne_bytes(std::array::from_fn(|i| from[i])).into(),
    }
}

/// The value that a number has after a stay in this type.
pub fn rounded(dtype: DType, value: f64) -> f64 {
    let mut place = [0; 8];
    let place = &mut place[..dtype.size()];
    write(dtype, value, place);
    read(dtype, place)
}

#[derive(Clone)]
pub struct Buffer {
    memory: Vec<u64>,
    dtype: DType,
    layout: Layout,
    /// Where each element begins, in bytes.
    places: Vec<usize>,
}

impl Buffer {
    /// Holds `values`, in row-major order, `misaligned` bytes off.
    pub fn new(dtype: DType, layout: &Layout, misaligned: usize, values: &[f64]) -> Buffer {
        let start = MARGIN + misaligned;
        let positions = layout.positions();
        assert_eq!(values.len(), positions.len());
        let places = positions
            .iter()
            .map(|&place| start + place as usize * dtype.size());
        let places: Vec<usize> = places.collect();
        let len = places.iter().max().unwrap_or(&start) + dtype.size() + MARGIN;
        let mut buffer = Buffer {
            memory: vec![u64::from_ne_bytes([FILL; 8]); len.div_ceil(8)],
            dtype,
            layout: Layout {
                offset: start as i64 + layout.offset * dtype.size() as i64,
                ..layout.clone()
            },
            places,
        };
        for (index, &value) in values.iter().enumerate() {
            let place = buffer.places[index];
            write(
                dtype,
                value,
                &mut buffer.memory()[place..place + dtype.size()],
            );
        }
        buffer
    }

    /// All bytes, the margin too.
    pub fn memory(&mut self) -> &mut [u8] {
        let len = self.memory.len() * 8;
        // SAFETY: the same memory as bytes, which may hold anything.
        unsafe { std::slice::from_raw_parts_mut(self.memory.as_mut_ptr().cast(), len) }
    }

    pub fn view(&mut self) -> View<'_> {
        let first = self.memory.as_mut_ptr().cast::<u8>();
        let first = first.wrapping_add(self.layout.offset as usize);
        View::new(first, self.dtype, &self.layout.shape, &self.layout.strides)
    }

    /// The elements, in row-major order; what lies around them must be untouched.
    pub fn values(&mut self) -> Vec<f64> {
        let (width, dtype, places) = (self.dtype.size(), self.dtype, self.places.clone());
        let memory = self.memory();
        let values = places
            .iter()
            .map(|&place| read(dtype, &memory[place..place + width]));
        let values = values.collect();
        let mut around = memory.to_vec();
        for &place in &places {
            around[place..place + width].fill(FILL);
        }
        assert!(
            around == vec![FILL; around.len()],
            "written outside of the buffer"
        );
        values
    }
}
