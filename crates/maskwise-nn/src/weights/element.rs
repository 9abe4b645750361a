//! Element types, and turning stored bytes into tensors of the requested type.

use candle_core::{DType, Device, Tensor, WithDType};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::error::WeightsError;
use super::files::PositionedFile;

/// An element type as files store it, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ElementType {
    Bool,
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    I64,
    F16,
    BF16,
    F32,
    F64,
}

impl ElementType {
    /// Bytes per element.
    pub(crate) fn size(self) -> usize {
        match self {
            Self::Bool | Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 | Self::F16 | Self::BF16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::I64 | Self::F64 => 8,
        }
    }

    /// The candle type that holds every value of this one.
    pub(crate) fn dtype(self) -> DType {
        match self {
            Self::Bool | Self::U8 => DType::U8,
            Self::I8 | Self::I16 => DType::I16,
            Self::U16 | Self::U32 => DType::U32,
            Self::I32 => DType::I32,
            Self::I64 => DType::I64,
            Self::F16 => DType::F16,
            Self::BF16 => DType::BF16,
            Self::F32 => DType::F32,
            Self::F64 => DType::F64,
        }
    }

    fn is_float(self) -> bool {
        matches!(self, Self::F16 | Self::BF16 | Self::F32 | Self::F64)
    }
}

/// Where the elements of one tensor lie in a file.
#[derive(Debug, Clone)]
pub(crate) struct StoredTensor {
    pub(crate) element: ElementType,
    pub(crate) shape: Vec<usize>,
    /// Position of the first element, in bytes from the start of the file.
    pub(crate) position: u64,
    /// Steps between neighbours along each axis, in elements; `None` for row-major.
    pub(crate) strides: Option<Vec<usize>>,
}

/// Number of elements of a shape, if that and the sizes in bytes of every type stay within what memory can address.
/// Zeros are left out of the check: strides are products of the other axes even for a tensor without elements.
pub(crate) fn checked_element_count(shape: &[usize]) -> Option<usize> {
    let bound = shape.iter().try_fold(16_usize, |product, &length| product.checked_mul(length.max(1)))?;
    (bound <= isize::MAX as usize).then(|| shape.iter().product())
}

/// Elements converted at a time: bounds the extra memory, and stays within the cache.
const BLOCK_ELEMENTS: usize = 64 * 1024;

/// Reads a tensor from its file in blocks, converting each, so that only the result is ever held whole
/// (for views that are not row-major also the part of the storage that they cover).
pub(crate) fn read_tensor(
    file: &PositionedFile,
    name: &str,
    stored: &StoredTensor,
    dtype: DType,
    device: &Device,
) -> Result<Tensor, WeightsError> {
    match dtype {
        DType::U8 => read_as::<u8>(file, name, stored, device),
        DType::U32 => read_as::<u32>(file, name, stored, device),
        DType::I16 => read_as::<i16>(file, name, stored, device),
        DType::I32 => read_as::<i32>(file, name, stored, device),
        DType::I64 => read_as::<i64>(file, name, stored, device),
        DType::F16 => read_as::<f16>(file, name, stored, device),
        DType::BF16 => read_as::<bf16>(file, name, stored, device),
        DType::F32 => read_as::<f32>(file, name, stored, device),
        DType::F64 => read_as::<f64>(file, name, stored, device),
        other => Err(WeightsError::UnsupportedConversion {
            name: name.to_string(),
            to: other,
            reason: "weights are not read as this type".to_string(),
        }),
    }
}

fn read_as<T: Target>(
    file: &PositionedFile,
    name: &str,
    stored: &StoredTensor,
    device: &Device,
) -> Result<Tensor, WeightsError> {
    if stored.element.is_float() && !T::IS_FLOAT {
        return Err(WeightsError::UnsupportedConversion {
            name: name.to_string(),
            to: T::DTYPE,
            reason: format!("it holds {:?} values, which an integer type would cut off", stored.element),
        });
    }
    let count: usize = stored.shape.iter().product();
    let mut values: Vec<T> = Vec::with_capacity(count);
    let mut convert = |bytes: &[u8]| {
        append_converted(stored.element, bytes, &mut values).map_err(|value| {
            let reason = format!("it holds the value {value}, which is out of range");
            WeightsError::UnsupportedConversion { name: name.to_string(), to: T::DTYPE, reason }
        })
    };
    match &stored.strides {
        None => for_each_block(file, stored.element, stored.position, count, &mut convert)?,
        Some(strides) => for_each_gathered_block(file, stored, strides, count, &mut convert)?,
    }
    Tensor::from_vec(values, stored.shape.as_slice(), device)
        .map_err(|error| WeightsError::tensor(name, error))
}

fn for_each_block(
    file: &PositionedFile,
    element: ElementType,
    position: u64,
    count: usize,
    convert: &mut impl FnMut(&[u8]) -> Result<(), WeightsError>,
) -> Result<(), WeightsError> {
    let size = element.size();
    let mut buffer = vec![0; BLOCK_ELEMENTS.min(count) * size];
    for first in (0..count).step_by(BLOCK_ELEMENTS) {
        let block = &mut buffer[..(count - first).min(BLOCK_ELEMENTS) * size];
        file.read_at(block, position + (first * size) as u64)?;
        convert(block)?;
    }
    Ok(())
}

/// Walks a strided view in row-major order of its own axes.
fn for_each_gathered_block(
    file: &PositionedFile,
    stored: &StoredTensor,
    strides: &[usize],
    count: usize,
    convert: &mut impl FnMut(&[u8]) -> Result<(), WeightsError>,
) -> Result<(), WeightsError> {
    if count == 0 {
        return Ok(());
    }
    let size = stored.element.size();
    let reach: usize = stored.shape.iter().zip(strides).map(|(length, stride)| (length - 1) * stride).sum();
    let mut covered = vec![0; (reach + 1) * size];
    file.read_at(&mut covered, stored.position)?;

    let mut block = Vec::with_capacity(BLOCK_ELEMENTS.min(count) * size);
    let mut index = vec![0; stored.shape.len()];
    let mut offset = 0;
    for done in 1..=count {
        block.extend_from_slice(&covered[offset * size..(offset + 1) * size]);
        if block.len() == BLOCK_ELEMENTS * size || done == count {
            convert(&block)?;
            block.clear();
        }
        for axis in (0..index.len()).rev() {
            index[axis] += 1;
            offset += strides[axis];
            if index[axis] < stored.shape[axis] {
                break;
            }
            offset -= strides[axis] * stored.shape[axis];
            index[axis] = 0;
        }
    }
    Ok(())
}

/// A type that tensors are read as.
trait Target: WithDType {
    const IS_FLOAT: bool;
    fn from_stored_bytes(bytes: &[u8], values: &mut Vec<Self>);
    fn from_f32(value: f32) -> Self;
    fn from_wide_float(value: f64) -> Self;
    fn from_integer(value: i64) -> Option<Self>;
}

/// Decodes little-endian elements that already have the wanted type.
macro_rules! same_type {
    () => {
        fn from_stored_bytes(bytes: &[u8], values: &mut Vec<Self>) {
            let (elements, _) = bytes.as_chunks::<{ size_of::<Self>() }>();
            values.extend(elements.iter().map(|element| Self::from_le_bytes(*element)));
        }
    };
}

macro_rules! integer_target {
    ($($type:ty),*) => {$(
        impl Target for $type {
            const IS_FLOAT: bool = false;
            same_type!();
            // Floats never reach an integer target: `read_as` refuses them.
            fn from_f32(value: f32) -> Self {
                value as $type
            }
            fn from_wide_float(value: f64) -> Self {
                value as $type
            }
            fn from_integer(value: i64) -> Option<Self> {
                value.try_into().ok()
            }
        }
    )*};
}
integer_target!(u8, u32, i16, i32, i64);

macro_rules! float_target {
    ($($type:ty: $from_f32:expr, $from_f64:expr);*) => {$(
        impl Target for $type {
            const IS_FLOAT: bool = true;
            same_type!();
            fn from_f32(value: f32) -> Self {
                $from_f32(value)
            }
            fn from_wide_float(value: f64) -> Self {
                $from_f64(value)
            }
            fn from_integer(value: i64) -> Option<Self> {
                Some($from_f64(value as f64))
            }
        }
    )*};
}
// Doubles become half types by way of f32, as PyTorch converts them.
float_target!(
    f64: f64::from, |value: f64| value;
    f32: |value: f32| value, |value: f64| value as f32;
    f16: f16::from_f32, |value: f64| f16::from_f32(value as f32);
    bf16: bf16::from_f32, |value: f64| bf16::from_f32(value as f32)
);

/// Appends the elements in `bytes`; fails with the first integer that the target cannot hold.
fn append_converted<T: Target>(element: ElementType, bytes: &[u8], values: &mut Vec<T>) -> Result<(), i64> {
    let is_stored_alike = !matches!(element, ElementType::Bool | ElementType::I8 | ElementType::U16);
    if is_stored_alike && element.dtype() == T::DTYPE {
        T::from_stored_bytes(bytes, values);
        return Ok(());
    }
    match element {
        ElementType::Bool => append_integers(bytes, values, |[byte]: [u8; 1]| i64::from(byte != 0)),
        ElementType::U8 => append_integers(bytes, values, |[byte]: [u8; 1]| i64::from(byte)),
        ElementType::I8 => append_integers(bytes, values, |byte| i64::from(i8::from_le_bytes(byte))),
        ElementType::U16 => append_integers(bytes, values, |pair| i64::from(u16::from_le_bytes(pair))),
        ElementType::I16 => append_integers(bytes, values, |pair| i64::from(i16::from_le_bytes(pair))),
        ElementType::U32 => append_integers(bytes, values, |four| i64::from(u32::from_le_bytes(four))),
        ElementType::I32 => append_integers(bytes, values, |four| i64::from(i32::from_le_bytes(four))),
        ElementType::I64 => append_integers(bytes, values, i64::from_le_bytes),
        ElementType::F16 => {
            append_halves(bytes, values);
            Ok(())
        }
        ElementType::BF16 => {
            append_floats(bytes, values, |pair| T::from_f32(bf16::from_le_bytes(pair).to_f32()));
            Ok(())
        }
        ElementType::F32 => {
            append_floats(bytes, values, |four| T::from_f32(f32::from_le_bytes(four)));
            Ok(())
        }
        ElementType::F64 => {
            append_floats(bytes, values, |eight| T::from_wide_float(f64::from_le_bytes(eight)));
            Ok(())
        }
    }
}

fn append_integers<T: Target, const SIZE: usize>(
    bytes: &[u8],
    values: &mut Vec<T>,
    decode: impl Fn([u8; SIZE]) -> i64,
) -> Result<(), i64> {
    let (elements, _) = bytes.as_chunks::<SIZE>();
    for element in elements {
        let integer = decode(*element);
        values.push(T::from_integer(integer).ok_or(integer)?);
    }
    Ok(())
}

fn append_floats<T: Target, const SIZE: usize>(
    bytes: &[u8],
    values: &mut Vec<T>,
    decode: impl Fn([u8; SIZE]) -> T,
) {
    let (elements, _) = bytes.as_chunks::<SIZE>();
    values.extend(elements.iter().map(|element| decode(*element)));
}

/// IEEE halves are converted many at a time: one by one each would look up what the processor can do.
fn append_halves<T: Target>(bytes: &[u8], values: &mut Vec<T>) {
    let (elements, _) = bytes.as_chunks::<2>();
    let halves: Vec<f16> = elements.iter().map(|pair| f16::from_le_bytes(*pair)).collect();
    values.extend(halves.to_f32_vec().into_iter().map(T::from_f32));
}
