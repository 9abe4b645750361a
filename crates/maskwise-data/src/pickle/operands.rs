//! What stands behind a pickle's operations: numbers, lines and texts.

use super::PickleError;

/// Reads the bytes of a pickle in order.
#[derive(Clone)]
pub(super) struct Operands<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the present operation begins.
    pub(super) operation: usize,
}

impl<'a> Operands<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, operation: 0 }
    }

    pub(super) fn opcode(&mut self) -> Result<u8, PickleError> {
        self.operation = self.at;
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn invalid<T>(&self, what: impl Into<String>) -> Result<T, PickleError> {
        Err(PickleError::Invalid { what: what.into(), offset: self.operation })
    }

    pub(super) fn take(&mut self, length: u64) -> Result<&'a [u8], PickleError> {
        let rest = &self.bytes[self.at..];
        match usize::try_from(length).ok().and_then(|length| rest.get(..length)) {
            Some(taken) => {
                self.at += taken.len();
                Ok(taken)
            }
            None => self.invalid("the file ends inside an operation"),
        }
    }

    pub(super) fn array<const SIZE: usize>(&mut self) -> Result<[u8; SIZE], PickleError> {
        let mut array = [0; SIZE];
        array.copy_from_slice(self.take(SIZE as u64)?);
        Ok(array)
    }

    pub(super) fn u8(&mut self) -> Result<u64, PickleError> {
        self.array::<1>().map(|[byte]| byte.into())
    }

    pub(super) fn u32(&mut self) -> Result<u64, PickleError> {
        self.array().map(|bytes| u32::from_le_bytes(bytes).into())
    }

    pub(super) fn u64(&mut self) -> Result<u64, PickleError> {
        self.array().map(u64::from_le_bytes)
    }

    /// `length` bytes of UTF-8.
    pub(super) fn text(&mut self, length: u64) -> Result<&'a str, PickleError> {
        let bytes = self.take(length)?;
        // Python writes lone surrogates as they are; no file of the field has them.
        std::str::from_utf8(bytes).or_else(|_| self.invalid("a text that is not UTF-8"))
    }

    /// The line that follows, without its end.
    pub(super) fn line(&mut self) -> Result<&'a str, PickleError> {
        let rest = &self.bytes[self.at..];
        let Some(length) = rest.iter().position(|&byte| byte == b'\n') else {
            return self.invalid("a line without an end");
        };
        let line = self.text(length as u64)?;
        self.at += 1;
        Ok(line.strip_suffix('\r').unwrap_or(line))
    }

    /// A number on a line.
    pub(super) fn parse<T: std::str::FromStr>(&mut self) -> Result<T, PickleError> {
        let line = self.line()?;
        // Python 2 ends long integers with an L.
        let digits = line.strip_suffix('L').unwrap_or(line);
        digits.parse().or_else(|_| self.invalid(format!("{:?} where a number should be", shortened(line))))
    }

    /// A two's complement integer of `length` bytes.
    pub(super) fn long(&mut self, length: u64) -> Result<i64, PickleError> {
        let bytes = self.take(length)?;
        let fill = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
        let mut padded = [fill; 8];
        match padded.get_mut(..bytes.len()) {
            Some(start) => start.copy_from_slice(bytes),
            None => return self.invalid("an integer of more than 64 bits"),
        }
        Ok(i64::from_le_bytes(padded))
    }

    /// A quoted text of Python 2 on a line, `'it\'s'`.
    pub(super) fn quoted(&mut self) -> Result<String, PickleError> {
        let line = self.line()?;
        let inner = ['\'', '"'].iter().find_map(|quote| line.strip_prefix(*quote)?.strip_suffix(*quote));
        let Some(inner) = inner else {
            return self.invalid("a text without its quotes");
        };
        let mut bytes = Vec::with_capacity(inner.len());
        let mut rest = inner.as_bytes();
        while let Some((&first, tail)) = rest.split_first() {
            rest = tail;
            if first != b'\\' {
                bytes.push(first);
                continue;
            }
            let Some((&escape, tail)) = rest.split_first() else {
                return self.invalid("a text that ends inside an escape");
            };
            rest = tail;
            bytes.push(match escape {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'\\' | b'\'' | b'"' => escape,
                b'x' => match hexadecimal(rest, 2) {
                    Some(value) => {
                        rest = &rest[2..];
                        value as u8
                    }
                    None => return self.invalid("a broken \\x escape"),
                },
                _ => return self.invalid(format!("the unknown escape \\{}", escape.escape_ascii())),
            });
        }
        String::from_utf8(bytes).or_else(|_| self.invalid("a text that is not UTF-8"))
    }

    /// A text of protocol 0 on a line: Latin-1 with `\uXXXX` and `\UXXXXXXXX`.
    pub(super) fn escaped(&mut self) -> Result<String, PickleError> {
        let rest = &self.bytes[self.at..];
        let Some(length) = rest.iter().position(|&byte| byte == b'\n') else {
            return self.invalid("a line without an end");
        };
        let mut line = self.take(length as u64)?;
        self.at += 1;
        let mut text = String::with_capacity(line.len());
        while let Some((&first, tail)) = line.split_first() {
            let digits = match (first, tail.first()) {
                (b'\\', Some(b'u')) => 4,
                (b'\\', Some(b'U')) => 8,
                _ => {
                    text.push(char::from(first));
                    line = tail;
                    continue;
                }
            };
            match hexadecimal(&tail[1..], digits).and_then(char::from_u32) {
                Some(character) => text.push(character),
                None => return self.invalid("a broken \\u escape"),
            }
            line = &tail[1 + digits..];
        }
        Ok(text)
    }
}

fn hexadecimal(bytes: &[u8], digits: usize) -> Option<u32> {
    let digits = std::str::from_utf8(bytes.get(..digits)?).ok()?;
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
}

/// The first characters of a text from a file, fit for an error message.
pub(super) fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}
