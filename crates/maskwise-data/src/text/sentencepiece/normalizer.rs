//! Text normalisation before segmentation: character map, dummy prefix, whitespace rules.

use super::SentencePieceError;
use super::proto::ModelProto;
use super::trie::Trie;

/// How SentencePiece writes a space inside a piece (U+2581).
pub(super) const SPACE_SYMBOL: &str = "\u{2581}";

#[derive(Debug)]
pub(super) struct Normalizer {
    charsmap: Option<CharacterMap>,
    pub(super) add_dummy_prefix: bool,
    pub(super) remove_extra_whitespaces: bool,
    escape_whitespaces: bool,
}

impl Normalizer {
    pub(super) fn new(proto: &ModelProto) -> Result<Self, SentencePieceError> {
        let charsmap = match proto.charsmap.is_empty() {
            true => None,
            false => Some(CharacterMap::parse(&proto.charsmap)?),
        };
        Ok(Self {
            charsmap,
            add_dummy_prefix: proto.add_dummy_prefix,
            remove_extra_whitespaces: proto.remove_extra_whitespaces,
            escape_whitespaces: proto.escape_whitespaces,
        })
    }

    /// The text that the segmentation sees. `user_defined` symbols pass through the character map untouched.
    pub(super) fn normalize(&self, text: &str, user_defined: &Trie) -> String {
        let mut rest = text;
        if self.remove_extra_whitespaces {
            while let Some((mapped, length)) = self.normalize_prefix(rest, user_defined)
                && mapped == " "
            {
                rest = &rest[length..];
            }
        }
        if rest.is_empty() {
            return String::new();
        }
        let space = if self.escape_whitespaces { SPACE_SYMBOL } else { " " };
        let mut normalized = String::with_capacity(rest.len() + rest.len() / 2 + space.len());
        if self.add_dummy_prefix {
            normalized.push_str(space);
        }
        let mut after_space = self.remove_extra_whitespaces;
        while let Some((mapped, length)) = self.normalize_prefix(rest, user_defined) {
            let mapped = if after_space { mapped.trim_start_matches(' ') } else { mapped };
            for (index, part) in mapped.split(' ').enumerate() {
                if index > 0 {
                    normalized.push_str(space);
                }
                normalized.push_str(part);
            }
            if self.remove_extra_whitespaces && !mapped.is_empty() {
                after_space = mapped.ends_with(' ');
            }
            rest = &rest[length..];
        }
        if self.remove_extra_whitespaces {
            normalized.truncate(normalized.trim_end_matches(space).len());
        }
        normalized
    }

    /// What the head of `text` turns into, and how many bytes of it that consumes; `None` at the end.
    fn normalize_prefix<'a>(&'a self, text: &'a str, user_defined: &Trie) -> Option<(&'a str, usize)> {
        let first = text.chars().next()?;
        if let Some((length, _)) = user_defined.longest_prefix(text.as_bytes()) {
            return Some((&text[..length], length));
        }
        if let Some(found) = self.charsmap.as_ref().and_then(|map| map.longest_rule(text)) {
            return Some(found);
        }
        Some((&text[..first.len_utf8()], first.len_utf8()))
    }
}

/// A `precompiled_charsmap`: a double-array trie of the rules' left sides, then their right sides, each ended by NUL.
#[derive(Debug)]
struct CharacterMap {
    units: Vec<u32>,
    replacements: String,
}

/// SentencePiece looks at no more than this many matching rules at one place.
const MOST_RULES_AT_ONE_PLACE: usize = 32;

impl CharacterMap {
    fn parse(blob: &[u8]) -> Result<Self, SentencePieceError> {
        let broken = |what: &str| SentencePieceError::Invalid(format!("precompiled_charsmap {what}"));
        let (head, rest) =
            blob.split_first_chunk::<4>().ok_or_else(|| broken("is shorter than its header"))?;
        let size = u32::from_le_bytes(*head) as usize;
        if size > rest.len() || !size.is_multiple_of(4) {
            return Err(broken("states a trie size that it does not hold"));
        }
        let (trie, replacements) = rest.split_at(size);
        let units = trie.chunks_exact(4).map(|unit| u32::from_le_bytes([unit[0], unit[1], unit[2], unit[3]]));
        let replacements =
            std::str::from_utf8(replacements).map_err(|_| broken("holds text that is not UTF-8"))?;
        Ok(Self { units: units.collect(), replacements: replacements.to_owned() })
    }

    /// The replacement by the longest rule that `text` begins with, and the bytes that the rule consumes.
    fn longest_rule(&self, text: &str) -> Option<(&str, usize)> {
        let mut node = offset(*self.units.first()?);
        let mut found = None;
        let mut count = 0;
        for (at, byte) in text.bytes().enumerate() {
            node ^= usize::from(byte);
            let unit = match self.units.get(node) {
                Some(unit) if unit & 0x8000_00FF == u32::from(byte) => *unit,
                _ => break,
            };
            node ^= offset(unit);
            if unit & 0x100 != 0 {
                let value = self.units.get(node)? & 0x7FFF_FFFF;
                found = Some((value as usize, at + 1));
                count += 1;
                if count == MOST_RULES_AT_ONE_PLACE {
                    break;
                }
            }
        }
        let (start, length) = found?;
        // A damaged map could end a rule or start a replacement inside a character: then there is no rule here.
        if !text.is_char_boundary(length) {
            return None;
        }
        let replacement = self.replacements.get(start..)?;
        Some((replacement.split('\0').next().unwrap_or_default(), length))
    }
}

/// Offset to a unit's children in the double array.
fn offset(unit: u32) -> usize {
    ((unit >> 10) << ((unit & 0x200) >> 6)) as usize
}
