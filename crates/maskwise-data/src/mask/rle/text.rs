//! The compressed string of a run-length code.

use super::RleError;

/// Longest number: 32 bits and a sign in groups of five.
const MAX_GROUPS: u32 = 7;

pub(super) fn parse(text: &str) -> Result<Vec<u32>, RleError> {
    let mut counts: Vec<u32> = Vec::new();
    let mut bytes = text.bytes().enumerate();
    while let Some(first) = bytes.next() {
        let mut next = Some(first);
        let (mut value, mut groups) = (0i64, 0u32);
        loop {
            let (position, byte) = next.ok_or(RleError::Truncated)?;
            if !(48..112).contains(&byte) {
                return Err(RleError::Character { position, byte });
            }
            let bits = i64::from(byte - 48);
            value |= (bits & 0x1f) << (5 * groups);
            groups += 1;
            if bits & 0x20 == 0 {
                if bits & 0x10 != 0 {
                    value |= -1 << (5 * groups);
                }
                break;
            }
            if groups == MAX_GROUPS {
                return Err(RleError::Run { index: counts.len(), length: value });
            }
            next = bytes.next();
        }
        let index = counts.len();
        if index > 2 {
            value += i64::from(counts[index - 2]);
        }
        counts.push(u32::try_from(value).map_err(|_| RleError::Run { index, length: value })?);
    }
    Ok(counts)
}

pub(super) fn write(counts: &[u32]) -> String {
    let mut text = String::new();
    for (index, &count) in counts.iter().enumerate() {
        let mut value = i64::from(count);
        if index > 2 {
            value -= i64::from(counts[index - 2]);
        }
        loop {
            let bits = (value & 0x1f) as u8;
            value >>= 5;
            // Done when the sign bit of this group says all that is left.
            let more = if bits & 0x10 != 0 { value != -1 } else { value != 0 };
            text.push(char::from(48 + bits + if more { 0x20 } else { 0 }));
            if !more {
                break;
            }
        }
    }
    text
}
