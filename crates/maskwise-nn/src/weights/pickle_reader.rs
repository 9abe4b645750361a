//! The bytes of a pickle, in order and within limits.

use std::io::{self, ErrorKind, Read};

/// Most bytes that are read; the numbers of the tensors are not among them.
const MAXIMUM_BYTES: u64 = 64 << 20;
/// Longest module or attribute name.
pub(crate) const MAXIMUM_NAME_BYTES: usize = 512;

/// Why a pickle could not be read.
#[derive(Debug)]
pub(crate) enum PickleError {
    /// It breaks the rules of the format.
    Invalid(String),
    /// It asks for something that is not on the list.
    Refused(String),
    /// It stops before its end.
    EndedEarly,
    /// The file could not be read.
    Io(io::Error),
}

pub(crate) fn invalid<T>(reason: impl Into<String>) -> Result<T, PickleError> {
    Err(PickleError::Invalid(reason.into()))
}

/// Bytes in order, counted and limited.
pub(crate) struct PickleReader<R> {
    reader: R,
    consumed: u64,
}

impl<R: Read> PickleReader<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self { reader, consumed: 0 }
    }

    /// Bytes read so far.
    pub(crate) fn consumed(&self) -> u64 {
        self.consumed
    }

    pub(crate) fn array<const SIZE: usize>(&mut self) -> Result<[u8; SIZE], PickleError> {
        let mut bytes = [0; SIZE];
        self.count(SIZE as u64)?;
        self.reader.read_exact(&mut bytes).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => PickleError::EndedEarly,
            _ => PickleError::Io(error),
        })?;
        Ok(bytes)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, PickleError> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// `length` bytes; grows with what is really there, whatever the length claims.
    pub(crate) fn bytes(&mut self, length: u64) -> Result<Vec<u8>, PickleError> {
        self.count(length)?;
        let mut bytes = Vec::new();
        self.reader.by_ref().take(length).read_to_end(&mut bytes).map_err(PickleError::Io)?;
        if bytes.len() as u64 == length { Ok(bytes) } else { Err(PickleError::EndedEarly) }
    }

    /// `length` bytes of UTF-8.
    pub(crate) fn text(&mut self, length: u64) -> Result<String, PickleError> {
        match String::from_utf8(self.bytes(length)?) {
            Ok(text) => Ok(text),
            Err(_) => invalid("a name is not UTF-8"),
        }
    }

    /// A line without its end.
    pub(crate) fn line(&mut self) -> Result<String, PickleError> {
        let mut line = Vec::new();
        loop {
            match self.byte()? {
                b'\n' => return Ok(String::from_utf8_lossy(&line).into_owned()),
                byte if line.len() < MAXIMUM_NAME_BYTES => line.push(byte),
                _ => return invalid("the name of an import is too long"),
            }
        }
    }

    fn count(&mut self, length: u64) -> Result<(), PickleError> {
        self.consumed = self.consumed.saturating_add(length);
        if self.consumed > MAXIMUM_BYTES {
            return invalid(format!("it is longer than {MAXIMUM_BYTES} bytes before the tensors' data"));
        }
        Ok(())
    }
}
