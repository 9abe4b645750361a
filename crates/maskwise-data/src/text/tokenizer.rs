//! One tokenizer interface over both file formats of a model folder.

use std::path::PathBuf;

use super::TextError;
use super::sentencepiece::SentencePiece;
use super::settings::{Settings, read_optional};
use super::slow::{SlowTokenizer, clean_up};
use crate::folder::ModelFolder;

/// The tokenizer of a model folder.
///
/// `tokenizer.model` (SentencePiece) with `added_tokens.json`, `special_tokens_map.json` and `tokenizer_config.json`
/// is read by our own code and behaves as the slow `LlamaTokenizer` of transformers 4.31, which the published
/// checkpoints were trained with. A folder that has only `tokenizer.json` is read by the `tokenizers` library. If both
/// exist, `tokenizer.model` wins, because the two differ in whitespace around added tokens.
#[derive(Debug)]
pub struct Tokenizer {
    backend: Backend,
    folder: PathBuf,
    bos: Option<u32>,
    eos: Option<u32>,
    unk: Option<u32>,
    pad: Option<u32>,
    add_bos: bool,
    add_eos: bool,
    clean_up_spaces: bool,
    max_length: Option<usize>,
    vocab_size: usize,
    longest_piece: usize,
}

#[derive(Debug)]
enum Backend {
    SentencePiece(Box<SlowTokenizer>),
    Library(Box<tokenizers::Tokenizer>),
}

/// The tokens by which a `[SEG]` system marks images and masks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpecialIds {
    /// `[SEG]`: "here is a mask".
    pub seg: u32,
    /// `<im_start>`, before the image features.
    pub im_start: u32,
    /// `<im_end>`, after the image features.
    pub im_end: u32,
    /// Begin of sequence.
    pub bos: u32,
    /// End of sequence; generation stops here.
    pub eos: u32,
    /// Padding; the unknown token where the folder names none.
    pub pad: u32,
}

/// Written by the model where a mask belongs.
pub const SEG_TOKEN: &str = "[SEG]";
/// Opens the image features.
pub const IM_START_TOKEN: &str = "<im_start>";
/// Closes the image features.
pub const IM_END_TOKEN: &str = "<im_end>";

const NOT_A_SEG_CHECKPOINT: &str = "this is not a LISA, SESAME or READ checkpoint, or the file of added tokens was left out when it was copied; \
     take the tokenizer files from the folder that the weights came from";

impl Tokenizer {
    /// Reads the tokenizer of a model folder.
    ///
    /// # Errors
    /// No tokenizer in the folder, unreadable or damaged files, ids that contradict each other, or a tokenizer class
    /// with other rules than LLaMA's.
    pub fn from_dir(folder: impl Into<ModelFolder>) -> Result<Self, TextError> {
        let folder = &folder.into();
        if let Some(bytes) = read_optional(folder, "tokenizer.model")? {
            let settings = Settings::read(folder, true)?;
            if !is_llama_class(settings.class.as_deref()) {
                let class = settings.class.as_deref().unwrap_or_default();
                let reason = format!(
                    "the tokenizer class {class} is not supported with tokenizer.model; LlamaTokenizer is"
                );
                return Err(TextError::Json { path: folder.path("tokenizer_config.json"), reason });
            }
            let model = SentencePiece::from_bytes(&bytes)
                .map_err(|source| TextError::Model { path: folder.path("tokenizer.model"), source })?;
            let slow = SlowTokenizer::new(folder, model, &settings)?;
            let (vocab_size, longest_piece) = (slow.vocab_size(), slow.longest_piece());
            return Self::assemble(
                Backend::SentencePiece(Box::new(slow)),
                folder,
                &settings,
                vocab_size,
                longest_piece,
            );
        }
        let json_path = folder.path("tokenizer.json");
        let Some(bytes) = read_optional(folder, "tokenizer.json")? else {
            return Err(TextError::NoTokenizer { folder: folder.location() });
        };
        let settings = Settings::read(folder, false)?;
        let library = tokenizers::Tokenizer::from_bytes(&bytes)
            .map_err(|error| TextError::Json { path: json_path.clone(), reason: error.to_string() })?;
        let vocabulary = library.get_vocab(true);
        for (token, id) in &settings.added {
            if vocabulary.get(token) != Some(id) {
                let reason = format!("it does not have {token:?} with the id {id} of the added tokens");
                return Err(TextError::Json { path: json_path, reason });
            }
        }
        let vocab_size = vocabulary.values().max().map_or(0, |id| *id as usize + 1);
        let longest_piece = vocabulary.keys().map(String::len).max().unwrap_or(1);
        Self::assemble(Backend::Library(Box::new(library)), folder, &settings, vocab_size, longest_piece)
    }

    fn assemble(
        backend: Backend,
        folder: &ModelFolder,
        settings: &Settings,
        vocab_size: usize,
        longest_piece: usize,
    ) -> Result<Self, TextError> {
        let mut tokenizer = Self {
            backend,
            folder: folder.location(),
            bos: None,
            eos: None,
            unk: None,
            pad: None,
            add_bos: settings.add_bos,
            add_eos: settings.add_eos,
            clean_up_spaces: settings.clean_up_spaces,
            max_length: settings.max_length,
            vocab_size,
            longest_piece,
        };
        let role = |name: &str| match settings.role(name) {
            Some(token) => {
                tokenizer.required_id(token, "the tokenizer's settings name it as a special token").map(Some)
            }
            None => Ok(None),
        };
        let (bos, eos, unk, pad) =
            (role("bos_token")?, role("eos_token")?, role("unk_token")?, role("pad_token")?);
        tokenizer.bos = bos;
        tokenizer.eos = eos;
        tokenizer.unk = unk;
        // The reference sets the padding token to the unknown token.
        tokenizer.pad = pad.or(unk);
        Ok(tokenizer)
    }

    /// Ids of `text`, after the begin symbol if `add_bos`. Special and added tokens written in the text become their
    /// ids: see [`user_text`](super::prompt::user_text) for text that comes from people.
    ///
    /// # Errors
    /// `add_bos` without such a symbol in the vocabulary; a failure of the `tokenizers` library.
    pub fn encode(&self, text: &str, add_bos: bool) -> Result<Vec<u32>, TextError> {
        let mut ids = Vec::new();
        if add_bos {
            ids.push(self.required_role(self.bos, "bos_token")?);
        }
        match &self.backend {
            Backend::SentencePiece(slow) => ids.extend(slow.encode(text)),
            Backend::Library(library) => {
                let encoding = library.encode_fast(text, false).map_err(library_error)?;
                ids.extend(encoding.get_ids());
            }
        }
        Ok(ids)
    }

    /// Ids of `text` with the begin and end symbols that the folder's settings ask for: what the reference gets from
    /// `tokenizer(text).input_ids`.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_with_defaults(&self, text: &str) -> Result<Vec<u32>, TextError> {
        match &self.backend {
            Backend::SentencePiece(_) => {
                let mut ids = self.encode(text, self.add_bos)?;
                if self.add_eos {
                    ids.push(self.required_role(self.eos, "eos_token")?);
                }
                Ok(ids)
            }
            Backend::Library(library) => {
                Ok(library.encode_fast(text, true).map_err(library_error)?.get_ids().to_vec())
            }
        }
    }

    /// Text of `ids`. `skip_special` leaves out begin, end, unknown and padding; `[SEG]` and the image marks stay.
    /// Added tokens stand between spaces (`… is [SEG] .`), as in the reference.
    ///
    /// # Errors
    /// [`TextError::IdOutOfRange`]; image placeholders must be taken out before.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, TextError> {
        match &self.backend {
            Backend::SentencePiece(slow) => slow.decode(ids, skip_special),
            Backend::Library(library) => {
                if let Some(id) = ids.iter().find(|id| library.id_to_token(**id).is_none()) {
                    return Err(TextError::IdOutOfRange { id: *id, size: self.vocab_size });
                }
                let text = library.decode(ids, skip_special).map_err(library_error)?;
                Ok(if self.clean_up_spaces { clean_up(&text) } else { text })
            }
        }
    }

    /// Id of a token exactly as the vocabulary writes it; `None` if there is none. Never encodes the string.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        match &self.backend {
            Backend::SentencePiece(slow) => slow.token_to_id(token),
            Backend::Library(library) => library.token_to_id(token),
        }
    }

    /// The token of an id, as the vocabulary writes it (`▁the`, `[SEG]`).
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        match &self.backend {
            Backend::SentencePiece(slow) => slow.id_to_token(id).map(str::to_owned),
            Backend::Library(library) => library.id_to_token(id),
        }
    }

    /// One more than the highest id, added tokens included.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Begin of sequence.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// End of sequence.
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// The id of text that the vocabulary does not cover.
    pub fn unk(&self) -> Option<u32> {
        self.unk
    }

    /// Padding: the folder's, otherwise the unknown token.
    pub fn pad(&self) -> Option<u32> {
        self.pad
    }

    /// `model_max_length` of `tokenizer_config.json`, in tokens; `None` if it states no limit.
    pub fn max_length(&self) -> Option<usize> {
        self.max_length
    }

    /// Most bytes of text that one token can stand for.
    pub(super) fn longest_piece(&self) -> usize {
        self.longest_piece
    }

    /// The first special or added token that encoding would recognise in `text`.
    pub(super) fn find_special(&self, text: &str) -> Result<Option<String>, TextError> {
        match &self.backend {
            Backend::SentencePiece(slow) => Ok(slow.find_cut(text).map(str::to_owned)),
            Backend::Library(library) => {
                let encoding = library.encode_fast(text, false).map_err(library_error)?;
                let found = encoding.get_ids().iter().find(|id| self.is_control_id(**id));
                Ok(found.and_then(|id| library.id_to_token(*id)))
            }
        }
    }

    /// Whether an id is an added or special token. The unknown token is not: ordinary text can hold it.
    pub(super) fn is_control_id(&self, id: u32) -> bool {
        let marked = match &self.backend {
            Backend::SentencePiece(slow) => slow.is_added_or_special(id),
            Backend::Library(library) => {
                library.get_added_vocabulary().get_added_tokens_decoder().contains_key(&id)
            }
        };
        marked && Some(id) != self.unk
    }

    /// The ids that `[SEG]` systems need, each looked up in the vocabulary, all distinct and below `vocab_rows` (rows
    /// of the model's embedding matrix).
    ///
    /// # Errors
    /// A token is missing, two share an id, or the tokenizer has ids that the model does not.
    pub fn special_ids(&self, vocab_rows: usize) -> Result<SpecialIds, TextError> {
        let marks = self.distinct_ids(&[SEG_TOKEN, IM_START_TOKEN, IM_END_TOKEN], vocab_rows)?;
        let ids = SpecialIds {
            seg: marks[0],
            im_start: marks[1],
            im_end: marks[2],
            bos: self.required_role(self.bos, "bos_token")?,
            eos: self.required_role(self.eos, "eos_token")?,
            pad: self.required_role(self.pad, "pad_token")?,
        };
        let roles = [("bos_token", ids.bos), ("eos_token", ids.eos), ("pad_token", ids.pad)];
        for (name, id) in roles {
            if let Some(token) =
                [SEG_TOKEN, IM_START_TOKEN, IM_END_TOKEN].iter().zip(&marks).find(|mark| *mark.1 == id)
            {
                return Err(self.shared(token.0, name, id));
            }
        }
        if ids.bos == ids.eos {
            return Err(self.shared("bos_token", "eos_token", ids.bos));
        }
        Ok(ids)
    }

    /// Ids of several marks by name, in order; for systems with other or more marks than [`SpecialIds`].
    ///
    /// # Errors
    /// A token is missing, two share an id, or the tokenizer has ids of `vocab_rows` or above.
    pub fn distinct_ids(&self, tokens: &[&str], vocab_rows: usize) -> Result<Vec<u32>, TextError> {
        if self.vocab_size > vocab_rows {
            let highest = self.vocab_size as u32 - 1;
            let token = self.id_to_token(highest).unwrap_or_default();
            return Err(TextError::WrongTokenizer {
                folder: self.folder.clone(),
                highest,
                token,
                vocab_rows,
            });
        }
        let mut ids = Vec::with_capacity(tokens.len());
        for token in tokens {
            let id = self.required_id(token, NOT_A_SEG_CHECKPOINT)?;
            if let Some(other) = ids.iter().position(|known| *known == id) {
                return Err(self.shared(tokens[other], token, id));
            }
            ids.push(id);
        }
        Ok(ids)
    }

    fn shared(&self, first: &str, second: &str, id: u32) -> TextError {
        TextError::SharedId {
            first: first.to_owned(),
            second: second.to_owned(),
            id,
            folder: self.folder.clone(),
        }
    }

    fn required_id(&self, token: &str, hint: &'static str) -> Result<u32, TextError> {
        let missing =
            || TextError::MissingToken { token: token.to_owned(), folder: self.folder.clone(), hint };
        self.token_to_id(token).ok_or_else(missing)
    }

    pub(super) fn required_role(&self, id: Option<u32>, role: &str) -> Result<u32, TextError> {
        id.ok_or_else(|| TextError::MissingToken {
            token: role.to_owned(),
            folder: self.folder.clone(),
            hint: "tokenizer_config.json and special_tokens_map.json name no such token",
        })
    }
}

/// The classes whose rules [`SlowTokenizer`] follows; no class at all is taken for LLaMA's.
fn is_llama_class(class: Option<&str>) -> bool {
    class.is_none_or(|class| {
        matches!(
            class.to_ascii_lowercase().as_str(),
            "llamatokenizer" | "llamatokenizerfast" | "pretrainedtokenizerfast"
        )
    })
}

fn library_error(error: tokenizers::Error) -> TextError {
    TextError::Library { reason: error.to_string() }
}
