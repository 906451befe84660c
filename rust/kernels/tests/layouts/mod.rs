//! Shapes and strides as slicing, transposing, flipping and broadcasting make them.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

const MAX_DIMS: usize = 4;

/// Where the elements of a view lie; `offset` is the first one's place in its buffer. All in elements.
#[derive(Clone, Debug)]
pub struct Layout {
    pub shape: Vec<i64>,
    pub strides: Vec<i64>,
    pub offset: i64,
}

impl Layout {
    pub fn contiguous(shape: &[i64]) -> Layout {
        Choices::PLAIN.layout(shape)
    }

    /// The position of every element in the buffer, in row-major order.
    pub fn positions(&self) -> Vec<i64> {
        let mut positions = vec![self.offset];
        for (&size, &stride) in self.shape.iter().zip(&self.strides) {
            positions = positions
                .iter()
                .flat_map(|&position| (0..size).map(move |index| position + index * stride))
                .collect();
        }
        positions
    }
}

#[derive(Clone, Copy, Debug)]
struct Choice {
    step: i64,
    padding: i64,
    flipped: bool,
    broadcast: bool,
}

/// What may be done to a buffer; one choice for each dimension, from the fastest.
#[derive(Clone, Debug)]
struct Choices {
    order: [usize; MAX_DIMS],
    dims: [Choice; MAX_DIMS],
}

impl Choices {
    const PLAIN: Choices = {
        let choice = Choice {
            step: 1,
            padding: 0,
            flipped: false,
            broadcast: false,
        };
        Choices {
            order: [3, 2, 1, 0],
            dims: [choice; MAX_DIMS],
        }
    };

    fn layout(&self, shape: &[i64]) -> Layout {
        let mut strides = vec![0; shape.len()];
        let (mut unit, mut offset) = (1, 0);
        let axes = self.order.iter().filter(|&&axis| axis < shape.len());
        for (&axis, choice) in axes.zip(self.dims) {
            if choice.broadcast {
                continue;
            }
            let stride = unit * choice.step;
            unit *= shape[axis].max(1) * choice.step + choice.padding;
            strides[axis] = if choice.flipped { -stride } else { stride };
            offset += if choice.flipped {
                (shape[axis] - 1).max(0) * stride
            } else {
                0
            };
        }
        Layout {
            shape: shape.to_vec(),
            strides,
            offset,
        }
    }
}

fn choices(broadcast: f64) -> impl Strategy<Value = Choices> {
    let choice = (
        select(vec![1, 1, 1, 1, 2, 3]),
        select(vec![0, 0, 0, 1]),
        prop::bool::weighted(0.15),
        prop::bool::weighted(broadcast),
    )
        .prop_map(|(step, padding, flipped, broadcast)| Choice {
            step,
            padding,
            flipped,
            broadcast,
        });
    let order = prop_oneof![
        Just([3, 2, 1, 0]), // as its neighbours, often: only then dimensions merge
        Just([0, 1, 2, 3]).prop_shuffle(),
    ];
    (
        order,
        [choice.clone(), choice.clone(), choice.clone(), choice],
    )
        .prop_map(|(order, dims)| Choices { order, dims })
}

/// Shapes of up to four dimensions, often small; now and then one is empty.
pub fn shapes() -> impl Strategy<Value = Vec<i64>> {
    let small = prop_oneof![8 => 1_i64..8, 1 => Just(0)];
    prop_oneof![
        vec(small, 0..=MAX_DIMS),
        (30_i64..80, 30_i64..80).prop_map(|(rows, cols)| vec![rows, cols]),
        (1_i64..4, 900_i64..2_100, 1_i64..3).prop_map(|(a, b, c)| vec![a, b, c]),
        // Several tiles, which begin anywhere among the blocks: at those of the last rows, too.
        (1_i64..12, 30_i64..200, 20_i64..90).prop_map(|(a, b, c)| vec![a, b, c]),
    ]
}

/// Between one and `max` layouts of one shape. Only those after the first are ever broadcast.
pub fn operands(max: usize) -> impl Strategy<Value = Vec<Layout>> {
    let later = vec(choices(0.1), 0..max);
    (shapes(), choices(0.0), later).prop_map(|(shape, first, later)| {
        let all = std::iter::once(&first).chain(&later);
        all.map(|choices| choices.layout(&shape)).collect()
    })
}
