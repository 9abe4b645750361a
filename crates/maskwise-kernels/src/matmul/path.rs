//! Which instructions products use.

use std::sync::OnceLock;

/// The instructions behind products of [`Precision::Medium`](super::Precision::Medium), large ones in f32 (of which [`Path::Amx`] takes the numbers apart),
/// and those with weights in [eight bits](crate::int8), whose AVX-512 path needs VNNI in place of BF16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// Tiles of Intel AMX (`amx-bf16`), on Linux.
    Amx,
    /// Dot products of AVX-512 BF16. Where they run at a quarter of the rate of f32 multiply-adds, as on Sapphire Rapids, this path
    /// is slower than f32; processors with a full rate have not been measured.
    Avx512,
    /// Byte products of AVX2, for weights in [eight bits](crate::int8); it has nothing for bf16.
    Avx2,
    /// Operands rounded to bf16 and multiplied in f32: the same values, save for the order of sums, and no gain in speed.
    Portable,
}

impl Path {
    /// All of them, the fastest first.
    pub const ALL: [Self; 4] = [Self::Amx, Self::Avx512, Self::Avx2, Self::Portable];

    /// The path of this process: the fastest that the processor has.
    ///
    /// The environment variable `MASKWISE_ISA` (`amx`, `avx512`, `avx2`, `portable`), read once, asks for another
    /// one. If the processor lacks it, the next one in this list that it has is taken. Other values count as unset here;
    /// [`Path::check_wish`] refuses them.
    pub fn current() -> Self {
        static CURRENT: OnceLock<Path> = OnceLock::new();
        *CURRENT.get_or_init(|| {
            let wish = Self::wished();
            let mut paths = Self::ALL.into_iter();
            paths.find(|&path| path as u8 >= wish as u8 && path.is_available()).unwrap_or(Self::Portable)
        })
    }

    /// What `MASKWISE_ISA` asks for; the fastest if it is unset.
    pub(crate) fn wished() -> Self {
        static WISHED: OnceLock<Path> = OnceLock::new();
        *WISHED.get_or_init(|| Self::check_wish().unwrap_or(Self::Amx))
    }

    /// The path that `MASKWISE_ISA` asks for; [`Path::Amx`], the fastest, if it is unset.
    ///
    /// # Errors
    /// For a value that is none of the paths' names: what is wrong, in words.
    pub fn check_wish() -> Result<Self, String> {
        match std::env::var_os("MASKWISE_ISA") {
            None => Ok(Self::Amx),
            Some(name) => match name.to_str() {
                Some("" | "amx") => Ok(Self::Amx),
                Some("avx512") => Ok(Self::Avx512),
                Some("avx2") => Ok(Self::Avx2),
                Some("portable") => Ok(Self::Portable),
                _ => Err(format!("MASKWISE_ISA is {name:?}; known are amx, avx512, avx2 and portable")),
            },
        }
    }

    /// Whether this processor and its operating system have what the path needs for products of bf16.
    #[cfg(target_arch = "x86_64")]
    pub fn is_available(self) -> bool {
        match self {
            Self::Amx => super::tiles::is_available() && super::dots::is_available(),
            Self::Avx512 => super::dots::is_available(),
            Self::Avx2 => false,
            Self::Portable => true,
        }
    }

    /// Whether this processor and its operating system have what the path needs.
    #[cfg(not(target_arch = "x86_64"))]
    pub fn is_available(self) -> bool {
        self == Self::Portable
    }
}
