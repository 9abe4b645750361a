//! Weights in few bits, whichever they are.

use crate::int4::{Int4Weight, matmul_int4};
use crate::int8::{Int8Weight, PackedError, SharedBytes, matmul_int8};

pub use crate::int8::MAX_INPUTS;

/// How many bits a weight takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bits {
    /// As in [`crate::int8`].
    Eight,
    /// As in [`crate::int4`].
    Four,
}

impl Bits {
    /// The sizes of the arranged bytes of a weight `[outputs, inputs]`.
    pub fn packed_shape(self, outputs: usize, inputs: usize) -> [usize; 3] {
        match self {
            Self::Eight => Int8Weight::packed_shape(outputs, inputs),
            Self::Four => Int4Weight::packed_shape(outputs, inputs),
        }
    }
}

/// A matrix of weights in eight or four bits, arranged for the processor.
#[derive(Debug, Clone)]
pub enum QuantizedWeight {
    /// In eight bits.
    Int8(Int8Weight),
    /// In four bits.
    Int4(Int4Weight),
}

impl QuantizedWeight {
    /// Rounds a weight `[outputs, inputs]`.
    ///
    /// # Panics
    /// When `weight` has another length, or there are more than [`MAX_INPUTS`].
    pub fn quantize(bits: Bits, weight: &[f32], outputs: usize, inputs: usize) -> Self {
        match bits {
            Bits::Eight => Self::Int8(Int8Weight::quantize(weight, outputs, inputs)),
            Bits::Four => Self::Int4(Int4Weight::quantize(weight, outputs, inputs)),
        }
    }

    /// A weight `[outputs, inputs]` of the bytes that [`QuantizedWeight::as_bytes`] gave; they are copied only where they are not aligned to 64.
    ///
    /// # Errors
    /// When there are other than [`Bits::packed_shape`] says, or too many inputs.
    pub fn from_packed(
        bits: Bits,
        bytes: SharedBytes,
        outputs: usize,
        inputs: usize,
    ) -> Result<Self, PackedError> {
        Ok(match bits {
            Bits::Eight => Self::Int8(Int8Weight::from_packed(bytes, outputs, inputs)?),
            Bits::Four => Self::Int4(Int4Weight::from_packed(bytes, outputs, inputs)?),
        })
    }

    /// The arranged bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Int8(weight) => weight.as_bytes(),
            Self::Int4(weight) => weight.as_bytes(),
        }
    }

    /// Rows of the matrix: what products have as columns.
    pub fn outputs(&self) -> usize {
        match self {
            Self::Int8(weight) => weight.outputs(),
            Self::Int4(weight) => weight.outputs(),
        }
    }

    /// Columns of the matrix.
    pub fn inputs(&self) -> usize {
        match self {
            Self::Int8(weight) => weight.inputs(),
            Self::Int4(weight) => weight.inputs(),
        }
    }

    /// The rounded values, row after row.
    pub fn dequantize(&self) -> Vec<f32> {
        match self {
            Self::Int8(weight) => weight.dequantize(),
            Self::Int4(weight) => weight.dequantize(),
        }
    }

    /// `output[rows, outputs] = input[rows, inputs] · weightᵀ`, plus a number of `bias` for each output if there is one, with the input rounded to
    /// eight bits row by row, on the threads of the current
    /// pool.
    ///
    /// # Panics
    /// When the lengths do not fit.
    pub fn matmul(&self, input: &[f32], bias: Option<&[f32]>, output: &mut [f32]) {
        match self {
            Self::Int8(weight) => matmul_int8(input, weight, bias, output),
            Self::Int4(weight) => matmul_int4(input, weight, bias, output),
        }
    }
}

/// The arranged bytes.
impl AsRef<[u8]> for QuantizedWeight {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}
