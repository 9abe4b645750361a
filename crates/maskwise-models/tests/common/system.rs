//! The systems under test, opened from folders, and what they see of an image.

use candle_core::{DType, Device, Tensor};
use maskwise_data::image::{PixelValues, RgbImage, decode_path};
use maskwise_data::text::prompt::tokenize_image_prompt;
use maskwise_data::text::{SpecialIds, Tokenizer};
use maskwise_models::clip::ClipVisionConfig;
use maskwise_models::systems::read::{
    Family, ImageInputs, LlavaConfig, LoadOptions, ModelFiles, ModelPlaces, PartTypes, PartWeights,
    ReadModel, SamInputs, SegmentInputs, SystemConfig,
};
use maskwise_nn::weights::{Filtered, Merged, TensorSource, Weights, open_checkpoint, open_file};
use std::path::Path;
use std::sync::Arc;

/// A loaded model with its tokenizer and preprocessors.
pub(crate) struct System {
    pub(crate) model: ReadModel,
    pub(crate) tokenizer: Arc<Tokenizer>,
    inputs: ImageInputs,
}

/// One image, encoded.
pub(crate) struct Seen {
    pub(crate) image: RgbImage,
    pub(crate) clip_pixels: PixelValues,
    pub(crate) sam: SamInputs,
    pub(crate) image_tokens: Tensor,
    pub(crate) embedding: Tensor,
}

impl System {
    /// A model folder, every part in `dtype`.
    pub(crate) fn open(folder: &Path, dtype: DType) -> Self {
        let files = ModelFiles::open(folder, &ModelPlaces::default()).unwrap();
        let options = LoadOptions {
            types: PartTypes::exact(dtype, &Device::Cpu),
            device: Device::Cpu,
            allow_untrained: false,
            on_progress: None,
        };
        let model = files.load(options).unwrap();
        Self { model, tokenizer: files.tokenizer, inputs: files.inputs }
    }

    /// The LISA of a set of goldens: the checkpoint with the projector of `lisa/`, and the tower that `lisa/config.json` names.
    pub(crate) fn open_lisa(goldens: &Path) -> Self {
        let files = ModelFiles::open(&goldens.join("checkpoint"), &ModelPlaces::default()).unwrap();
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        let config = LlavaConfig::from_json(&read(&goldens.join("lisa/config.json"))).unwrap();
        assert_eq!(Family::from_architectures(&config.architectures).unwrap(), Family::Lisa);
        let system = SystemConfig::published(Family::Lisa, config.language_model.hidden_size);
        let tower = goldens.join(config.vision_tower_name().unwrap());
        let vision_config = ClipVisionConfig::from_json(&read(&tower.join("config.json"))).unwrap();
        let clip = maskwise_data::image::clip::ClipPreprocessor::from_json(&read(
            &tower.join("preprocessor_config.json"),
        ))
        .unwrap();
        let special: SpecialIds = files.tokenizer.special_ids(config.language_model.vocab_size).unwrap();

        let shared =
            Filtered::new(files.open_checkpoint().unwrap(), |name| !name.starts_with("model.mm_projector."));
        let own = open_file(&goldens.join("lisa/lisa_extra.safetensors")).unwrap();
        let checkpoint: Box<dyn TensorSource> = Box::new(Merged::new(vec![Box::new(shared), own]).unwrap());
        let language = Weights::new(checkpoint, DType::F32, &Device::Cpu);
        let vision = Weights::new(open_checkpoint(&tower).unwrap(), DType::F32, &Device::Cpu);
        let parts = PartWeights { sam: language.clone(), language, vision };
        let model = ReadModel::load(
            &config,
            &vision_config,
            system.similarity_points,
            system.sam_decoder_heads,
            special,
            &parts,
        )
        .unwrap();
        parts.language.finish().unwrap();
        parts.vision.finish().unwrap();
        Self { model, tokenizer: files.tokenizer, inputs: ImageInputs { clip, sam: files.inputs.sam } }
    }

    /// Decodes and encodes an image once for all questions about it.
    pub(crate) fn look(&self, path: &Path) -> Seen {
        let image = decode_path(path, &Default::default()).unwrap();
        let clip_pixels = self.inputs.for_language(&image).unwrap();
        let sam = self.inputs.for_masks(&image).unwrap();
        let image_tokens = self.model.encode_for_language(&clip_pixels).unwrap();
        let embedding = self.model.encode_for_masks(&sam.pixels).unwrap();
        Seen { image, clip_pixels, sam, image_tokens, embedding }
    }

    /// SAM's resized image, `[height, width, 3]` u8.
    pub(crate) fn resized_for_sam(&self, image: &RgbImage) -> Tensor {
        let resized = self.inputs.sam.resize(image).unwrap();
        let shape = (resized.height() as usize, resized.width() as usize, 3);
        Tensor::from_vec(resized.into_raw(), shape, &Device::Cpu).unwrap()
    }

    /// The ids of a prompt with image marks in it.
    pub(crate) fn ids(&self, prompt: &str) -> Vec<i64> {
        tokenize_image_prompt(&self.tokenizer, prompt).unwrap()
    }

    /// The text of ids.
    pub(crate) fn text(&self, ids: &[i64], skip_special: bool) -> String {
        let ids: Vec<u32> = ids.iter().map(|id| u32::try_from(*id).unwrap()).collect();
        self.tokenizer.decode(&ids, skip_special).unwrap()
    }
}

impl Seen {
    pub(crate) fn segment_inputs(&self) -> SegmentInputs<'_> {
        SegmentInputs {
            embedding: &self.embedding,
            input_size: self.sam.input_size,
            original_size: self.sam.original_size,
        }
    }
}

/// `[channels, height, width]`.
pub(crate) fn pixels(values: &PixelValues) -> Tensor {
    Tensor::from_slice(&values.data, (values.channels, values.height, values.width), &Device::Cpu).unwrap()
}
