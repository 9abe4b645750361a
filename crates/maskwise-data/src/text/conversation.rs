//! Conversations: messages filled into a template, as one prompt string.

use serde::{Deserialize, Serialize};

use super::TextError;
use super::templates::BUILT_IN;

/// How a template joins system prompt, roles and messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeparatorStyle {
    /// `sep` after every message.
    Single,
    /// `sep` after the first speaker's messages, `sep2` after the second's.
    Two,
    /// `[INST] … [/INST]` around the first speaker's messages, the system prompt inside the first.
    Llama2,
    /// Messages only, without roles; `sep` and `sep2` alternate.
    Plain,
    /// Roles that bring their own markup, `sep` after every message.
    Mpt,
}

/// A conversation format as data. Serialised into `maskwise.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConversationTemplate {
    /// Name, as the reference implementations' `conv_templates` has it.
    pub name: String,
    /// System prompt.
    pub system: String,
    /// Names of the two speakers: the person, the assistant.
    pub roles: [String; 2],
    /// How the parts are joined.
    pub style: SeparatorStyle,
    /// First separator.
    pub sep: String,
    /// Second separator, for the styles that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sep2: Option<String>,
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Speaker {
    /// The person who asks (`roles[0]`).
    User,
    /// The model that answers (`roles[1]`).
    Assistant,
}

/// How the answer comes about; the reference uses another system prompt for each (specification 4.1 and 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptMode {
    /// The model writes the answer.
    Generate,
    /// The answer stands in the prompt (validation and training).
    TeacherForced,
}

impl ConversationTemplate {
    /// A template of the reference implementations by name, such as `llava_v1`.
    ///
    /// # Errors
    /// [`TextError::UnknownTemplate`], with the names there are.
    pub fn by_name(name: &str) -> Result<Self, TextError> {
        let unknown = || TextError::UnknownTemplate {
            name: name.to_owned(),
            known: Self::names().collect::<Vec<_>>().join(", "),
        };
        let found = BUILT_IN.iter().find(|template| template.name == name).ok_or_else(unknown)?;
        Ok(Self {
            name: found.name.to_owned(),
            system: found.system.to_owned(),
            roles: found.roles.map(str::to_owned),
            style: found.style,
            sep: found.sep.to_owned(),
            sep2: found.sep2.map(str::to_owned),
        })
    }

    /// Names of all built-in templates.
    pub fn names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|template| template.name)
    }

    /// Name of the template that a model family was run with. `family` is its name or the `architectures` entry of
    /// its `config.json`, in any case: READ and SESAME generate with `vicuna_v1` ("curious user"); LISA, and all
    /// of them teacher-forced, use `llava_v1` ("curious human"). `None` for a family that is not one of these.
    pub fn default_name(family: &str, mode: PromptMode) -> Option<&'static str> {
        let family = family.to_ascii_lowercase();
        match (family.strip_suffix("forcausallm").unwrap_or(&family), mode) {
            ("read" | "sesame", PromptMode::Generate) => Some("vicuna_v1"),
            ("read" | "sesame" | "lisa", _) => Some("llava_v1"),
            _ => None,
        }
    }

    /// The text right before an answer, by which training finds it: ` ASSISTANT: ` or `[/INST] `.
    pub fn answer_marker(&self) -> String {
        match self.style {
            SeparatorStyle::Llama2 => "[/INST] ".to_owned(),
            _ => format!("{}{}: ", self.sep, self.roles[1]),
        }
    }

    fn error(&self, reason: &'static str) -> TextError {
        TextError::Template { template: self.name.clone(), reason }
    }

    fn second_separator(&self) -> Result<&str, TextError> {
        self.sep2
            .as_deref()
            .ok_or_else(|| self.error("it has no second separator, so it ends after one message"))
    }

    /// The separator after the message at `index`.
    fn separator(&self, index: usize) -> Result<&str, TextError> {
        if index.is_multiple_of(2) { Ok(&self.sep) } else { self.second_separator() }
    }
}

/// Messages in a template. An assistant message without text marks the place where the model goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    template: ConversationTemplate,
    messages: Vec<(Speaker, Option<String>)>,
}

impl Conversation {
    /// An empty conversation.
    pub fn new(template: ConversationTemplate) -> Self {
        Self { template, messages: Vec::new() }
    }

    /// Appends a message; `None` (or empty text) for the answer that is still to come.
    pub fn push(&mut self, speaker: Speaker, text: Option<&str>) -> &mut Self {
        self.messages.push((speaker, text.map(str::to_owned)));
        self
    }

    /// The template.
    pub fn template(&self) -> &ConversationTemplate {
        &self.template
    }

    /// The messages so far.
    pub fn messages(&self) -> &[(Speaker, Option<String>)] {
        &self.messages
    }

    /// The whole prompt as text, `<image>` still in it.
    ///
    /// # Errors
    /// [`TextError::Template`] where the style cannot hold the messages: no second separator in `Plain`, no
    /// first message in `Llama2`.
    pub fn prompt(&self) -> Result<String, TextError> {
        let template = &self.template;
        let mut prompt = match template.style {
            SeparatorStyle::Single | SeparatorStyle::Two | SeparatorStyle::Mpt => {
                format!("{}{}", template.system, template.sep)
            }
            SeparatorStyle::Plain => template.system.clone(),
            SeparatorStyle::Llama2 => return self.llama2_prompt(),
        };
        for (index, (speaker, text)) in self.messages.iter().enumerate() {
            let role = &template.roles[*speaker as usize];
            let text = text.as_deref().unwrap_or_default();
            let separator = match template.style {
                SeparatorStyle::Two | SeparatorStyle::Plain if !text.is_empty() => {
                    template.separator(index)?
                }
                _ => &template.sep,
            };
            let part = match (template.style, text.is_empty()) {
                (SeparatorStyle::Plain, true) => String::new(),
                (SeparatorStyle::Plain, false) => format!("{text}{separator}"),
                (SeparatorStyle::Mpt, true) => role.clone(),
                (SeparatorStyle::Mpt, false) => format!("{role}{text}{separator}"),
                (_, true) => format!("{role}:"),
                (_, false) => format!("{role}: {text}{separator}"),
            };
            prompt.push_str(&part);
        }
        Ok(prompt)
    }

    fn llama2_prompt(&self) -> Result<String, TextError> {
        let template = &self.template;
        let mut prompt = String::new();
        for (index, (speaker, text)) in self.messages.iter().enumerate() {
            let text = text.as_deref().unwrap_or_default();
            if index == 0 && (text.is_empty() || *speaker != Speaker::User) {
                return Err(template.error("its first message must be the user's, with text"));
            }
            if text.is_empty() {
                continue;
            }
            if index == 0 {
                prompt = format!("[INST] <<SYS>>\n{}\n<</SYS>>\n\n{text} [/INST]", template.system);
            } else if index.is_multiple_of(2) {
                prompt.push_str(&format!("{}[INST] {text} [/INST]", template.sep));
            } else {
                prompt.push_str(&format!(" {text} {}", template.second_separator()?));
            }
        }
        Ok(prompt)
    }
}

/// A question or answer with one placeholder, as data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Phrase(pub String);

impl Phrase {
    /// The phrase with `text` in place of `{class_name}` and `{sent}`; neither is interpreted inside `text`.
    pub fn fill(&self, text: &str) -> String {
        let mut filled = String::with_capacity(self.0.len() + text.len());
        let mut rest = self.0.as_str();
        while let Some(open) = rest.find('{') {
            let (before, from) = rest.split_at(open);
            filled.push_str(before);
            match ["{class_name}", "{sent}"].iter().find(|placeholder| from.starts_with(**placeholder)) {
                Some(placeholder) => {
                    filled.push_str(text);
                    rest = &from[placeholder.len()..];
                }
                None => {
                    filled.push('{');
                    rest = &from[1..];
                }
            }
        }
        filled.push_str(rest);
        filled
    }
}

/// The fixed questions and answer of a validation run. Serialised into `maskwise.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuestionTemplates {
    /// Question about a thing named in a word or two (`{class_name}`, lower case in the reference).
    pub short: Phrase,
    /// Question that is a sentence of its own (`{sent}`, verbatim).
    pub long: Phrase,
    /// The answer that a teacher-forced run puts into the prompt.
    pub answer: Phrase,
}

impl QuestionTemplates {
    /// The fixed templates of READ's validation on ReasonSeg (specification 4.2).
    pub fn read() -> Self {
        Self {
            short: Phrase("What is {class_name} in this image? Please output segmentation mask.".to_owned()),
            long: Phrase("{sent} Please output segmentation mask.".to_owned()),
            answer: Phrase("Sure, the segmentation result is [SEG].".to_owned()),
        }
    }

    /// No words around the texts: what a dataset itself says.
    pub fn bare() -> Self {
        Self {
            short: Phrase("{class_name}".to_owned()),
            long: Phrase("{sent}".to_owned()),
            answer: Phrase("[SEG]".to_owned()),
        }
    }

    /// The same questions with the bare answer of LISA's validation.
    pub fn lisa() -> Self {
        Self { answer: Phrase("[SEG].".to_owned()), ..Self::read() }
    }
}
