//! Reading of safetensors files, checked against every rule of the format.
//!
//! Layout: the header's length (8 bytes, little-endian), the header (JSON: tensor name → type, shape and byte
//! range), the data. The ranges must tile the data without gap or overlap.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::element::{ElementType, StoredTensor, checked_element_count, read_tensor};
use super::error::WeightsError;
use super::files::PositionedFile;
use super::source::{TensorInfo, TensorSource};
use maskwise_kernels::int8::SharedBytes;

/// Longest header that is read, as in the reference implementation of the format.
const MAXIMUM_HEADER_BYTES: u64 = 100_000_000;

/// One safetensors file.
#[derive(Debug)]
pub struct SafetensorsFile {
    file: PositionedFile,
    tensors: BTreeMap<String, TensorInfo>,
    stored: BTreeMap<String, StoredTensor>,
}

impl SafetensorsFile {
    /// Opens a file and checks its header; no tensor is read.
    ///
    /// # Errors
    /// [`WeightsError::InvalidSafetensors`] names the broken rule, [`WeightsError::Truncated`] a file that ends
    /// early, [`WeightsError::UnsupportedDtype`] a type that is not read, [`WeightsError::Io`] the rest.
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        Self::from_file(PositionedFile::open(path)?)
    }

    pub(crate) fn from_file(file: PositionedFile) -> Result<Self, WeightsError> {
        let (header, data_start) = read_header(&file)?;
        let stored = locate_tensors(&file, header, data_start)?;
        let info = |tensor: &StoredTensor| TensorInfo {
            shape: tensor.shape.clone(),
            dtype: tensor.element.dtype(),
            file: file.path().to_path_buf(),
        };
        let tensors = stored.iter().map(|(name, tensor)| (name.clone(), info(tensor))).collect();
        Ok(Self { file, tensors, stored })
    }

    fn stored(&self, name: &str) -> Result<&StoredTensor, WeightsError> {
        self.stored.get(name).ok_or_else(|| WeightsError::UnknownTensor { name: name.to_string() })
    }
}

impl TensorSource for SafetensorsFile {
    fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    fn read(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor, WeightsError> {
        read_tensor(&self.file, name, self.stored(name)?, dtype, device)
    }

    fn bytes(&self, name: &str) -> Result<Option<SharedBytes>, WeightsError> {
        let stored = self.stored(name)?;
        if stored.element != ElementType::U8 {
            let reason = format!("it holds {:?} values", stored.element);
            return Err(WeightsError::UnsupportedConversion {
                name: name.to_string(),
                to: DType::U8,
                reason,
            });
        }
        self.file.share(stored.position, stored.shape.iter().product()).map(Some)
    }
}

fn invalid(file: &PositionedFile, reason: impl Into<String>) -> WeightsError {
    WeightsError::InvalidSafetensors { path: file.path().to_path_buf(), reason: reason.into() }
}

/// The parsed header, and where the data begins.
fn read_header(file: &PositionedFile) -> Result<(Header, u64), WeightsError> {
    let mut length_bytes = [0; 8];
    file.read_at(&mut length_bytes, 0)?;
    let length = u64::from_le_bytes(length_bytes);
    if length > MAXIMUM_HEADER_BYTES {
        let reason =
            format!("its header claims {length} bytes, more than the allowed {MAXIMUM_HEADER_BYTES}");
        return Err(invalid(file, reason));
    }
    let data_start = 8 + length;
    if data_start > file.length() {
        return Err(file.truncated(data_start));
    }
    let mut text = vec![0; length as usize];
    file.read_at(&mut text, 8)?;
    if text.first() != Some(&b'{') {
        return Err(invalid(file, "its header does not begin with `{`"));
    }
    let header: Header = serde_json::from_slice(&text)
        .map_err(|error| invalid(file, format!("its header cannot be understood: {error}")))?;
    Ok((header, data_start))
}

/// Checks types, shapes and byte ranges of all entries against each other and the file's length.
fn locate_tensors(
    file: &PositionedFile,
    header: Header,
    data_start: u64,
) -> Result<BTreeMap<String, StoredTensor>, WeightsError> {
    let mut entries = header.entries;
    entries.sort_by_key(|(_, entry)| entry.data_offsets);
    let data_length = file.length() - data_start;
    let mut end_of_previous = 0;
    let mut stored = BTreeMap::new();
    for (name, entry) in entries {
        let element = element_type(&entry.dtype).ok_or_else(|| WeightsError::UnsupportedDtype {
            name: name.clone(),
            path: file.path().to_path_buf(),
            dtype: entry.dtype.clone(),
        })?;
        let (begin, end) = entry.data_offsets;
        if begin != end_of_previous {
            let what = if begin > end_of_previous { "leaves a gap after" } else { "overlaps" };
            return Err(invalid(file, format!("tensor `{name}` {what} the tensor before it")));
        }
        let count = checked_element_count(&entry.shape)
            .ok_or_else(|| invalid(file, format!("the shape of tensor `{name}` is impossibly large")))?;
        let needed = (count * element.size()) as u64;
        if end.checked_sub(begin) != Some(needed) {
            let reason = format!(
                "tensor `{name}` of {} {:?} needs {needed} bytes but its range is {begin}..{end}",
                entry.dtype, entry.shape
            );
            return Err(invalid(file, reason));
        }
        end_of_previous = end;
        let position = data_start.saturating_add(begin);
        stored.insert(name, StoredTensor { element, shape: entry.shape, position, strides: None });
    }
    if end_of_previous > data_length {
        return Err(file.truncated(data_start.saturating_add(end_of_previous)));
    }
    if end_of_previous < data_length {
        let excess = data_length - end_of_previous;
        return Err(invalid(file, format!("{excess} bytes at its end belong to no tensor")));
    }
    Ok(stored)
}

fn element_type(name: &str) -> Option<ElementType> {
    Some(match name {
        "BOOL" => ElementType::Bool,
        "U8" => ElementType::U8,
        "I8" => ElementType::I8,
        "U16" => ElementType::U16,
        "I16" => ElementType::I16,
        "U32" => ElementType::U32,
        "I32" => ElementType::I32,
        "I64" => ElementType::I64,
        "F16" => ElementType::F16,
        "BF16" => ElementType::BF16,
        "F32" => ElementType::F32,
        "F64" => ElementType::F64,
        _ => return None,
    })
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (u64, u64),
}

/// The tensors of a header; names that occur twice are refused, which a plain map would hide.
struct Header {
    entries: Vec<(String, Entry)>,
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeaderVisitor;

        impl<'de> Visitor<'de> for HeaderVisitor {
            type Value = Header;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut entries = Vec::new();
                let mut names = BTreeSet::new();
                while let Some(name) = map.next_key::<String>()? {
                    if !names.insert(name.clone()) {
                        return Err(de::Error::custom(format!("`{name}` is there twice")));
                    }
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                    } else {
                        entries.push((name, map.next_value()?));
                    }
                }
                Ok(Header { entries })
            }
        }

        deserializer.deserialize_map(HeaderVisitor)
    }
}
