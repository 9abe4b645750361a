//! Python pickles of plain data, read without executing anything, and written.
//!
//! RefCOCO and its relatives keep their expressions in pickles (spec 6.2). Plain data is what JSON can say, and tuples:
//! `None`, booleans, integers of 64 bits, floats, text, lists, tuples and dictionaries, in protocols 0 to 5. A pickle that names
//! any class or function is refused with that name; there is no code here that could call one.
//!
//! The reference for the operations is `Lib/pickletools.py` of CPython.

mod de;
mod machine;
mod operands;
mod write;

use std::path::Path;

use serde::de::DeserializeOwned;

pub use write::{to_bytes, write};

/// Largest pickle that is read.
const MAXIMUM_BYTES: u64 = 1 << 30;

/// Why a pickle could not be read.
#[derive(Debug, thiserror::Error)]
pub enum PickleError {
    /// The file could not be read.
    #[error("cannot read {path:?}: {source}")]
    Read {
        /// The file.
        path: std::path::PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The pickle names something that could run code, or something that is not plain data.
    #[error("the pickle asks for {0}, which is not plain data; nothing of it was executed")]
    Refused(String),
    /// The bytes break the rules of the format.
    #[error("not a pickle of plain data: {what} at byte {offset}")]
    Invalid {
        /// What is wrong.
        what: String,
        /// Where the operation begins, in bytes.
        offset: usize,
    },
    /// The data is not of the expected form.
    #[error("the pickle holds other data than expected: {0}")]
    Form(String),
}

/// Reads a pickle file into a type.
///
/// # Errors
/// [`PickleError`]; it does not repeat the path except where the file cannot be read.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, PickleError> {
    let unreadable = |source| PickleError::Read { path: path.to_owned(), source };
    let length = std::fs::metadata(path).map_err(unreadable)?.len();
    if length > MAXIMUM_BYTES {
        return Err(PickleError::Form(format!(
            "{length} bytes, more than the {MAXIMUM_BYTES} that are read"
        )));
    }
    from_bytes(&std::fs::read(path).map_err(unreadable)?)
}

/// Reads a pickle into a type.
///
/// # Errors
/// [`PickleError`].
pub fn from_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, PickleError> {
    let (heap, value) = machine::run(bytes)?;
    T::deserialize(de::Node::new(&heap, &value, &de::Budget::of(&heap)))
        .map_err(|error| PickleError::Form(error.0))
}
