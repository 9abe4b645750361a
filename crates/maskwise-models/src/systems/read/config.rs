use crate::heads::similarity_points::SimilarityPointsConfig;
use crate::llama::LlamaConfig;
use crate::sam::DECODER_HEADS;
use maskwise_data::text::{ConversationTemplate, PromptMode, QuestionTemplates};
use serde::{Deserialize, Serialize};

/// The fields of a published LISA, SESAME or READ `config.json` that decide how the model runs (spec 2.5).
#[derive(Debug, Clone, Deserialize)]
pub struct LlavaConfig {
    /// The language model.
    #[serde(flatten)]
    pub language_model: LlamaConfig,
    /// `["READForCausalLM"]` and the like.
    #[serde(default)]
    pub architectures: Vec<String>,
    /// The tower of a merged model.
    #[serde(default)]
    vision_tower: Option<String>,
    /// The tower of plain LLaVA.
    #[serde(default)]
    mm_vision_tower: Option<String>,
    /// Which hidden state of the tower is taken, counted from the end if negative.
    #[serde(default = "default_select_layer")]
    pub mm_vision_select_layer: i64,
    /// `patch`: the class token is dropped.
    #[serde(default)]
    mm_vision_select_feature: Option<String>,
    /// Whether `<im_start>` and `<im_end>` surround the image.
    #[serde(default)]
    mm_use_im_start_end: Option<bool>,
}

fn default_select_layer() -> i64 {
    -2
}

impl LlavaConfig {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// With the field at fault.
    pub fn from_json(text: &str) -> Result<Self, String> {
        let config: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        config.language_model.check()?;
        if config.mm_vision_select_feature.as_deref().is_some_and(|feature| feature != "patch") {
            return Err("mm_vision_select_feature must be `patch`".to_owned());
        }
        if config.mm_use_im_start_end == Some(false) {
            return Err("mm_use_im_start_end is false; these systems find the image by <im_start>".to_owned());
        }
        Ok(config)
    }

    /// The name or path of the vision tower.
    ///
    /// # Errors
    /// When the configuration names none.
    pub fn vision_tower_name(&self) -> Result<&str, String> {
        let name = self.vision_tower.as_deref().or(self.mm_vision_tower.as_deref());
        name.filter(|name| !name.is_empty())
            .ok_or_else(|| "neither vision_tower nor mm_vision_tower names a CLIP tower".to_owned())
    }

    /// How many of the tower's `layers` are run to reach the selected hidden state.
    ///
    /// # Errors
    /// When `mm_vision_select_layer` lies outside of the tower.
    pub fn vision_depth(&self, layers: usize) -> Result<usize, String> {
        let states = layers as i64 + 1;
        let selected = self.mm_vision_select_layer;
        let index = if selected < 0 { states + selected } else { selected };
        usize::try_from(index).ok().filter(|index| *index <= layers).ok_or_else(|| {
            format!("mm_vision_select_layer {selected} lies outside of a tower of {layers} layers")
        })
    }
}

/// Which of the published systems a checkpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Points and text prompt.
    Read,
    /// Text prompt, refusal.
    Sesame,
    /// Text prompt.
    Lisa,
}

impl Family {
    /// The fixed questions and answer of its validation (spec 4.2).
    pub fn question_templates(self) -> QuestionTemplates {
        match self {
            Self::Lisa => QuestionTemplates::lisa(),
            Self::Read | Self::Sesame => QuestionTemplates::read(),
        }
    }

    /// By the `architectures` of a `config.json`.
    ///
    /// # Errors
    /// With what was found and what is known.
    pub fn from_architectures(architectures: &[String]) -> Result<Self, String> {
        let found = architectures.first().map_or("", String::as_str);
        match found {
            "READForCausalLM" => Ok(Self::Read),
            "SESAMEForCausalLM" => Ok(Self::Sesame),
            "LISAForCausalLM" => Ok(Self::Lisa),
            _ => Err(format!(
                "architectures is [{}]; known are READForCausalLM, SESAMEForCausalLM and LISAForCausalLM",
                architectures.join(", ")
            )),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Sesame => "sesame",
            Self::Lisa => "lisa",
        }
    }
}

/// What the originals keep in source lines and scripts, as data: the content of `maskwise.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SystemConfig {
    /// Which published system this is.
    pub system: Family,
    /// How similarity becomes points; null prompts SAM with the text embedding alone (LISA, SESAME).
    pub similarity_points: Option<SimilarityPointsConfig>,
    /// Whether SAM is prompted with the text embedding too; off, with points alone (the paper's Table 6).
    #[serde(default = "default_text_prompt")]
    pub text_prompt: bool,
    /// Conversation templates by mode.
    pub conversation: ConversationNames,
    /// Attention heads of SAM's mask decoder, the one size that its tensors do not tell.
    #[serde(default = "default_decoder_heads")]
    pub sam_decoder_heads: usize,
}

/// The names of the conversation templates; they fix the system prompt (spec 4.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConversationNames {
    /// Where the model writes the answer.
    pub generate: String,
    /// Where the answer stands in the prompt.
    pub teacher_forced: String,
}

fn default_text_prompt() -> bool {
    true
}

fn default_decoder_heads() -> usize {
    DECODER_HEADS
}

impl SystemConfig {
    /// What the published checkpoints of `family` were run with; READ's points differ between 7B and 13B, told apart by the
    /// width of the hidden states.
    pub fn published(family: Family, hidden_size: usize) -> Self {
        const WIDTH_OF_13B: usize = 5120;
        let points = match family {
            Family::Read if hidden_size == WIDTH_OF_13B => Some(SimilarityPointsConfig::read_13b()),
            Family::Read => Some(SimilarityPointsConfig::read_7b()),
            Family::Sesame | Family::Lisa => None,
        };
        let template =
            |mode| ConversationTemplate::default_name(family.name(), mode).unwrap_or("llava_v1").to_owned();
        let conversation = ConversationNames {
            generate: template(PromptMode::Generate),
            teacher_forced: template(PromptMode::TeacherForced),
        };
        Self {
            system: family,
            similarity_points: points,
            text_prompt: true,
            conversation,
            sam_decoder_heads: DECODER_HEADS,
        }
    }

    /// Checks ranges and names.
    ///
    /// # Errors
    /// With the field at fault.
    pub fn check(&self) -> Result<(), String> {
        if let Some(points) = &self.similarity_points {
            points.check().map_err(|reason| format!("similarity_points: {reason}"))?;
        }
        if !self.text_prompt && self.similarity_points.is_none() {
            return Err("text_prompt is false and similarity_points null; SAM needs at least one".to_owned());
        }
        if self.sam_decoder_heads == 0 {
            return Err("sam_decoder_heads is 0".to_owned());
        }
        for name in [&self.conversation.generate, &self.conversation.teacher_forced] {
            ConversationTemplate::by_name(name).map_err(|error| format!("conversation: {error}"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_defaults() {
        let read = SystemConfig::published(Family::Read, 4096);
        assert_eq!(read.similarity_points, Some(SimilarityPointsConfig::read_7b()));
        assert_eq!(
            (read.conversation.generate.as_str(), read.conversation.teacher_forced.as_str()),
            ("vicuna_v1", "llava_v1")
        );
        let read = SystemConfig::published(Family::Read, 5120);
        assert_eq!(read.similarity_points, Some(SimilarityPointsConfig::read_13b()));
        let lisa = SystemConfig::published(Family::Lisa, 4096);
        assert_eq!((lisa.similarity_points, lisa.conversation.generate.as_str()), (None, "llava_v1"));
    }

    #[test]
    fn a_configuration_survives_its_file() {
        for points in
            [None, Some(SimilarityPointsConfig::read_13b()), Some(SimilarityPointsConfig::algorithm_1())]
        {
            let config =
                SystemConfig { similarity_points: points, ..SystemConfig::published(Family::Read, 8) };
            let text = serde_json::to_string_pretty(&config).unwrap();
            assert_eq!(serde_json::from_str::<SystemConfig>(&text).unwrap(), config, "{text}");
        }
    }

    #[test]
    fn files_from_before_the_prompt_switches_mean_what_they_did() {
        let text = r#"{"system": "read", "conversation": {"generate": "vicuna_v1", "teacher_forced": "llava_v1"},
            "similarity_points": {"num_points": 30, "thresholds": {"fixed": {"t_pos": 0.8, "t_neg": 0.2}}, "down_sample": 2}}"#;
        let config: SystemConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config, SystemConfig::published(Family::Read, 4096));
        let nothing = SystemConfig { text_prompt: false, similarity_points: None, ..config };
        assert!(nothing.check().unwrap_err().contains("text_prompt is false"));
    }

    #[test]
    fn a_tower_layer_outside_is_refused() {
        let text = r#"{"vocab_size": 8, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
            "num_attention_heads": 2, "mm_vision_select_layer": -9}"#;
        let config = LlavaConfig::from_json(text).unwrap();
        assert!(config.vision_depth(4).unwrap_err().contains("-9"));
        assert!(config.vision_tower_name().is_err());
    }
}
