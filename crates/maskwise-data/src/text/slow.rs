//! SentencePiece with added tokens, the way the reference implementations' slow LLaMA tokenizer does it.
//!
//! Behaviour: transformers 4.31, `LlamaTokenizer`, which READ, SESAME and LISA pin (specification 1.5).

use std::collections::{BTreeMap, HashMap, HashSet};

use super::TextError;
use super::sentencepiece::SentencePiece;
use super::sentencepiece::trie::Trie;
use super::settings::Settings;
use crate::folder::ModelFolder;

const SPACE_SYMBOL: char = '\u{2581}';

/// A token that text is cut at before SentencePiece sees it.
#[derive(Debug)]
struct CutToken {
    id: u32,
    strips_left: bool,
    strips_right: bool,
}

#[derive(Debug)]
pub(super) struct SlowTokenizer {
    model: SentencePiece,
    cuts: Vec<CutToken>,
    /// Values are indices into `cuts`.
    cut_trie: Trie,
    /// Tokens beyond the SentencePiece vocabulary, both ways.
    added: BTreeMap<String, u32>,
    added_by_id: HashMap<u32, String>,
    special: HashSet<u32>,
    legacy: bool,
    clean_up_spaces: bool,
}

impl SlowTokenizer {
    pub(super) fn new(
        folder: &ModelFolder,
        model: SentencePiece,
        settings: &Settings,
    ) -> Result<Self, TextError> {
        let base = model.vocab_size() as u32;
        let mut added = BTreeMap::new();
        for (token, id) in &settings.added {
            match model.piece_to_id(token) {
                // Newer files repeat the tokens of the base vocabulary.
                Some(known) if known == *id => {}
                None if *id >= base => {
                    added.insert(token.clone(), *id);
                }
                _ => {
                    let reason =
                        format!("{token:?} has the id {id}, which tokenizer.model ({base} ids) contradicts");
                    return Err(TextError::Json { path: folder.path("added_tokens.json"), reason });
                }
            }
        }
        let lookup = |token: &str| added.get(token).copied().or_else(|| model.piece_to_id(token));
        let mut cuts: BTreeMap<String, CutToken> = added
            .iter()
            .map(|(token, id)| (token.clone(), CutToken { id: *id, strips_left: true, strips_right: true }))
            .collect();
        let mut special = HashSet::new();
        for token in settings.special_tokens() {
            let id = lookup(&token.content).ok_or_else(|| TextError::MissingToken {
                token: token.content.clone(),
                folder: folder.location(),
                hint: "the tokenizer's settings name it as a special token; tokenizer.model or added_tokens.json is \
                       from another checkpoint",
            })?;
            special.insert(id);
            let cut = CutToken { id, strips_left: token.strips_left, strips_right: token.strips_right };
            cuts.insert(token.content, cut);
        }
        let cut_trie = Trie::new(cuts.keys().map(String::as_str).zip(0..));
        let added_by_id = added.iter().map(|(token, id)| (*id, token.clone())).collect();
        Ok(Self {
            model,
            cuts: cuts.into_values().collect(),
            cut_trie,
            added,
            added_by_id,
            special,
            legacy: settings.legacy,
            clean_up_spaces: settings.clean_up_spaces,
        })
    }

    pub(super) fn token_to_id(&self, token: &str) -> Option<u32> {
        self.added.get(token).copied().or_else(|| self.model.piece_to_id(token))
    }

    pub(super) fn id_to_token(&self, id: u32) -> Option<&str> {
        self.added_by_id.get(&id).map(String::as_str).or_else(|| self.model.id_to_piece(id))
    }

    pub(super) fn vocab_size(&self) -> usize {
        let added = self.added.values().max().map_or(0, |id| *id as usize + 1);
        self.model.vocab_size().max(added)
    }

    pub(super) fn longest_piece(&self) -> usize {
        self.model.longest_piece().max(self.added.keys().map(String::len).max().unwrap_or(1))
    }

    pub(super) fn is_added_or_special(&self, id: u32) -> bool {
        self.special.contains(&id) || self.added_by_id.contains_key(&id)
    }

    /// The first token in `text` that encoding would cut at.
    pub(super) fn find_cut(&self, text: &str) -> Option<&str> {
        text.char_indices()
            .find_map(|(at, _)| {
                let (length, _) = self.cut_trie.longest_prefix(&text.as_bytes()[at..])?;
                Some(&text[at..at + length])
            })
            .and_then(|token| self.token_to_id(token))
            .and_then(|id| self.id_to_token(id))
    }

    /// Ids of the tokens and of the text between them, each stretch encoded on its own (and so, in legacy mode, each
    /// with a dummy prefix of its own).
    pub(super) fn encode(&self, text: &str) -> Vec<u32> {
        let non_legacy_text;
        let text = if self.legacy {
            text
        } else {
            let spaced = text.chars().map(|c| if c == SPACE_SYMBOL { ' ' } else { c });
            non_legacy_text = std::iter::once(SPACE_SYMBOL).chain(spaced).collect::<String>();
            &non_legacy_text
        };
        let mut ids = Vec::new();
        let mut strip_start = false;
        let mut start = 0;
        let mut at = 0;
        while at < text.len() {
            let Some((length, cut)) = self.cut_trie.longest_prefix(&text.as_bytes()[at..]) else {
                at += text[at..].chars().next().map_or(1, char::len_utf8);
                continue;
            };
            let cut = &self.cuts[cut as usize];
            self.encode_stretch(&text[start..at], strip_start, cut.strips_left, &mut ids);
            ids.push(cut.id);
            strip_start = cut.strips_right;
            at += length;
            start = at;
        }
        self.encode_stretch(&text[start..], strip_start, false, &mut ids);
        ids
    }

    fn encode_stretch(&self, text: &str, strip_start: bool, strip_end: bool, ids: &mut Vec<u32>) {
        let text = if strip_start { text.trim_start_matches(is_python_space) } else { text };
        let text = if strip_end { text.trim_end_matches(is_python_space) } else { text };
        if text.is_empty() {
            return;
        }
        if self.legacy {
            ids.extend(self.model.encode(text));
            return;
        }
        // Only the very first stretch keeps the dummy prefix.
        let (first, text) = match text.strip_prefix(SPACE_SYMBOL) {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let encoded = self.model.encode(text);
        let leading = encoded.first().and_then(|id| self.model.id_to_piece(*id));
        match leading.and_then(|piece| piece.strip_prefix(SPACE_SYMBOL)) {
            Some(rest) if !first && !text.starts_with(' ') => {
                if !rest.is_empty() {
                    ids.push(self.model.piece_to_id(rest).unwrap_or(self.model.unknown_id()));
                }
                ids.extend(&encoded[1..]);
            }
            _ => ids.extend(encoded),
        }
    }

    /// Text of ids: added tokens are joined to their neighbours with spaces; special tokens of the base vocabulary are
    /// written out, with the space that the reference puts before the text that *precedes* them.
    pub(super) fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, TextError> {
        let mut parts: Vec<String> = Vec::new();
        let mut run: Vec<u32> = Vec::new();
        for id in ids.iter().filter(|id| !(skip_special && self.special.contains(id))) {
            let Some(token) = self.added_by_id.get(id) else {
                run.push(*id);
                continue;
            };
            if !run.is_empty() {
                parts.push(self.decode_run(&run)?);
                run.clear();
            }
            parts.push(token.clone());
        }
        if !run.is_empty() {
            parts.push(self.decode_run(&run)?);
        }
        let text = parts.join(" ");
        Ok(if self.clean_up_spaces { clean_up(&text) } else { text })
    }

    /// Text of ids of the base vocabulary.
    fn decode_run(&self, ids: &[u32]) -> Result<String, TextError> {
        let mut text = String::new();
        let mut after_special = false;
        let mut start = 0;
        for (index, id) in ids.iter().enumerate() {
            let special = self.special.contains(id);
            if special {
                if !after_special && index != 0 {
                    text.push(' ');
                }
                text.push_str(&self.decode_pieces(&ids[start..index])?);
                text.push_str(self.model.id_to_piece(*id).unwrap_or_default());
                start = index + 1;
            }
            after_special = special;
        }
        text.push_str(&self.decode_pieces(&ids[start..])?);
        Ok(text)
    }

    fn decode_pieces(&self, ids: &[u32]) -> Result<String, TextError> {
        if let Some(id) = ids.iter().find(|id| **id as usize >= self.model.vocab_size()) {
            return Err(TextError::IdOutOfRange { id: *id, size: self.vocab_size() });
        }
        // Every id is in range, so this cannot fail any more.
        self.model
            .decode(ids)
            .map_err(|_| TextError::IdOutOfRange { id: self.vocab_size() as u32, size: self.vocab_size() })
    }
}

/// What Python's `str.strip` takes for whitespace: Unicode's white space and the four information separators.
fn is_python_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1C}'..='\u{1F}').contains(&character)
}

/// Undoes the spaces that word-wise tokenizers put before punctuation (`clean_up_tokenization_spaces`).
pub(super) fn clean_up(text: &str) -> String {
    const RULES: [(&str, &str); 10] = [
        (" .", "."),
        (" ?", "?"),
        (" !", "!"),
        (" ,", ","),
        (" ' ", "'"),
        (" n't", "n't"),
        (" 'm", "'m"),
        (" 's", "'s"),
        (" 've", "'ve"),
        (" 're", "'re"),
    ];
    RULES.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}
