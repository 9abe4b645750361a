//! Reader, encoder, decoder and trainer of SentencePiece models (`tokenizer.model`), BPE and unigram, with byte fallback.
//!
//! Sources: Kudo and Richardson 2018 (SentencePiece, arXiv 1808.06226), Sennrich et al. 2016 (BPE), Kudo 2018 (unigram
//! language model), and the observable behaviour of release 0.1.99, which the reference implementations pin.

mod bpe;
mod decode;
mod normalizer;
mod proto;
mod trainer;
pub(super) mod trie;
mod unigram;

use std::collections::HashMap;

pub use proto::{ModelKind, PieceKind};
pub use trainer::train_bpe;

use normalizer::{Normalizer, SPACE_SYMBOL};
use proto::{ModelProto, Piece};
use trie::Trie;

/// Why a `tokenizer.model` cannot be used, or why ids cannot be decoded with it.
#[derive(Debug, thiserror::Error)]
pub enum SentencePieceError {
    /// The bytes are not a protobuf message.
    #[error("not a SentencePiece model: {what} at byte {offset}; the file is damaged or of another kind")]
    Malformed {
        /// What was found.
        what: &'static str,
        /// Byte offset in the file.
        offset: usize,
    },
    /// A known field has another wire type.
    #[error("not a SentencePiece model: the field `{field}` has another type than it should")]
    WireType {
        /// Field name in `sentencepiece_model.proto`.
        field: &'static str,
    },
    /// A text field is not UTF-8.
    #[error("not a SentencePiece model: the field `{field}` is not UTF-8")]
    Encoding {
        /// Field name in `sentencepiece_model.proto`.
        field: &'static str,
    },
    /// The message is well formed, but its content contradicts itself.
    #[error("the SentencePiece model is invalid: {0}")]
    Invalid(String),
    /// The model uses a feature that is not implemented here.
    #[error("the SentencePiece model uses {0}, which is not supported; BPE and unigram models are")]
    Unsupported(&'static str),
    /// An id beyond the vocabulary.
    #[error("token id {id} is out of range: the SentencePiece vocabulary has {size} entries")]
    IdOutOfRange {
        /// The id asked for.
        id: u32,
        /// Number of vocabulary entries.
        size: usize,
    },
}

/// A SentencePiece model. Immutable and cheap to share between threads.
#[derive(Debug)]
pub struct SentencePiece {
    kind: ModelKind,
    pieces: Vec<Piece>,
    /// Normal, user-defined and unused pieces: the text that segmentation can produce.
    text_ids: HashMap<Box<str>, u32>,
    /// Unknown, control and byte pieces, which are looked up first by [`SentencePiece::piece_to_id`].
    reserved_ids: HashMap<Box<str>, u32>,
    user_defined: Trie,
    unigram: Option<unigram::Lattice>,
    normalizer: Normalizer,
    unknown_id: u32,
    unknown_surface: String,
    /// Ids of `<0x00>` … `<0xFF>`, when the model falls back to bytes.
    byte_ids: Option<Box<[u32; 256]>>,
}

/// One encoded piece: its id and the part of the normalised text that it covers.
type Segment<'a> = (&'a str, u32);

impl SentencePiece {
    /// Reads a model from the bytes of a `tokenizer.model`.
    ///
    /// # Errors
    /// Anything that is not a complete, consistent BPE or unigram model; see [`SentencePieceError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SentencePieceError> {
        let proto = ModelProto::parse(bytes)?;
        let normalizer = Normalizer::new(&proto)?;
        let mut text_ids = HashMap::new();
        let mut reserved_ids = HashMap::new();
        let mut unknown_id = None;
        for (id, piece) in proto.pieces.iter().enumerate() {
            let id = id as u32;
            let map = match piece.kind {
                PieceKind::Normal | PieceKind::UserDefined | PieceKind::Unused => &mut text_ids,
                PieceKind::Unknown | PieceKind::Control | PieceKind::Byte => &mut reserved_ids,
            };
            if map.insert(piece.text.clone(), id).is_some() {
                return Err(SentencePieceError::Invalid(format!(
                    "the piece {:?} is defined twice",
                    piece.text
                )));
            }
            if piece.kind == PieceKind::Unknown && unknown_id.replace(id).is_some() {
                return Err(SentencePieceError::Invalid("there are two unknown pieces".to_owned()));
            }
        }
        let unknown_id =
            unknown_id.ok_or_else(|| SentencePieceError::Invalid("there is no unknown piece".to_owned()))?;
        let byte_ids = byte_ids(&proto)?;
        let user_defined = Trie::new(
            text_ids
                .iter()
                .filter(|(_, id)| proto.pieces[**id as usize].kind == PieceKind::UserDefined)
                .map(|(text, id)| (&**text, *id)),
        );
        let unigram = match proto.kind {
            ModelKind::Bpe => None,
            ModelKind::Unigram => Some(unigram::Lattice::new(&proto.pieces)),
        };
        Ok(Self {
            kind: proto.kind,
            pieces: proto.pieces,
            text_ids,
            reserved_ids,
            user_defined,
            unigram,
            normalizer,
            unknown_id,
            unknown_surface: proto.unknown_surface,
            byte_ids,
        })
    }

    /// Token ids of `text`, without begin or end symbols.
    ///
    /// Text that no piece covers becomes byte pieces where the model has them, otherwise one unknown id per run.
    /// Control symbols written in the text (`</s>`) are ordinary characters here. Linear-logarithmic in the text.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let normalized = self.normalizer.normalize(text, &self.user_defined);
        let segments = match &self.unigram {
            Some(lattice) => lattice.segment(self, &normalized),
            None => bpe::segment(self, &normalized),
        };
        let mut ids = Vec::with_capacity(segments.len());
        let mut after_unknown = false;
        for (piece, id) in segments {
            let unknown = id == self.unknown_id;
            match &self.byte_ids {
                Some(byte_ids) if unknown => {
                    ids.extend(piece.bytes().map(|byte| byte_ids[usize::from(byte)]))
                }
                _ if unknown && after_unknown => {}
                _ => ids.push(id),
            }
            after_unknown = unknown;
        }
        ids
    }

    /// The text of `ids`. Control symbols vanish, the unknown id becomes the model's unknown surface (` ⁇ ` unless
    /// the model says otherwise), bytes that form no UTF-8 become U+FFFD each, and the dummy prefix is taken off.
    ///
    /// # Errors
    /// [`SentencePieceError::IdOutOfRange`].
    pub fn decode(&self, ids: &[u32]) -> Result<String, SentencePieceError> {
        decode::decode(self, ids)
    }

    /// Number of vocabulary entries; ids are below it.
    pub fn vocab_size(&self) -> usize {
        self.pieces.len()
    }

    /// BPE or unigram.
    pub fn kind(&self) -> ModelKind {
        self.kind
    }

    /// Id of a piece as the vocabulary writes it (`▁the`, `<0x0A>`, `</s>`); `None` if there is none.
    pub fn piece_to_id(&self, piece: &str) -> Option<u32> {
        self.reserved_ids.get(piece).or_else(|| self.text_ids.get(piece)).copied()
    }

    /// The piece of an id, as the vocabulary writes it.
    pub fn id_to_piece(&self, id: u32) -> Option<&str> {
        self.pieces.get(id as usize).map(|piece| &*piece.text)
    }

    /// What an id stands for.
    pub fn kind_of(&self, id: u32) -> Option<PieceKind> {
        self.pieces.get(id as usize).map(|piece| piece.kind)
    }

    /// Id of the unknown piece.
    pub fn unknown_id(&self) -> u32 {
        self.unknown_id
    }

    /// Longest piece of text in the vocabulary, in bytes: a bound on how much one token can cover.
    pub fn longest_piece(&self) -> usize {
        self.text_ids.keys().map(|piece| piece.len()).max().unwrap_or(1)
    }

    fn id_or_unknown(&self, piece: &str) -> u32 {
        self.piece_to_id(piece).unwrap_or(self.unknown_id)
    }

    fn is_unused(&self, id: u32) -> bool {
        self.pieces[id as usize].kind == PieceKind::Unused
    }
}

/// The table of byte pieces; all 256 must be there if the model falls back to bytes, none if it does not.
fn byte_ids(proto: &ModelProto) -> Result<Option<Box<[u32; 256]>>, SentencePieceError> {
    let mut found = [None; 256];
    for (id, piece) in proto.pieces.iter().enumerate().filter(|(_, piece)| piece.kind == PieceKind::Byte) {
        if !proto.byte_fallback {
            let text = &piece.text;
            return Err(SentencePieceError::Invalid(format!(
                "byte piece {text:?} in a model without byte fallback"
            )));
        }
        let byte = byte_of(&piece.text).ok_or_else(|| {
            SentencePieceError::Invalid(format!("the byte piece {:?} is not written <0xNN>", piece.text))
        })?;
        found[usize::from(byte)] = Some(id as u32);
    }
    if !proto.byte_fallback {
        return Ok(None);
    }
    let mut ids = Box::new([0; 256]);
    for (byte, id) in found.iter().enumerate() {
        ids[byte] = id.ok_or_else(|| {
            SentencePieceError::Invalid(format!(
                "byte fallback is on, but <0x{byte:02X}> is not in the vocabulary"
            ))
        })?;
    }
    Ok(Some(ids))
}

/// The byte that a piece such as `<0x0A>` stands for.
fn byte_of(piece: &str) -> Option<u8> {
    let digits = piece.strip_prefix("<0x")?.strip_suffix('>')?;
    let upper = digits.len() == 2 && digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'A'..=b'F'));
    if upper { u8::from_str_radix(digits, 16).ok() } else { None }
}
