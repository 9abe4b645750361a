//! How questions are worded and answered.
//!
//! A frame is a sentence with places, `{np}`, which a question fills. Frames are the paraphrases of which a fifth is kept for
//! [`Split::Unseen`]; the places `{in}` and `{please}` vary each of them a little more.

use super::draw::Dice;
use super::split::{Split, stable_hash};
use std::sync::LazyLock;

mod frames;

pub(super) use frames::Frames;

/// Words for things, as the subject or object of a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NounPhrase {
    /// With its article: "the red mug".
    pub(super) text: String,
    /// Whether verbs are plural: "the scissors".
    pub(super) plural: bool,
}

impl NounPhrase {
    pub(super) fn new(text: impl Into<String>, plural: bool) -> NounPhrase {
        NounPhrase { text: text.into(), plural }
    }

    /// The value of a place that depends on the phrase alone.
    fn place(&self, name: &str) -> Option<&str> {
        Some(match (name, self.plural) {
            ("np", _) => &self.text,
            ("is", false) => "is",
            ("is", true) => "are",
            ("it", false) => "it",
            ("it", true) => "them",
            _ => return None,
        })
    }
}

/// What a frame calls for as an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reply {
    /// "The red mug: [SEG]."
    Name,
    /// "It is the red mug, [SEG]."
    Is,
    /// "Sure, the red mug: [SEG]."
    Sure,
}

/// A sentence to be filled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    text: &'static str,
    unseen: bool,
    reply: Reply,
}

/// A question in words.
#[derive(Clone, Debug)]
pub(super) struct Worded {
    pub(super) text: String,
    /// Whether it is a sentence rather than a noun phrase.
    pub(super) sentence: bool,
    /// Whether its frame is one of [`Split::Unseen`] alone.
    pub(super) unseen: bool,
    reply: Reply,
}

impl Frame {
    fn new(text: &'static str, unseen: bool) -> Frame {
        let starts = |words: &[&str]| words.iter().any(|word| text.starts_with(word));
        let reply = match text.as_bytes().last() {
            Some(b'?') if starts(&["can ", "could ", "would you mark", "would you show", "will "]) => {
                Reply::Sure
            }
            Some(b'?') if starts(&["where", "what would", "what could", "what can", "what should"]) => {
                Reply::Name
            }
            Some(b'?') => Reply::Is,
            Some(b'.') => Reply::Sure,
            _ => Reply::Name,
        };
        Frame { text, unseen, reply }
    }
}

/// Which wordings may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wordings {
    /// Those that every split has.
    Seen,
    /// Those of [`Split::Unseen`] only.
    Unseen,
    /// All.
    Any,
}

impl Wordings {
    fn allow(self, frame: &Frame) -> bool {
        match self {
            Wordings::Seen => !frame.unseen,
            Wordings::Unseen => frame.unseen,
            Wordings::Any => true,
        }
    }
}

/// Every frame of a pool; a fifth of each, by rank of a stable hash, is unseen.
static POOLS: LazyLock<Vec<Vec<Frame>>> = LazyLock::new(|| {
    Frames::ALL
        .iter()
        .map(|pool| {
            let mut hashes: Vec<u64> = pool.texts().iter().map(|text| stable_hash(text)).collect();
            hashes.sort_unstable();
            let bound = hashes[pool.texts().len() / 5];
            pool.texts().iter().map(|text| Frame::new(text, stable_hash(text) < bound)).collect()
        })
        .collect()
});

/// The frames of a pool.
pub(super) fn frames(pool: Frames) -> &'static [Frame] {
    &POOLS[pool as usize]
}

/// Fills a frame out of one of `pools`, each as likely as it is often named; `places` are looked up before those of `phrase`.
pub(super) fn word(
    dice: &mut Dice,
    pools: &[Frames],
    wordings: Wordings,
    phrase: &NounPhrase,
    places: &[(&str, &str)],
) -> Worded {
    let pool = dice.pick(pools);
    let mut frame = dice.pick(frames(pool));
    while !wordings.allow(&frame) {
        frame = dice.pick(frames(pool));
    }
    let mut text = fill(frame.text, |name| match name {
        // "Show the banana here" would ask for something else.
        "in" if frame.text.ends_with('?') && dice.chance(0.15) => " here".to_owned(),
        "in" => dice.pick(&["", "", "", " in this picture", " in the picture", " in this image"]).to_owned(),
        "please" => dice.pick(&["", "", "please "]).to_owned(),
        _ => places
            .iter()
            .find(|(place, _)| *place == name)
            .map(|(_, value)| *value)
            .or_else(|| phrase.place(name))
            .unwrap_or_default()
            .to_owned(),
    });
    let sentence = text.ends_with(['.', '?']);
    // People differ in capitals and leave out the last full stop.
    if dice.chance(if sentence { 0.9 } else { 0.15 }) {
        capitalise(&mut text);
    }
    if text.ends_with('.') && dice.chance(0.12) {
        text.pop();
    }
    Worded { text, sentence, unseen: frame.unseen, reply: frame.reply }
}

/// The answer to a question: what is named, and where it is.
pub(super) fn answer(worded: &Worded, named: &NounPhrase) -> String {
    let mut text = match (worded.reply, named.plural) {
        (Reply::Name, _) => format!("{}: [SEG].", named.text),
        (Reply::Is, false) => format!("It is {}, [SEG].", named.text),
        (Reply::Is, true) => format!("They are {}, [SEG].", named.text),
        (Reply::Sure, _) => format!("Sure, {}: [SEG].", named.text),
    };
    capitalise(&mut text);
    text
}

/// Makes the first letter a capital; all our words are ASCII.
pub(super) fn capitalise(text: &mut str) {
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
}

/// "a mug", "an apple", "scissors".
pub(super) fn with_article(noun: &str, plural: bool) -> String {
    match noun.as_bytes().first() {
        _ if plural => noun.to_owned(),
        Some(b'a' | b'e' | b'i' | b'o') => format!("an {noun}"),
        Some(b'u') if noun.starts_with("um") => format!("an {noun}"),
        _ => format!("a {noun}"),
    }
}

/// Names in a row: "the cat, the dog and the bird".
pub(super) fn enumerate(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// Replaces `{name}` by what `value` gives for it.
fn fill(frame: &str, mut value: impl FnMut(&str) -> String) -> String {
    let mut text = String::with_capacity(frame.len() + 40);
    let mut rest = frame;
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        let (name, after) = after.split_once('}').unwrap_or((after, ""));
        text.push_str(&value(name));
        rest = after;
    }
    text.push_str(rest);
    text
}

/// What of the wordings a split may use, for a question that shows an unseen pair or not.
pub(super) fn wordings(split: Split, unseen_pair: bool) -> Wordings {
    match (split, unseen_pair) {
        (Split::Unseen, true) => Wordings::Any,
        (Split::Unseen, false) => Wordings::Unseen,
        _ => Wordings::Seen,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_fifth_of_each_pool_is_unseen() {
        for &pool in Frames::ALL {
            let frames = frames(pool);
            let distinct: HashSet<&str> = frames.iter().map(|frame| frame.text).collect();
            assert_eq!(distinct.len(), frames.len(), "{pool:?}");
            assert!(frames.len() >= 20, "{pool:?} has {}", frames.len());
            assert_eq!(frames.iter().filter(|frame| frame.unseen).count(), frames.len() / 5, "{pool:?}");
        }
    }

    #[test]
    fn unseen_frames_are_made_of_seen_words() {
        let words = |unseen: bool| -> HashSet<String> {
            let all =
                Frames::ALL.iter().flat_map(|&pool| frames(pool)).filter(|frame| frame.unseen == unseen);
            let texts = all.map(|frame| fill(frame.text, |name| format!(" {{{name}}} ")));
            texts
                .flat_map(|text| {
                    text.split([' ', ',', '.', '?', ':', ';']).map(str::to_lowercase).collect::<Vec<_>>()
                })
                .collect()
        };
        let seen = words(false);
        let strange: Vec<String> = words(true).into_iter().filter(|word| !seen.contains(word)).collect();
        assert!(strange.is_empty(), "only in unseen frames: {strange:?}");
    }

    #[test]
    fn every_place_is_known() {
        let places = "np is it in please rel noun nouns sup use that owner which";
        for frame in Frames::ALL.iter().flat_map(|&pool| frames(pool)) {
            fill(frame.text, |name| {
                assert!(places.split(' ').any(|place| place == name), "{name} in {}", frame.text);
                String::new()
            });
        }
    }

    #[test]
    fn articles_and_rows_of_names() {
        assert_eq!(with_article("umbrella", false), "an umbrella");
        assert_eq!(with_article("axe", false), "an axe");
        assert_eq!(with_article("mug", false), "a mug");
        assert_eq!(with_article("scissors", true), "scissors");
        let names = ["the cat", "the dog", "the bird"].map(str::to_owned);
        assert_eq!(enumerate(&names), "the cat, the dog and the bird");
        assert_eq!(enumerate(&names[..1]), "the cat");
    }
}
