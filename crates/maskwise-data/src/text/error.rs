//! Errors of tokenizers, templates and prompts.

use std::path::PathBuf;

use super::sentencepiece::SentencePieceError;

/// Why a tokenizer, a template or a question cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// The folder has neither kind of tokenizer.
    #[error(
        "{folder:?} has no tokenizer: it needs tokenizer.model (SentencePiece) or tokenizer.json; is it a model folder?"
    )]
    NoTokenizer {
        /// The folder that was searched.
        folder: PathBuf,
    },
    /// A tokenizer file cannot be read.
    #[error("cannot read {path:?}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// `tokenizer.model` is damaged or of an unsupported kind.
    #[error("{path:?}: {source}")]
    Model {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: SentencePieceError,
    },
    /// A JSON file of the tokenizer does not say what it should.
    #[error("{path:?}: {reason}")]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The `tokenizers` library refused a text or ids.
    #[error("tokenizer.json: {reason}")]
    Library {
        /// Its message.
        reason: String,
    },
    /// A token that a system needs is not in the vocabulary.
    #[error("the token {token:?} is in neither added_tokens.json nor the vocabulary of {folder:?}: {hint}")]
    MissingToken {
        /// The token looked for.
        token: String,
        /// The model folder.
        folder: PathBuf,
        /// What that means and what to do.
        hint: &'static str,
    },
    /// Two tokens that must differ have one id.
    #[error(
        "the tokens {first:?} and {second:?} both have the id {id} in {folder:?}; the added tokens are damaged"
    )]
    SharedId {
        /// One token.
        first: String,
        /// The other.
        second: String,
        /// The id of both.
        id: u32,
        /// The model folder.
        folder: PathBuf,
    },
    /// The tokenizer has ids that the model has no embedding for.
    #[error(
        "the tokenizer of {folder:?} does not fit the model: it has ids up to {highest} ({token:?}), the model has \
         {vocab_rows} embedding rows; take tokenizer.model and added_tokens.json from the same checkpoint as the weights"
    )]
    WrongTokenizer {
        /// The folder of the tokenizer.
        folder: PathBuf,
        /// The highest id.
        highest: u32,
        /// The token of that id.
        token: String,
        /// Rows of the embedding matrix.
        vocab_rows: usize,
    },
    /// An id that the tokenizer does not know.
    #[error("token id {id} is out of range: the tokenizer has {size} ids")]
    IdOutOfRange {
        /// The id.
        id: u32,
        /// One more than the highest id known.
        size: usize,
    },
    /// No template has this name.
    #[error("there is no conversation template {name:?}; there are: {known}")]
    UnknownTemplate {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// A template cannot render these messages.
    #[error("the conversation template {template:?} cannot be filled: {reason}")]
    Template {
        /// Name of the template.
        template: String,
        /// What is missing.
        reason: &'static str,
    },
    /// The question has no text.
    #[error("the question is empty; say in words what to segment")]
    EmptyQuestion,
    /// The question holds a token that would be taken for a command.
    #[error(
        "the question holds {token:?}, which the model would read as a control token; leave it out, or put a \
         blank into it"
    )]
    ControlToken {
        /// The token found.
        token: String,
    },
    /// The prompt does not fit the model's context.
    #[error(
        "the {what} has {tokens}{or_more} tokens, the model's context has room for {context}; shorten the question"
    )]
    TooLong {
        /// "question" or "prompt".
        what: &'static str,
        /// Number of tokens.
        tokens: usize,
        /// " or more" where only a lower bound was computed, otherwise empty.
        or_more: &'static str,
        /// Tokens that fit.
        context: usize,
    },
    /// The answer of a training conversation cannot be found among the tokens.
    #[error("cannot mask the labels of the conversation {conversation:?}: {reason}")]
    Labels {
        /// The conversation's first 80 characters.
        conversation: String,
        /// What does not add up.
        reason: String,
    },
}
