//! Which pictures, pairs and wordings belong to which split.

use super::{Colour, Kind};
use crate::dataset::SampleRng;
use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

/// A part of the Tabletop world. No two share a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// For training.
    Train,
    /// For choosing a checkpoint.
    Validation,
    /// For the numbers that are reported; the same distribution as training.
    Test,
    /// Each question shows a pair of kind and colour, or a wording, that no other split has.
    Unseen,
}

impl Split {
    /// Every split.
    pub const ALL: [Split; 4] = [Split::Train, Split::Validation, Split::Test, Split::Unseen];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Validation => "validation",
            Split::Test => "test",
            Split::Unseen => "unseen",
        }
    }

    /// Whether things of this kind may have this colour in pictures and questions of the split.
    pub fn allows(self, kind: Kind, colour: Colour) -> bool {
        self == Split::Unseen || !is_unseen_pair(kind, colour)
    }

    /// The generator of picture `index` of the world `seed`: no two of (seed, split, index) give the same one while
    /// `index` is below 2^62.
    pub(super) fn rng(self, seed: u64, index: u64) -> SampleRng {
        // Three rounds of a Feistel network: a permutation of all 128 bits, whatever `mix` is.
        let mut left = seed;
        let mut right = (index & (u64::MAX >> 2)) | (self as u64) << 62;
        left ^= mix(right);
        right ^= mix(left);
        left ^= mix(right);
        SampleRng::new(u128::from(left) << 64 | u128::from(right))
    }
}

impl Display for Split {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Split {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Split::ALL
            .into_iter()
            .find(|split| split.name() == text)
            .ok_or_else(|| format!("there is no split `{text}`; choose train, validation, test or unseen"))
    }
}

/// Whether the pair occurs in [`Split::Unseen`] only: a tenth of the pairs of kinds with colours that they may have.
pub fn is_unseen_pair(kind: Kind, colour: Colour) -> bool {
    stable_hash(&format!("{}/{}", kind.name(), colour.name())) % 10 == 2
}

/// FNV-1a, mixed: the same on every machine and in every version, since shipped models depend on it.
pub(super) fn stable_hash(text: &str) -> u64 {
    let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    mix(text.bytes().fold(0xcbf2_9ce4_8422_2325, fold))
}

/// The finaliser of SplitMix64.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;
    use std::collections::HashSet;

    #[test]
    fn a_tenth_of_the_pairs_is_unseen_and_no_kind_loses_all_its_colours() {
        let (mut unseen, mut pairs) = (0, 0);
        for &kind in Kind::ALL {
            let hidden = kind.colours().iter().filter(|&&colour| is_unseen_pair(kind, colour)).count();
            assert!(hidden * 2 <= kind.colours().len(), "{kind:?}");
            unseen += hidden;
            pairs += kind.colours().len();
        }
        let share = unseen as f64 / pairs as f64;
        assert!((0.08..0.12).contains(&share), "{unseen} of {pairs}");
    }

    #[test]
    fn pictures_of_different_splits_and_seeds_differ() {
        let mut first = HashSet::new();
        for seed in [0, 1, u64::MAX] {
            for split in Split::ALL {
                for index in 0..50 {
                    assert!(first.insert(split.rng(seed, index).random::<u128>()));
                }
            }
        }
        assert_eq!(Split::Test.rng(7, 9), Split::Test.rng(7, 9));
    }

    #[test]
    fn names_are_read_back() {
        for split in Split::ALL {
            assert_eq!(split.to_string().parse(), Ok(split));
        }
        assert!("val".parse::<Split>().unwrap_err().contains("validation"));
    }
}
