//! Plain data as a pickle of protocol 2, which every Python since 2.3 reads.

use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use crate::atomic::{WriteError, write_atomic};

/// `value` as a pickle: what it looks like in JSON, with lists, dictionaries, text, numbers, booleans and `None`.
///
/// # Errors
/// Where JSON could not hold `value` either: keys that are not text, a number that is not finite or beyond 64 bits.
pub fn to_bytes<T: Serialize>(value: &T) -> serde_json::Result<Vec<u8>> {
    let mut bytes = vec![0x80, 2]; // PROTO
    append(&mut bytes, &serde_json::to_value(value)?)?;
    bytes.push(b'.'); // STOP
    Ok(bytes)
}

/// Writes `value` as [`to_bytes`] does, all of the file or nothing.
///
/// # Errors
/// [`WriteError`], which names `path`.
pub fn write<T: Serialize>(path: &Path, value: &T) -> Result<(), WriteError> {
    write_atomic(path, |writer| writer.write_all(&to_bytes(value)?))
}

fn append(bytes: &mut Vec<u8>, value: &Value) -> serde_json::Result<()> {
    match value {
        Value::Null => bytes.push(b'N'),
        Value::Bool(value) => bytes.push(if *value { 0x88 } else { 0x89 }),
        Value::Number(number) => append_number(bytes, number)?,
        Value::String(text) => append_text(bytes, text)?,
        Value::Array(items) => {
            bytes.extend(b"]("); // EMPTY_LIST MARK
            for item in items {
                append(bytes, item)?;
            }
            bytes.push(b'e'); // APPENDS
        }
        Value::Object(entries) => {
            bytes.extend(b"}("); // EMPTY_DICT MARK
            for (key, value) in entries {
                append_text(bytes, key)?;
                append(bytes, value)?;
            }
            bytes.push(b'u'); // SETITEMS
        }
    }
    Ok(())
}

fn append_number(bytes: &mut Vec<u8>, number: &serde_json::Number) -> serde_json::Result<()> {
    let integer = number.as_i64();
    if let Some(small) = integer.and_then(|value| i32::try_from(value).ok()) {
        bytes.push(b'J'); // BININT
        bytes.extend(small.to_le_bytes());
    } else if let Some(large) = integer {
        bytes.extend([0x8a, 8]); // LONG1
        bytes.extend(large.to_le_bytes());
    } else if let Some(float) = number.as_f64().filter(|_| number.is_f64()) {
        bytes.push(b'G'); // BINFLOAT
        bytes.extend(float.to_be_bytes());
    } else {
        return Err(serde::ser::Error::custom(format!("{number} does not fit 64 bits")));
    }
    Ok(())
}

fn append_text(bytes: &mut Vec<u8>, text: &str) -> serde_json::Result<()> {
    let length = u32::try_from(text.len()).map_err(|_| serde::ser::Error::custom("a text of 4 GiB"))?;
    bytes.push(b'X'); // BINUNICODE
    bytes.extend(length.to_le_bytes());
    bytes.extend(text.as_bytes());
    Ok(())
}
