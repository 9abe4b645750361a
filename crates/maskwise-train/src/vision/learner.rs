use super::heads::Heads;
use super::prepare::Grids;
use super::{ClipView, SamView, VisionItem, VisionTarget};
use crate::read::{LossWeights, MaskLosses, Part, TrainedWeights, TrainedWeightsConfig, mask_tensor};
use crate::{Gradients, Learner, LossTerms, MicroBatch, Parameters, TrainError};
use candle_core::{DType, Device, Tensor, Var};
use maskwise_data::dataset::SampleRng;
use maskwise_data::image::{PixelValues, PreprocessError};
use maskwise_data::mask::overlap_with_target;
use maskwise_data::tabletop::Scene;
use maskwise_models::heads::similarity_points::{SimilarityPoints, similarity_points};
use maskwise_models::sam::{PointPrompt, Prompts, postprocess_masks};
use maskwise_models::systems::read::{ModelFiles, PartTypes, ReadModel, SamInputs};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Teaches the image encoders and the mask decoder of a READ.
pub struct VisionLearner {
    files: ModelFiles,
    weights: TrainedWeights,
    heads: Heads,
    loss: LossWeights,
    parameters: Parameters,
    encoders: Vec<Encoder>,
    most_targets: usize,
}

/// What the learner sees of held-out pictures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VisionScores {
    /// Mean IoU of things and parts, prompted by name and points; 0 where SAM does not learn.
    pub iou: f64,
    /// Share of things whose kind CLIP's states tell; 0 where CLIP does not learn.
    pub kind_accuracy: f64,
}

/// An encoder that learns to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoder {
    /// The vision tower.
    Clip,
    /// SAM's image encoder, with its prompt encoder and mask decoder.
    Sam,
}

impl Encoder {
    pub(crate) fn parts(self) -> &'static [Part] {
        match self {
            Self::Clip => &[Part::VisionTower],
            Self::Sam => &[Part::ImageEncoder, Part::PromptEncoder, Part::MaskDecoder],
        }
    }
}

struct Pass {
    total: Tensor,
    terms: LossTerms,
}

/// Losses as they come up.
#[derive(Default)]
struct Losses {
    total: Option<Tensor>,
    terms: Vec<(&'static str, f64)>,
}

impl Losses {
    fn add(&mut self, name: &'static str, loss: Tensor) -> Result<(), TrainError> {
        self.terms.push((name, f64::from(loss.to_scalar::<f32>()?)));
        self.total = Some(match self.total.take() {
            Some(total) => (total + loss)?,
            None => loss,
        });
        Ok(())
    }

    fn finish(mut self) -> Result<Pass, TrainError> {
        let total =
            self.total.ok_or_else(|| TrainError::setting("vision.encoders", "names nothing to learn"))?;
        self.terms.insert(0, ("loss", f64::from(total.to_scalar::<f32>()?)));
        Ok(Pass { total, terms: LossTerms(self.terms) })
    }
}

impl VisionLearner {
    /// Reads the weights of `files`; `encoders` learn, and at most `most_targets` masks are drawn of each picture.
    ///
    /// # Errors
    /// As [`TrainedWeights::read`], or when the model uses no points.
    pub fn new(
        files: ModelFiles,
        encoders: &[Encoder],
        most_targets: usize,
        seed: u64,
        device: &Device,
    ) -> Result<Self, TrainError> {
        if files.system.similarity_points.is_none() {
            let reason =
                "the vision stage prompts with points, but maskwise.json has similarity_points: null";
            return Err(TrainError::setting("model", reason));
        }
        let config = TrainedWeightsConfig {
            parts: encoders.iter().flat_map(|encoder| encoder.parts()).copied().collect(),
            lora: None,
            first_trained_row: None,
            types: PartTypes::uniform(DType::F32),
            seed,
        };
        let weights = TrainedWeights::read(&files, &config, device)?;
        let model = weights.model(&files, None)?;
        let dim = model.sam.prompt_encoder.dense_positions()?.dim(1)?;
        let heads = Heads::new(files.vision_config.hidden_size, dim, seed, device)?;
        let variables: BTreeMap<String, Var> = weights
            .parameters()
            .iter()
            .map(|(name, variable)| (name.to_owned(), variable.clone()))
            .chain(heads.variables())
            .collect();
        let parameters = Parameters::new(variables);
        Ok(Self {
            files,
            weights,
            heads,
            loss: LossWeights::default(),
            parameters,
            encoders: encoders.to_vec(),
            most_targets,
        })
    }

    /// The weights in training, without the heads.
    pub fn weights(&self) -> &TrainedWeights {
        &self.weights
    }

    /// The model's small files.
    pub fn files(&self) -> &ModelFiles {
        &self.files
    }

    /// Brings a scene into the form that [`Learner::micro_batch`] takes.
    ///
    /// # Errors
    /// When the picture cannot be preprocessed.
    pub fn prepare(&self, id: String, scene: &Scene, rng: &mut SampleRng) -> Result<VisionItem, TrainError> {
        let grids = Grids { clip: self.files.vision_config.grid(), sam: self.weights.sam_grid()? };
        let (inputs, classes) = (&self.files.inputs, self.heads.classes());
        let learns = |encoder: Encoder| self.encoders.contains(&encoder);
        let views = (|| {
            let clip = learns(Encoder::Clip).then(|| ClipView::new(scene, inputs, grids, classes));
            let sam = learns(Encoder::Sam)
                .then(|| SamView::new(scene, inputs, grids, self.most_targets, classes, rng));
            Ok((clip.transpose()?, sam.transpose()?))
        })();
        match views {
            Ok((clip, sam)) => Ok(VisionItem { id, clip, sam }),
            Err(error) => Err(preprocess_error(id, &error)),
        }
    }

    /// Scores on `items`.
    ///
    /// # Errors
    /// As [`Learner::micro_batch`].
    pub fn evaluate(&self, items: &[VisionItem]) -> Result<VisionScores, TrainError> {
        let model = self.weights.model(&self.files, None)?;
        let scored = items.par_iter().map(|item| self.score(&model, item)).collect::<Result<Vec<_>, _>>()?;
        let (mut iou, mut masks, mut right) = (0.0, 0, 0.0);
        for (sum, count, accuracy) in scored {
            iou += sum;
            masks += count;
            right += accuracy;
        }
        Ok(VisionScores { iou: iou / masks.max(1) as f64, kind_accuracy: right / items.len().max(1) as f64 })
    }

    /// The sum of the IoU of an item's targets, their number, and the share of its things whose kind is right.
    fn score(&self, model: &ReadModel, item: &VisionItem) -> Result<(f64, usize, f64), TrainError> {
        let mut right = 0.0;
        if let Some(clip) = &item.clip {
            let cells = model.vision_tower.patch_features(&pixel_batch([&clip.pixels])?)?.squeeze(0)?;
            right = self.region_loss(&cells, &[clip])?.1;
        }
        let Some(sam) = &item.sam else { return Ok((0.0, 0, right)) };
        let embedding = model.sam.image_encoder.forward(&pixel_batch([&sam.inputs.pixels])?)?;
        let mut iou = 0.0;
        for target in &sam.targets {
            let told = VisionTarget { with_text: true, with_points: true, ..target.clone() };
            let logits = self.decode(model, &sam.inputs, &embedding, &[&told])?;
            let logits = logits.flatten_all()?.to_vec1::<f32>()?;
            let prediction: Vec<u8> = logits.iter().map(|logit| u8::from(*logit > 0.0)).collect();
            let (intersection, union) = overlap_with_target(&prediction, &target.mask.data);
            iou += intersection as f64 / union.max(1) as f64;
        }
        Ok((iou, sam.targets.len(), right))
    }

    /// The regions of all views, whose cells `[views · cells, width]` follow each other.
    fn region_loss(&self, cells: &Tensor, views: &[&ClipView]) -> Result<(Tensor, f64), TrainError> {
        let per_view = cells.dim(0)? / views.len().max(1);
        let mut states = Vec::new();
        for (index, view) in views.iter().enumerate().filter(|(_, view)| !view.regions.is_empty()) {
            let shares: Vec<f32> = view.regions.iter().flat_map(|region| &region.shares).copied().collect();
            let shares = Tensor::from_vec(shares, (view.regions.len(), per_view), cells.device())?;
            states.push(shares.matmul(&cells.narrow(0, index * per_view, per_view)?)?);
        }
        if states.is_empty() {
            return Err(TrainError::setting("vision", "no picture shows a thing"));
        }
        let regions: Vec<_> = views.iter().flat_map(|view| &view.regions).collect();
        self.heads.region_loss(&Tensor::cat(&states, 0)?, &regions)
    }

    fn label_tensor<'a>(&self, rows: impl IntoIterator<Item = &'a Vec<f32>>) -> Result<Tensor, TrainError> {
        let values: Vec<f32> = rows.into_iter().flatten().copied().collect();
        let columns = self.heads.classes().columns();
        Ok(Tensor::from_vec(values, ((), columns), &Device::Cpu)?)
    }

    fn pass(&self, model: &ReadModel, items: &[VisionItem]) -> Result<Pass, TrainError> {
        let mut losses = Losses::default();
        let clip: Vec<&ClipView> = items.iter().filter_map(|item| item.clip.as_ref()).collect();
        if !clip.is_empty() {
            self.clip_pass(model, &clip, &mut losses)?;
        }
        let sam: Vec<&SamView> = items.iter().filter_map(|item| item.sam.as_ref()).collect();
        if !sam.is_empty() {
            self.sam_pass(model, &sam, &mut losses)?;
        }
        losses.finish()
    }

    fn clip_pass(
        &self,
        model: &ReadModel,
        views: &[&ClipView],
        losses: &mut Losses,
    ) -> Result<(), TrainError> {
        let pixels = pixel_batch(views.iter().map(|view| &view.pixels))?;
        let cells = model.vision_tower.patch_features(&pixels)?.flatten_to(1)?;
        let labels = self.label_tensor(views.iter().map(|view| &view.labels))?;
        losses.add("clip_loss", self.heads.clip_loss(&cells, &labels)?)?;
        let (region_loss, kind_accuracy) = self.region_loss(&cells, views)?;
        losses.add("region_loss", region_loss)?;
        losses.terms.push(("kind_accuracy", kind_accuracy));
        Ok(())
    }

    fn sam_pass(&self, model: &ReadModel, views: &[&SamView], losses: &mut Losses) -> Result<(), TrainError> {
        let pixels = pixel_batch(views.iter().map(|view| &view.inputs.pixels))?;
        let embeddings = model.sam.image_encoder.forward(&pixels)?;
        let cells = embeddings.flatten_from(2)?.transpose(1, 2)?.contiguous()?.flatten_to(1)?;
        let labels = self.label_tensor(views.iter().map(|view| &view.labels))?;
        losses.add("sam_loss", self.heads.sam_loss(&cells, &labels)?)?;

        let mut masks = MaskLosses::new();
        for (index, view) in views.iter().enumerate() {
            let embedding = embeddings.narrow(0, index, 1)?;
            for (with_text, with_points) in [(true, true), (true, false), (false, true)] {
                let targets: Vec<&VisionTarget> = view
                    .targets
                    .iter()
                    .filter(|target| (target.with_text, target.with_points) == (with_text, with_points))
                    .collect();
                if !targets.is_empty() {
                    let logits = self.decode(model, &view.inputs, &embedding, &targets)?;
                    masks.add(&logits, &mask_tensor(targets.iter().map(|target| &target.mask))?)?;
                }
            }
        }
        if let Some((bce, dice)) = masks.means()? {
            losses.add("mask_bce_loss", (bce * self.loss.bce)?)?;
            losses.add("mask_dice_loss", (dice * self.loss.dice)?)?;
        }
        Ok(())
    }

    /// Mask logits `[targets, height, width]` of targets that are prompted alike.
    fn decode(
        &self,
        model: &ReadModel,
        inputs: &SamInputs,
        embedding: &Tensor,
        targets: &[&VisionTarget],
    ) -> Result<Tensor, TrainError> {
        let size = inputs.original_size;
        let points = match &self.files.system.similarity_points {
            Some(config) if targets[0].with_points => {
                let points = |target: &&VisionTarget| {
                    let map = Tensor::from_slice(&target.similarity, target.similarity.len(), &Device::Cpu)?;
                    Ok::<_, TrainError>(similarity_points(&map, size, config)?)
                };
                Some(targets.iter().map(points).collect::<Result<Vec<_>, _>>()?)
            }
            _ => None,
        };
        let points = match points {
            Some(points) => Some(point_prompt(&points, inputs)?),
            None => None,
        };
        let text = match targets[0].with_text {
            true => Some(self.heads.texts(&targets.iter().map(|target| target.text).collect::<Vec<_>>())?),
            false => None,
        };
        let prompts = model.sam.prompt_encoder.forward(&Prompts { points, text, ..Prompts::default() })?;
        let prediction = model.sam.decode(embedding, &prompts, false)?;
        let side = model.sam.image_encoder.image_size();
        Ok(postprocess_masks(&prediction.logits, side, inputs.input_size, size)?.squeeze(1)?)
    }
}

impl Learner for VisionLearner {
    type Prepared = VisionItem;

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn micro_batch(&self, batch: &MicroBatch<VisionItem>) -> Result<(LossTerms, Gradients), TrainError> {
        let model = self.weights.model(&self.files, None)?;
        let pass = self.pass(&model, batch.items)?;
        let gradients = pass.total.backward()?;
        let of = |(_, variable): (&str, &Var)| gradients.get(variable).cloned();
        Ok((pass.terms, self.parameters.iter().map(of).collect()))
    }
}

fn preprocess_error(id: String, error: &PreprocessError) -> TrainError {
    TrainError::Item { id, reason: error.to_string() }
}

/// Points on the image to SAM's square input.
fn point_prompt(points: &[SimilarityPoints], inputs: &SamInputs) -> Result<PointPrompt, TrainError> {
    let (input, original) = (inputs.input_size, inputs.original_size);
    let scale = [input.1 as f32 / original.1 as f32, input.0 as f32 / original.0 as f32];
    let coordinates: Vec<&Tensor> = points.iter().map(|points| &points.coordinates).collect();
    let scale = Tensor::from_slice(&scale, (1, 1, 2), &Device::Cpu)?;
    Ok(PointPrompt {
        coordinates: Tensor::stack(&coordinates, 0)?.detach().broadcast_mul(&scale)?,
        labels: points.iter().map(SimilarityPoints::labels).collect(),
    })
}

/// `[images, channels, height, width]`.
fn pixel_batch<'a>(images: impl IntoIterator<Item = &'a PixelValues>) -> Result<Tensor, TrainError> {
    let image = |image: &PixelValues| {
        Tensor::from_slice(&image.data, (image.channels, image.height, image.width), &Device::Cpu)
    };
    Ok(Tensor::stack(&images.into_iter().map(image).collect::<Result<Vec<_>, _>>()?, 0)?)
}
