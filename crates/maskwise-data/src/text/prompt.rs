//! From prompts to token ids: image placeholders, batches, labels, and the guard on what people type.

use super::TextError;
use super::conversation::{Conversation, ConversationTemplate, Speaker};
use super::tokenizer::{IM_END_TOKEN, IM_START_TOKEN, SEG_TOKEN, Tokenizer};

/// Stands for an image in prompt text.
pub const IMAGE_TOKEN: &str = "<image>";

/// Stands for an image among token ids; the image features take its place in the embedding sequence.
pub const IMAGE_PLACEHOLDER: i64 = -200;

/// Label of positions that the loss leaves out.
pub const IGNORED_LABEL: i64 = -100;

/// What to do with control tokens (`[SEG]`, `<image>`, `<im_start>`, `</s>`, …) that a person typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UserTextPolicy {
    /// Refuse the question and name the token. The default: a question that holds one is nearly always a mistake, and
    /// a `[SEG]` in a question would yield a mask that nobody asked for.
    #[default]
    Refuse,
    /// Put a blank behind the first character (`[ SEG]`), so that the token is read as ordinary text.
    Neutralise,
    /// Let the tokens act, as the reference implementations do. For parity runs and trusted text only.
    AllowSpecial,
}

/// Checks text that a person typed and returns it ready for a [`Conversation`].
///
/// `context` is the number of tokens that the model has room for. Words such as `USER:` that merely look like a turn of
/// the conversation are left alone: they are ordinary text to the model, and people may well ask about them.
///
/// # Errors
/// [`TextError::EmptyQuestion`] for text without a visible character, [`TextError::ControlToken`] under
/// [`UserTextPolicy::Refuse`], and [`TextError::TooLong`].
pub fn user_text(
    tokenizer: &Tokenizer,
    text: &str,
    context: usize,
    policy: UserTextPolicy,
) -> Result<String, TextError> {
    if !text.chars().any(is_visible) {
        return Err(TextError::EmptyQuestion);
    }
    // Refuses absurd lengths before the work of encoding them.
    let fewest_tokens = text.len() / tokenizer.longest_piece().max(1);
    if fewest_tokens > context {
        return Err(TextError::TooLong {
            what: "question",
            tokens: fewest_tokens,
            or_more: " or more",
            context,
        });
    }
    let text = match policy {
        UserTextPolicy::Refuse => match find_control_token(tokenizer, text)? {
            Some(token) => return Err(TextError::ControlToken { token }),
            None => text.to_owned(),
        },
        UserTextPolicy::Neutralise => neutralise(tokenizer, text)?,
        UserTextPolicy::AllowSpecial => text.to_owned(),
    };
    let ids = tokenizer.encode(&text, false)?;
    if ids.len() > context {
        return Err(TextError::TooLong { what: "question", tokens: ids.len(), or_more: "", context });
    }
    if policy != UserTextPolicy::AllowSpecial
        && let Some(id) = ids.iter().find(|id| tokenizer.is_control_id(**id))
    {
        // A model that maps characters could still make a control token out of look-alikes.
        return Err(TextError::ControlToken { token: tokenizer.id_to_token(*id).unwrap_or_default() });
    }
    Ok(text)
}

/// Checks a whole prompt against the model's context: `tokens` after the image features took their place, plus what
/// is still to be generated.
///
/// # Errors
/// [`TextError::TooLong`].
pub fn check_context(tokens: usize, context: usize) -> Result<(), TextError> {
    if tokens > context {
        return Err(TextError::TooLong { what: "prompt", tokens, or_more: "", context });
    }
    Ok(())
}

fn is_visible(character: char) -> bool {
    let zero_width = matches!(character, '\u{200B}'..='\u{200F}' | '\u{2060}' | '\u{FEFF}');
    !(character.is_whitespace() || character.is_control() || zero_width)
}

fn find_control_token(tokenizer: &Tokenizer, text: &str) -> Result<Option<String>, TextError> {
    let marks = [IMAGE_TOKEN, SEG_TOKEN, IM_START_TOKEN, IM_END_TOKEN];
    match marks.iter().find(|mark| text.contains(**mark)) {
        Some(mark) => Ok(Some((*mark).to_owned())),
        None => tokenizer.find_special(text),
    }
}

fn neutralise(tokenizer: &Tokenizer, text: &str) -> Result<String, TextError> {
    // One round per kind of token, and a few for tokens that breaking another one brings about.
    const MOST_ROUNDS: usize = 64;
    let mut text = text.to_owned();
    for _ in 0..MOST_ROUNDS {
        let Some(token) = find_control_token(tokenizer, &text)? else { return Ok(text) };
        let first = token.chars().next().map_or(0, char::len_utf8);
        text = text.replace(&token, &format!("{} {}", &token[..first], &token[first..]));
    }
    match find_control_token(tokenizer, &text)? {
        Some(token) => Err(TextError::ControlToken { token }),
        None => Ok(text),
    }
}

/// The prompt for one question about one image, image marks included: `<im_start><image><im_end>` and a line break
/// before the question. `answer` is `None` if the model is to write it. `question` should come from [`user_text`].
///
/// # Errors
/// As [`Conversation::prompt`].
pub fn question_prompt(
    template: &ConversationTemplate,
    question: &str,
    answer: Option<&str>,
) -> Result<String, TextError> {
    let mut conversation = Conversation::new(template.clone());
    conversation.push(Speaker::User, Some(&format!("{IMAGE_TOKEN}\n{question}")));
    conversation.push(Speaker::Assistant, answer);
    Ok(mark_images(&conversation.prompt()?))
}

/// Puts `<im_start>` and `<im_end>` around every `<image>`.
pub fn mark_images(prompt: &str) -> String {
    prompt.replace(IMAGE_TOKEN, &format!("{IM_START_TOKEN}{IMAGE_TOKEN}{IM_END_TOKEN}"))
}

/// Ids of a prompt, [`IMAGE_PLACEHOLDER`] for every `<image>`. The text between images is encoded piece by piece, the
/// begin symbol kept only at the very start (specification 1.4).
///
/// # Errors
/// As [`Tokenizer::encode_with_defaults`].
pub fn tokenize_image_prompt(tokenizer: &Tokenizer, prompt: &str) -> Result<Vec<i64>, TextError> {
    let mut ids = Vec::new();
    let mut begins = false;
    for (index, chunk) in prompt.split(IMAGE_TOKEN).enumerate() {
        let chunk = tokenizer.encode_with_defaults(chunk)?;
        if index == 0 {
            begins = chunk.first().is_some_and(|first| tokenizer.bos() == Some(*first));
        } else {
            ids.push(IMAGE_PLACEHOLDER);
        }
        let skipped = usize::from(index > 0 && begins).min(chunk.len());
        ids.extend(chunk[skipped..].iter().map(|id| i64::from(*id)));
    }
    Ok(ids)
}

/// Where rows of a batch are filled up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaddingSide {
    /// After the text: training and teacher-forced runs.
    Right,
    /// Before the text: batched generation.
    Left,
}

/// Prompts of one length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenBatch {
    /// Ids per prompt, all rows of one length; padding is the tokenizer's padding id.
    pub ids: Vec<Vec<i64>>,
    /// False where an id equals the padding id. As in the reference, that includes an unknown token in the text when
    /// the padding id is the unknown id.
    pub attention: Vec<Vec<bool>>,
    /// Number of ids of each prompt before padding.
    pub lengths: Vec<usize>,
}

impl TokenBatch {
    /// Cuts every row to `limit` ids (specification 5.4; the reference takes `model_max_length - 255`).
    pub fn truncate(&mut self, limit: usize) {
        self.ids.iter_mut().for_each(|row| row.truncate(limit));
        self.attention.iter_mut().for_each(|row| row.truncate(limit));
        self.lengths.iter_mut().for_each(|length| *length = limit.min(*length));
    }
}

/// Ids of several prompts, filled up to the longest.
///
/// # Errors
/// As [`tokenize_image_prompt`]; a tokenizer without a padding token.
pub fn tokenize_and_pad<S: AsRef<str>>(
    tokenizer: &Tokenizer,
    prompts: &[S],
    side: PaddingSide,
) -> Result<TokenBatch, TextError> {
    let pad = i64::from(tokenizer.required_role(tokenizer.pad(), "pad_token")?);
    let rows = prompts.iter().map(|prompt| tokenize_image_prompt(tokenizer, prompt.as_ref()));
    let mut ids = rows.collect::<Result<Vec<_>, _>>()?;
    let lengths: Vec<usize> = ids.iter().map(Vec::len).collect();
    let longest = lengths.iter().copied().max().unwrap_or(0);
    for row in &mut ids {
        let missing = vec![pad; longest - row.len()];
        match side {
            PaddingSide::Right => row.extend(missing),
            PaddingSide::Left => drop(row.splice(..0, missing)),
        }
    }
    let attention = ids.iter().map(|row| row.iter().map(|id| *id != pad).collect()).collect();
    Ok(TokenBatch { ids, attention, lengths })
}

/// Training labels of right-padded prompts: the ids of the answers and their end symbols, [`IGNORED_LABEL`] elsewhere
/// (specification 5.4). Same shape as `batch.ids`.
///
/// # Errors
/// [`TextError::Labels`] if a round has not exactly one answer, or if the rounds together are not as long as the row
/// (a tokenizer with other whitespace rules); [`TextError::Template`] if the template does not end its answers.
pub fn answer_labels<S: AsRef<str>>(
    tokenizer: &Tokenizer,
    template: &ConversationTemplate,
    prompts: &[S],
    batch: &TokenBatch,
) -> Result<Vec<Vec<i64>>, TextError> {
    let rows = prompts.iter().zip(&batch.ids).zip(&batch.lengths);
    rows.map(|((prompt, ids), length)| label_row(tokenizer, template, prompt.as_ref(), ids, *length))
        .collect()
}

fn label_row(
    tokenizer: &Tokenizer,
    template: &ConversationTemplate,
    prompt: &str,
    ids: &[i64],
    length: usize,
) -> Result<Vec<i64>, TextError> {
    let failed = |reason| TextError::Labels { conversation: prompt.chars().take(80).collect(), reason };
    let end = template.sep2.as_deref().filter(|end| !end.is_empty()).ok_or_else(|| TextError::Template {
        template: template.name.clone(),
        reason: "it marks no end of an answer, so labels cannot be found",
    })?;
    let marker = template.answer_marker();
    let mut labels = vec![IGNORED_LABEL; ids.len()];
    // The begin symbol; that of each further round stands in for the end symbol of the one before.
    let mut position = 1;
    for round in prompt.split(end).take_while(|round| !round.is_empty()) {
        let parts: Vec<&str> = round.split(&marker).collect();
        let [instruction, _answer] = parts[..] else {
            return Err(failed(format!("a round has {} times {marker:?}, not once", parts.len() - 1)));
        };
        let round_length = tokenize_image_prompt(tokenizer, round)?.len();
        let instruction = format!("{instruction}{marker}");
        // Less the begin symbol and the lone blank at the end, which joins the answer's first word.
        let instruction_length = tokenize_image_prompt(tokenizer, &instruction)?.len().saturating_sub(2);
        let answer = (position + instruction_length).min(ids.len())..(position + round_length).min(ids.len());
        if !answer.is_empty() {
            labels[answer.clone()].copy_from_slice(&ids[answer]);
        }
        position += round_length;
    }
    let limit = tokenizer.max_length().unwrap_or(usize::MAX);
    if position < limit && position != length {
        return Err(failed(format!("its rounds have {position} tokens, the whole has {length}")));
    }
    Ok(labels)
}
