use crate::error::{Error, Result};
use candle_core::{DType, Device};
use maskwise_models::systems::read::PartTypes;
use maskwise_nn::ops::{Precision, bf16_products_pay};
use maskwise_nn::weights::Quantization;
use std::fmt;
use std::str::FromStr;

/// Where a model runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// The processor.
    #[default]
    Cpu,
    /// A CUDA device by its index; needs the feature `cuda`.
    Cuda(usize),
    /// Apple's GPU; needs the feature `metal`.
    Metal,
}

/// Refuses an environment that asks for instructions by a name that there is not (`MASKWISE_ISA`).
///
/// # Errors
/// [`Error::Device`].
pub fn check_instructions() -> Result<()> {
    maskwise_nn::ops::check_instructions().map_err(Error::Device)
}

impl DeviceChoice {
    /// Opens the device.
    ///
    /// # Errors
    /// [`Error::Device`] when this build lacks the backend or the machine the device.
    pub fn open(self) -> Result<Device> {
        let device = match self {
            Self::Cpu => return Ok(Device::Cpu),
            Self::Cuda(_) if !cfg!(feature = "cuda") => return Err(self.not_compiled("cuda")),
            Self::Metal if !cfg!(feature = "metal") => return Err(self.not_compiled("metal")),
            Self::Cuda(index) => Device::new_cuda(index),
            Self::Metal => Device::new_metal(0),
        };
        device.map_err(|error| Error::Device(format!("device {self} cannot be opened: {error}")))
    }

    fn not_compiled(self, feature: &str) -> Error {
        Error::Device(format!(
            "device {self} needs a build with `--features {feature}`; this one runs on cpu"
        ))
    }
}

impl FromStr for DeviceChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once(':') {
            None if text == "cpu" => Ok(Self::Cpu),
            None if text == "cuda" => Ok(Self::Cuda(0)),
            None if text == "metal" => Ok(Self::Metal),
            Some(("cuda", index)) => index.parse().map(Self::Cuda).map_err(|_| unknown(text)),
            _ => Err(unknown(text)),
        }
    }
}

fn unknown(text: &str) -> Error {
    Error::Device(format!("unknown device `{text}`; known are cpu, cuda, cuda:N and metal"))
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Cpu => formatter.write_str("cpu"),
            Self::Cuda(index) => write!(formatter, "cuda:{index}"),
            Self::Metal => formatter.write_str("metal"),
        }
    }
}

/// The dtype that the language model computes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DtypeChoice {
    /// 32-bit floats.
    F32,
    /// bfloat16, what the published models were trained in.
    Bf16,
}

impl DtypeChoice {
    /// What a model of `parameters` values runs in where nothing else was asked for: f32 below a billion, where memory does
    /// not matter and f32 is the quicker type on processors; else bf16.
    pub fn for_parameters(parameters: u64) -> Self {
        if parameters < 1_000_000_000 { Self::F32 } else { Self::Bf16 }
    }

    /// candle's name for it.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
        }
    }
}

impl FromStr for DtypeChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            _ => Err(Error::Device(format!("unknown dtype `{text}`; known are f32 and bf16"))),
        }
    }
}

impl fmt::Display for DtypeChoice {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        })
    }
}

/// How closely the reference's rounding is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NumericMode {
    /// Rounded where the reference rounds; on processors CLIP and SAM in f32 (see [`PartTypes::exact`]).
    #[default]
    Exact,
    /// Rounds otherwise where that is quicker: on processors with AMX, CLIP, SAM's image encoder and the language model round the operands of
    /// large products to bf16 where they compute in f32, and keep their weights so. Points, prompts and SAM's mask decoder stay exact.
    Fast,
}

impl NumericMode {
    /// The dtype of each part on `device`.
    pub fn types(self, dtype: DtypeChoice, device: DeviceChoice) -> PartTypes {
        let dtype = dtype.dtype();
        match device {
            DeviceChoice::Cpu => PartTypes::exact(dtype, &Device::Cpu),
            _ => PartTypes::uniform(dtype),
        }
    }

    /// How exact the f32 products of the large networks are on a processor.
    pub(crate) fn precision(self) -> Precision {
        match self {
            // Elsewhere rounding costs more than it saves.
            Self::Fast if bf16_products_pay() => Precision::Medium,
            Self::Exact | Self::Fast => Precision::Highest,
        }
    }

    /// How large weights are kept that are not quantized: where products round them to bf16 anyway, they are rounded once.
    pub(crate) fn kept(self, quantization: Quantization) -> Quantization {
        match quantization {
            Quantization::None if self.precision() == Precision::Medium => Quantization::Bf16,
            quantization => quantization,
        }
    }
}

impl FromStr for NumericMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "exact" => Ok(Self::Exact),
            "fast" => Ok(Self::Fast),
            _ => Err(Error::Device(format!("unknown mode `{text}`; known are exact and fast"))),
        }
    }
}

impl fmt::Display for NumericMode {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(match self {
            Self::Exact => "exact",
            Self::Fast => "fast",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for name in ["cpu", "cuda:0", "cuda:3", "metal"] {
            assert_eq!(name.parse::<DeviceChoice>().unwrap().to_string(), name);
        }
        for name in ["gpu", "cuda:x", "cuda:-1", "", "cpu:1"] {
            assert!(name.parse::<DeviceChoice>().unwrap_err().to_string().contains("known are"), "{name}");
        }
        assert!("f16".parse::<DtypeChoice>().is_err());
        assert!("quick".parse::<NumericMode>().is_err());
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_device_that_is_not_compiled_in_says_so() {
        assert!(DeviceChoice::Cuda(0).open().unwrap_err().to_string().contains("--features cuda"));
    }
}
