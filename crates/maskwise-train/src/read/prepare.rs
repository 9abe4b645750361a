use crate::TrainError;
use maskwise_data::dataset::TrainingItem;
use maskwise_data::image::PixelValues;
use maskwise_data::mask::Mask;
use maskwise_data::text::prompt::{PaddingSide, answer_labels, mark_images, tokenize_and_pad};
use maskwise_data::text::{Conversation, ConversationTemplate, IMAGE_TOKEN, Speaker};
use maskwise_models::systems::read::{ModelFiles, SamInputs};

/// An item as the networks take it.
#[derive(Clone, Debug)]
pub struct PreparedItem {
    /// The item's name in errors.
    pub id: String,
    /// CLIP's pixels.
    pub clip_pixels: PixelValues,
    /// SAM's pixels, with the sizes that masks are brought back by.
    pub sam: SamInputs,
    /// Its conversations.
    pub rows: Vec<PreparedRow>,
}

/// A conversation as token ids.
#[derive(Clone, Debug, PartialEq)]
pub struct PreparedRow {
    /// Ids with one image placeholder, without padding.
    pub ids: Vec<i64>,
    /// For each id, itself where it belongs to an answer, else `IGNORED_LABEL` (spec 5.4).
    pub labels: Vec<i64>,
    /// One mask for each `[SEG]` of `ids`.
    pub masks: Vec<Mask>,
}

/// What the reference keeps free of a context for the image tokens, whatever their number (spec 5.4).
const RESERVED_FOR_IMAGE: usize = 255;

impl PreparedItem {
    /// Resizes and tokenises `item`.
    ///
    /// # Errors
    /// [`TrainError::Item`] naming the item: no conversation, a mask of another size than the image, another number of masks than
    /// of `[SEG]` tokens, or text that cannot be encoded.
    pub fn new(
        item: TrainingItem,
        files: &ModelFiles,
        template: &ConversationTemplate,
    ) -> Result<Self, TrainError> {
        let failed = |reason: String| TrainError::Item { id: item.id.clone(), reason };
        if item.conversations.is_empty() {
            return Err(failed("it has no conversation".to_owned()));
        }
        let clip_pixels =
            files.inputs.for_language(&item.image).map_err(|error| failed(error.to_string()))?;
        let sam = files.inputs.for_masks(&item.image).map_err(|error| failed(error.to_string()))?;
        let prompts = item.conversations.iter().map(|conversation| {
            let mut text = Conversation::new(template.clone());
            for (index, (question, answer)) in conversation.rounds.iter().enumerate() {
                let image = if index == 0 { format!("{IMAGE_TOKEN}\n") } else { String::new() };
                text.push(Speaker::User, Some(&format!("{image}{question}")));
                text.push(Speaker::Assistant, Some(answer));
            }
            text.prompt().map(|prompt| mark_images(&prompt))
        });
        let prompts = prompts.collect::<Result<Vec<_>, _>>().map_err(|error| failed(error.to_string()))?;
        let tokenizer = files.tokenizer.as_ref();
        let encode = || {
            let batch = tokenize_and_pad(tokenizer, &prompts, PaddingSide::Right)?;
            let labels = answer_labels(tokenizer, template, &prompts, &batch)?;
            Ok::<_, maskwise_data::text::TextError>((batch, labels))
        };
        let (batch, labels) = encode().map_err(|error| failed(error.to_string()))?;
        let limit =
            tokenizer.max_length().map_or(usize::MAX, |length| length.saturating_sub(RESERVED_FOR_IMAGE));

        let mut rows = Vec::with_capacity(prompts.len());
        for (((mut ids, mut labels), length), conversation) in
            batch.ids.into_iter().zip(labels).zip(batch.lengths).zip(&item.conversations)
        {
            ids.truncate(length.min(limit));
            labels.truncate(ids.len());
            let segs = ids.iter().filter(|id| **id == i64::from(files.special.seg)).count();
            if segs != conversation.masks.len() {
                let cut = if length > limit {
                    format!(" (after cutting it to {limit} tokens)")
                } else {
                    String::new()
                };
                return Err(failed(format!(
                    "its conversation has {segs} [SEG]{cut} and {} masks; each [SEG] needs its mask",
                    conversation.masks.len()
                )));
            }
            for mask in &conversation.masks {
                if (mask.height, mask.width) != sam.original_size {
                    return Err(failed(format!(
                        "a mask is {}x{}, the image {}x{}",
                        mask.width, mask.height, sam.original_size.1, sam.original_size.0
                    )));
                }
            }
            rows.push(PreparedRow { ids, labels, masks: conversation.masks.clone() });
        }
        Ok(Self { id: item.id, clip_pixels, sam, rows })
    }
}
