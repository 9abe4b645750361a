//! From ids back to text.

use super::{PieceKind, SPACE_SYMBOL, SentencePiece, SentencePieceError, byte_of};

pub(super) fn decode(model: &SentencePiece, ids: &[u32]) -> Result<String, SentencePieceError> {
    let mut text = String::new();
    let mut bytes = Vec::new();
    // The dummy prefix is taken off the first piece that shows any text, or, if extra whitespace is removed anyway,
    // off every leading piece of blanks.
    let mut at_start = true;
    let mut prefix_taken = false;
    for id in ids {
        let piece = model
            .pieces
            .get(*id as usize)
            .ok_or(SentencePieceError::IdOutOfRange { id: *id, size: model.pieces.len() })?;
        if let (PieceKind::Byte, Some(byte)) = (piece.kind, byte_of(&piece.text)) {
            bytes.push(byte);
            continue;
        }
        push_bytes(&mut text, &mut bytes);
        at_start &= !prefix_taken && text.is_empty();
        match piece.kind {
            PieceKind::Control => prefix_taken = false,
            PieceKind::Unknown => {
                text.push_str(&model.unknown_surface);
                prefix_taken = false;
            }
            _ => prefix_taken = push_piece(model, &mut text, &piece.text, at_start),
        }
    }
    push_bytes(&mut text, &mut bytes);
    Ok(text)
}

/// Appends a piece of text; true if that took a dummy prefix off which must be the only one.
fn push_piece(model: &SentencePiece, text: &mut String, piece: &str, at_start: bool) -> bool {
    let normalizer = &model.normalizer;
    let strips = at_start && (normalizer.add_dummy_prefix || normalizer.remove_extra_whitespaces);
    let stripped = if strips { piece.strip_prefix(SPACE_SYMBOL) } else { None };
    for (index, part) in stripped.unwrap_or(piece).split(SPACE_SYMBOL).enumerate() {
        if index > 0 {
            text.push(' ');
        }
        text.push_str(part);
    }
    stripped.is_some() && !normalizer.remove_extra_whitespaces
}

/// Appends the collected bytes as UTF-8, one U+FFFD for each byte that does not belong to a character.
fn push_bytes(text: &mut String, bytes: &mut Vec<u8>) {
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    bytes.clear();
}
