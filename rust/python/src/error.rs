//! What the caller did wrong, as a Python exception that says which argument, what it got and what
//! it takes.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

/// Something that a parameter, gradient or state cannot be computed with here.
#[derive(Clone, Debug)]
pub enum Refusal {
    /// The wrong type, device, layout or element type.
    Type(String),
    /// The wrong shape or value.
    Value(String),
}

impl Refusal {
    /// Says which argument is meant.
    pub fn of(self, argument: &str, index: usize) -> Refusal {
        self.of_operand(&format!("{argument}[{index}]"))
    }

    /// Says which operand of a parameter is meant.
    pub fn of_operand(self, name: &str) -> Refusal {
        match self {
            Refusal::Type(text) => Refusal::Type(format!("{name}: {text}")),
            Refusal::Value(text) => Refusal::Value(format!("{name}: {text}")),
        }
    }

    /// The text alone.
    pub fn text(self) -> String {
        match self {
            Refusal::Type(text) | Refusal::Value(text) => text,
        }
    }
}

impl From<Refusal> for PyErr {
    fn from(refusal: Refusal) -> PyErr {
        match refusal {
            Refusal::Type(text) => PyTypeError::new_err(text),
            Refusal::Value(text) => PyValueError::new_err(text),
        }
    }
}

/// Why a step does not go on: an exception, or something that another way may know.
#[derive(Debug)]
pub enum Obstacle {
    /// To be raised.
    Error(PyErr),
    /// Not for the kernels.
    Refusal(Refusal),
}

impl From<PyErr> for Obstacle {
    fn from(error: PyErr) -> Obstacle {
        Obstacle::Error(error)
    }
}

impl From<Refusal> for Obstacle {
    fn from(refusal: Refusal) -> Obstacle {
        Obstacle::Refusal(refusal)
    }
}

impl From<Obstacle> for PyErr {
    fn from(obstacle: Obstacle) -> PyErr {
        match obstacle {
            Obstacle::Error(error) => error,
            Obstacle::Refusal(refusal) => refusal.into(),
        }
    }
}
