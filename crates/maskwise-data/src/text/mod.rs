//! Tokenizers, conversation templates and prompts.
//!
//! [`Tokenizer`] reads a model folder, [`Conversation`] fills messages into a [`ConversationTemplate`], and [`prompt`]
//! turns the result into token ids with placeholders for images.

pub mod conversation;
mod error;
pub mod prompt;
pub mod sentencepiece;
mod settings;
mod slow;
mod templates;
pub mod tokenizer;

pub use conversation::{
    Conversation, ConversationTemplate, PromptMode, QuestionTemplates, SeparatorStyle, Speaker,
};
pub use error::TextError;
pub use prompt::{IMAGE_PLACEHOLDER, IMAGE_TOKEN};
pub use tokenizer::{IM_END_TOKEN, IM_START_TOKEN, SEG_TOKEN, SpecialIds, Tokenizer};
