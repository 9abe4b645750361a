//! A strict reader of the one protobuf message that a `tokenizer.model` is (`ModelProto` of SentencePiece).
//!
//! Field numbers follow `sentencepiece_model.proto` of the SentencePiece project. Unknown fields are skipped, as
//! protobuf wants; everything that cannot be a well-formed message is an error. Nothing is allocated from a length
//! that the file claims but does not hold.

use super::SentencePieceError;

/// What a vocabulary entry stands for (`SentencePiece.Type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PieceKind {
    /// A piece of text that the encoder may emit.
    Normal,
    /// The one entry for text that no piece covers.
    Unknown,
    /// A control symbol such as `<s>`; never found in text.
    Control,
    /// Text that is always kept as one piece.
    UserDefined,
    /// In the vocabulary, but split into its parts again after encoding.
    Unused,
    /// One byte, written `<0x00>` … `<0xFF>`, for byte fallback.
    Byte,
}

/// The segmentation algorithm of a model (`TrainerSpec.ModelType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelKind {
    /// Unigram language model, best path by Viterbi.
    Unigram,
    /// Byte-pair encoding, merges by score.
    Bpe,
}

#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) text: Box<str>,
    pub(super) score: f32,
    pub(super) kind: PieceKind,
}

/// The fields of `ModelProto` that encoding and decoding depend on, with protobuf's defaults filled in.
#[derive(Debug)]
pub(super) struct ModelProto {
    pub(super) pieces: Vec<Piece>,
    pub(super) kind: ModelKind,
    pub(super) byte_fallback: bool,
    pub(super) unknown_surface: String,
    pub(super) charsmap: Vec<u8>,
    pub(super) add_dummy_prefix: bool,
    pub(super) remove_extra_whitespaces: bool,
    pub(super) escape_whitespaces: bool,
}

impl ModelProto {
    /// Reads the message. Errors name the byte offset or the field at fault.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, SentencePieceError> {
        let mut proto = ModelProto {
            pieces: Vec::new(),
            kind: ModelKind::Unigram,
            byte_fallback: false,
            unknown_surface: " \u{2047} ".to_owned(),
            charsmap: Vec::new(),
            add_dummy_prefix: true,
            remove_extra_whitespaces: true,
            escape_whitespaces: true,
        };
        let mut fields = Fields::new(bytes, 0);
        while let Some((number, value)) = fields.next_field()? {
            match number {
                1 => proto.pieces.push(parse_piece(value.message("pieces")?, proto.pieces.len())?),
                2 => parse_trainer(value.message("trainer_spec")?, &mut proto)?,
                3 => parse_normalizer(value.message("normalizer_spec")?, &mut proto)?,
                5 => refuse_denormalizer(value.message("denormalizer_spec")?)?,
                _ => {}
            }
        }
        Ok(proto)
    }
}

fn parse_piece(mut fields: Fields<'_>, index: usize) -> Result<Piece, SentencePieceError> {
    let mut text = "";
    let mut score = 0.0;
    let mut kind = PieceKind::Normal;
    while let Some((number, value)) = fields.next_field()? {
        match number {
            1 => text = value.text("piece")?,
            2 => score = value.float("score")?,
            3 => {
                kind = match value.varint("type")? {
                    1 => PieceKind::Normal,
                    2 => PieceKind::Unknown,
                    3 => PieceKind::Control,
                    4 => PieceKind::UserDefined,
                    5 => PieceKind::Unused,
                    6 => PieceKind::Byte,
                    other => {
                        return Err(SentencePieceError::Invalid(format!(
                            "piece {index} has the unknown type {other}"
                        )));
                    }
                }
            }
            _ => {}
        }
    }
    if text.is_empty() {
        return Err(SentencePieceError::Invalid(format!("piece {index} is empty")));
    }
    if !score.is_finite() {
        return Err(SentencePieceError::Invalid(format!("piece {index} ({text:?}) has the score {score}")));
    }
    Ok(Piece { text: text.into(), score, kind })
}

fn parse_trainer(mut fields: Fields<'_>, proto: &mut ModelProto) -> Result<(), SentencePieceError> {
    while let Some((number, value)) = fields.next_field()? {
        match number {
            3 => {
                proto.kind = match value.varint("model_type")? {
                    1 => ModelKind::Unigram,
                    2 => ModelKind::Bpe,
                    3 => return Err(SentencePieceError::Unsupported("the model type WORD")),
                    4 => return Err(SentencePieceError::Unsupported("the model type CHAR")),
                    other => {
                        return Err(SentencePieceError::Invalid(format!(
                            "the model type {other} does not exist"
                        )));
                    }
                }
            }
            24 if value.varint("treat_whitespace_as_suffix")? != 0 => {
                return Err(SentencePieceError::Unsupported("treat_whitespace_as_suffix"));
            }
            35 => proto.byte_fallback = value.varint("byte_fallback")? != 0,
            44 => proto.unknown_surface = value.text("unk_surface")?.to_owned(),
            _ => {}
        }
    }
    Ok(())
}

fn parse_normalizer(mut fields: Fields<'_>, proto: &mut ModelProto) -> Result<(), SentencePieceError> {
    while let Some((number, value)) = fields.next_field()? {
        match number {
            2 => proto.charsmap = value.bytes("precompiled_charsmap")?.to_vec(),
            3 => proto.add_dummy_prefix = value.varint("add_dummy_prefix")? != 0,
            4 => proto.remove_extra_whitespaces = value.varint("remove_extra_whitespaces")? != 0,
            5 => proto.escape_whitespaces = value.varint("escape_whitespaces")? != 0,
            _ => {}
        }
    }
    Ok(())
}

fn refuse_denormalizer(mut fields: Fields<'_>) -> Result<(), SentencePieceError> {
    while let Some((number, value)) = fields.next_field()? {
        if number == 2 && !value.bytes("precompiled_charsmap")?.is_empty() {
            return Err(SentencePieceError::Unsupported("a denormalizer with a character map"));
        }
    }
    Ok(())
}

/// The fields of one message, in file order.
struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Offset of `bytes` in the file, for messages.
    base: usize,
}

/// One field's value, by wire type.
enum Value<'a> {
    Varint(u64),
    Fixed64,
    Fixed32(u32),
    Bytes(&'a [u8], usize),
}

impl<'a> Fields<'a> {
    fn new(bytes: &'a [u8], base: usize) -> Self {
        Self { bytes, at: 0, base }
    }

    fn malformed(&self, what: &'static str) -> SentencePieceError {
        SentencePieceError::Malformed { what, offset: self.base + self.at }
    }

    fn next_field(&mut self) -> Result<Option<(u64, Value<'a>)>, SentencePieceError> {
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        let key = self.varint()?;
        let number = key >> 3;
        if number == 0 || number > 0x1FFF_FFFF {
            return Err(self.malformed("a field number out of range"));
        }
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => {
                self.take(8)?;
                Value::Fixed64
            }
            2 => {
                let length = self.varint()?;
                let length =
                    usize::try_from(length).map_err(|_| self.malformed("a length beyond the file"))?;
                let start = self.base + self.at;
                Value::Bytes(self.take(length)?, start)
            }
            5 => {
                let bytes = self.take(4)?;
                Value::Fixed32(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
            }
            _ => return Err(self.malformed("a wire type that protobuf 2 messages of this kind never hold")),
        };
        Ok(Some((number, value)))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], SentencePieceError> {
        let rest = &self.bytes[self.at..];
        if length > rest.len() {
            return Err(self.malformed("a field that is longer than what is left of the file"));
        }
        self.at += length;
        Ok(&rest[..length])
    }

    fn varint(&mut self) -> Result<u64, SentencePieceError> {
        let mut value = 0u64;
        for position in 0..10 {
            let byte =
                *self.bytes.get(self.at).ok_or_else(|| self.malformed("a number cut off by the end"))?;
            self.at += 1;
            // The tenth byte has room for one bit only.
            if position == 9 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7F) << (7 * position);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.malformed("a number of more than 64 bits"))
    }
}

impl<'a> Value<'a> {
    fn varint(&self, field: &'static str) -> Result<u64, SentencePieceError> {
        match self {
            Value::Varint(value) => Ok(*value),
            _ => Err(SentencePieceError::WireType { field }),
        }
    }

    fn float(&self, field: &'static str) -> Result<f32, SentencePieceError> {
        match self {
            Value::Fixed32(bits) => Ok(f32::from_bits(*bits)),
            _ => Err(SentencePieceError::WireType { field }),
        }
    }

    fn bytes(&self, field: &'static str) -> Result<&'a [u8], SentencePieceError> {
        match self {
            Value::Bytes(bytes, _) => Ok(bytes),
            _ => Err(SentencePieceError::WireType { field }),
        }
    }

    fn text(&self, field: &'static str) -> Result<&'a str, SentencePieceError> {
        std::str::from_utf8(self.bytes(field)?).map_err(|_| SentencePieceError::Encoding { field })
    }

    fn message(&self, field: &'static str) -> Result<Fields<'a>, SentencePieceError> {
        match self {
            Value::Bytes(bytes, base) => Ok(Fields::new(bytes, *base)),
            _ => Err(SentencePieceError::WireType { field }),
        }
    }
}
