use super::MaskLosses;
use super::forward::{Packing, Target};
use super::recompute::Recomputed;
use super::weights::TrainedWeightsConfig;
use super::{FeatureCache, FeatureSettings, LossWeights, PreparedItem, TrainedWeights};
use crate::coverage::coverage;
use crate::{Gradients, Learner, LossTerms, MicroBatch, Parameters, TrainError};
use candle_core::{Device, Tensor};
use maskwise_data::dataset::TrainingItem;
use maskwise_data::mask::Mask;
use maskwise_data::text::ConversationTemplate;
use maskwise_models::heads::similarity_points::similarity;
use maskwise_models::systems::read::{ModelFiles, ReadModel, SegmentInputs};
use maskwise_nn::ops;

/// Teaches READ, SESAME or LISA.
pub struct ReadLearner {
    files: ModelFiles,
    weights: TrainedWeights,
    template: ConversationTemplate,
    loss: LossWeights,
    features: FeatureCache,
    activation_checkpointing: bool,
}

/// What a [`ReadLearner`] is made with, besides the model.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadSettings {
    /// What is trained and in which dtypes.
    pub weights: TrainedWeightsConfig,
    /// The weights of the loss.
    pub loss: LossWeights,
    /// Where the outputs of frozen encoders are kept.
    pub features: FeatureSettings,
    /// Keep only the inputs of the language model's layers and compute the rest again in the backward pass.
    pub activation_checkpointing: bool,
}

/// The losses of a micro-batch; `total` carries the gradient.
struct Losses {
    total: Tensor,
    terms: LossTerms,
}

impl ReadLearner {
    /// Reads the weights of `files`.
    ///
    /// # Errors
    /// As [`TrainedWeights::read`], and when the features' folder cannot be made.
    pub fn new(files: ModelFiles, settings: &ReadSettings, device: &Device) -> Result<Self, TrainError> {
        let template = ConversationTemplate::by_name(&files.system.conversation.teacher_forced)
            .map_err(|error| TrainError::setting("conversation", error.to_string()))?;
        let weights = TrainedWeights::read(&files, &settings.weights, device)?;
        let features = FeatureCache::new(settings.features.clone(), &files, &weights)?;
        let activation_checkpointing = settings.activation_checkpointing;
        Ok(Self { files, weights, template, loss: settings.loss, features, activation_checkpointing })
    }

    /// The model's small files.
    pub fn files(&self) -> &ModelFiles {
        &self.files
    }

    /// The weights in training.
    pub fn weights(&self) -> &TrainedWeights {
        &self.weights
    }

    /// What frozen encoders have computed.
    pub fn features(&self) -> &FeatureCache {
        &self.features
    }

    /// Brings an item into the form that [`Learner::micro_batch`] takes; meant for the loader's threads.
    ///
    /// # Errors
    /// As [`PreparedItem::new`].
    pub fn prepare(&self, item: TrainingItem) -> Result<PreparedItem, TrainError> {
        PreparedItem::new(item, &self.files, &self.template)
    }

    /// The model over the present values, without dropout.
    ///
    /// # Errors
    /// When the device refuses.
    pub fn model(&self) -> Result<ReadModel, TrainError> {
        self.weights.model(&self.files, None)
    }

    fn losses(
        &self,
        model: &ReadModel,
        items: &[PreparedItem],
        recomputed: Option<&Recomputed>,
    ) -> Result<Losses, TrainError> {
        let (mut label_states, mut labels) = (Vec::new(), Vec::new());
        let mut masks = MaskLosses::new();
        for item in items {
            let named = |error: TrainError| error.of_item(&item.id);
            let image_tokens = self.features.image_tokens(model, &item.clip_pixels)?;
            let packing = Packing::new(&item.rows, model.image_tokens());
            let states = packing.states(model, &image_tokens, recomputed).map_err(named)?;
            let targets = packing.targets();
            if !targets.is_empty() {
                let positions: Vec<u32> = targets.iter().map(|target| target.position).collect();
                let positions = Tensor::from_slice(&positions, positions.len(), states.last.device())?;
                label_states.push(states.last.index_select(&positions, 0)?);
                labels.extend(targets);
            }
            if let (true, Some(halfway)) = (self.loss.halfway_similarity > 0.0, &states.halfway) {
                halfway_similarity(model, item, halfway, &packing, &mut masks).map_err(named)?;
            }
            let segs = packing.seg_positions(i64::from(self.files.special.seg));
            if !segs.is_empty() {
                self.mask_losses(model, item, &states.last, &packing, &segs, &mut masks).map_err(named)?;
            }
        }
        self.combine(model, &label_states, &labels, masks)
    }

    fn mask_losses(
        &self,
        model: &ReadModel,
        item: &PreparedItem,
        states: &Tensor,
        packing: &Packing,
        segs: &[usize],
        masks: &mut MaskLosses,
    ) -> Result<(), TrainError> {
        let image_states = states.narrow(0, packing.image_start(), model.image_tokens())?;
        let segs = segs.iter().map(|position| states.get(*position)).collect::<Result<Vec<_>, _>>()?;
        let targets = item.rows.iter().flat_map(|row| &row.masks);
        let maps = if self.loss.draws() {
            let embedding = self.features.sam_embedding(model, &item.sam.pixels)?;
            let inputs = SegmentInputs {
                embedding: &embedding,
                input_size: item.sam.input_size,
                original_size: item.sam.original_size,
            };
            let segmented = model.segment_states(&image_states, &segs, inputs)?;
            let logits = segmented.iter().map(|mask| &mask.logits).collect::<Vec<_>>();
            masks.add(&Tensor::stack(&logits, 0)?, &mask_tensor(targets.clone())?)?;
            segmented.into_iter().map(|mask| mask.similarity).collect()
        } else {
            segs.iter().map(|seg| similarity(&image_states, seg)).collect::<Result<Vec<_>, _>>()?
        };
        if self.loss.similarity > 0.0 {
            let maps = Tensor::stack(&maps, 0)?;
            let grid = model.image_tokens().isqrt();
            let covered: Vec<f32> = targets.flat_map(|mask| coverage(mask, grid)).collect();
            let covered = Tensor::from_vec(covered, maps.shape(), maps.device())?;
            masks.add_similarity(&maps, &covered, states.dim(1)?)?;
        }
        Ok(())
    }

    fn combine(
        &self,
        model: &ReadModel,
        label_states: &[Tensor],
        labels: &[Target],
        masks: MaskLosses,
    ) -> Result<Losses, TrainError> {
        if label_states.is_empty() {
            return Err(TrainError::setting(
                "data",
                "no answer of the micro-batch has a token left to learn",
            ));
        }
        let logits = model.language_model.logits(&Tensor::cat(label_states, 0)?)?;
        let ids = |target: &Target| Some(target.id);
        let ce = ops::cross_entropy(&logits, &labels.iter().map(ids).collect::<Vec<_>>())?;
        let mut total = (&ce * self.loss.ce)?;
        let scalar = |tensor: &Tensor| Ok::<_, TrainError>(f64::from(tensor.to_scalar::<f32>()?));
        let mut terms = Vec::new();
        if self.loss.first_token > 0.0 {
            let first: Vec<Option<u32>> =
                labels.iter().map(|target| ids(target).filter(|_| target.is_first)).collect();
            let first = (ops::cross_entropy(&logits, &first)? * self.loss.first_token)?;
            terms.push(("first_token_loss", scalar(&first)?));
            total = (total + first)?;
        }
        if let Some(similarity) = masks.similarity_mean()? {
            let similarity = (similarity * self.loss.similarity)?;
            terms.push(("similarity_loss", scalar(&similarity)?));
            total = (total + similarity)?;
        }
        if let Some(similarity) = masks.halfway_similarity_mean()? {
            let similarity = (similarity * self.loss.halfway_similarity)?;
            terms.push(("halfway_similarity_loss", scalar(&similarity)?));
            total = (total + similarity)?;
        }
        let (mut bce_value, mut dice_value) = (0.0, 0.0);
        if let Some((bce, dice)) = masks.means()? {
            let (bce, dice) = ((bce * self.loss.bce)?, (dice * self.loss.dice)?);
            (bce_value, dice_value) = (scalar(&bce)?, scalar(&dice)?);
            total = ((total + bce)? + dice)?;
        }
        terms.extend([
            ("loss", scalar(&total)?),
            ("ce_loss", scalar(&ce)? * self.loss.ce),
            ("mask_bce_loss", bce_value),
            ("mask_dice_loss", dice_value),
            ("mask_loss", bce_value + dice_value),
        ]);
        Ok(Losses { total, terms: LossTerms(terms) })
    }
}

impl Learner for ReadLearner {
    type Prepared = PreparedItem;

    fn parameters(&self) -> &Parameters {
        self.weights.parameters()
    }

    fn micro_batch(&self, batch: &MicroBatch<PreparedItem>) -> Result<(LossTerms, Gradients), TrainError> {
        let model = self.weights.model(&self.files, Some(batch.seed))?;
        let recomputed =
            self.activation_checkpointing.then(|| Recomputed::new(&model.language_model, self.parameters()));
        let losses = self.losses(&model, batch.items, recomputed.as_ref())?;
        let gradients = losses.total.backward()?;
        let of = |(_, variable): (&str, &candle_core::Var)| gradients.get(variable).cloned();
        let gradients = self.parameters().iter().map(of).collect();
        let gradients = match recomputed {
            Some(recomputed) => recomputed.add_to(gradients)?,
            None => gradients,
        };
        Ok((losses.terms, gradients))
    }
}

/// Adds the similarity of the states that begin the answers of an item with its image tokens, both after half of the layers.
fn halfway_similarity(
    model: &ReadModel,
    item: &PreparedItem,
    states: &Tensor,
    packing: &Packing,
    masks: &mut MaskLosses,
) -> Result<(), TrainError> {
    let grid = model.image_tokens().isqrt();
    let (mut positions, mut covered) = (Vec::new(), Vec::new());
    for (row, position) in item.rows.iter().zip(packing.first_positions()) {
        let Some(position) = position else { continue };
        positions.push(position as u32);
        let mut shares = vec![0.0_f32; grid * grid];
        for mask in &row.masks {
            shares
                .iter_mut()
                .zip(coverage(mask, grid))
                .for_each(|(share, more)| *share = (*share + more).min(1.0));
        }
        covered.extend(shares);
    }
    if positions.is_empty() {
        return Ok(());
    }
    let states = model.language_model.normalize(states)?;
    let image_states = states.narrow(0, packing.image_start(), model.image_tokens())?;
    let positions = Tensor::from_slice(&positions, positions.len(), states.device())?;
    let maps = states.index_select(&positions, 0)?.matmul(&image_states.t()?)?;
    let covered = Tensor::from_vec(covered, maps.shape(), maps.device())?;
    Ok(masks.add_halfway_similarity(&maps, &covered, states.dim(1)?)?)
}

/// `[masks, height, width]` u8, 0 or 1.
pub(crate) fn mask_tensor<'a>(masks: impl Iterator<Item = &'a Mask>) -> Result<Tensor, TrainError> {
    let mask = |mask: &Mask| Tensor::from_slice(&mask.data, (mask.height, mask.width), &Device::Cpu);
    let masks = masks.map(mask).collect::<candle_core::Result<Vec<_>>>()?;
    Ok(Tensor::stack(&masks, 0)?)
}
