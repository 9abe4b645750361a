//! Trains the tokenizer of `maskwise-mini` on what is said in the Tabletop world.
//!
//! ```sh
//! cargo run --release -p maskwise-train --example mini_tokenizer -- 893 configs/mini/tokenizer.model
//! ```

use maskwise_data::tabletop::{SceneConfig, Split, World};
use maskwise_data::text::ConversationTemplate;
use maskwise_data::text::sentencepiece::train_bpe;

/// Pictures whose questions and answers are read.
const PICTURES: u64 = 6000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [pieces, target] = arguments.as_slice() else {
        return Err("usage: mini_tokenizer PIECES TARGET".into());
    };
    // The words are those of the training split; pictures are drawn small, since only the words count.
    let world = World::new(1, Split::Train, SceneConfig { size: 128, ..SceneConfig::default() })?;
    let mut sentences = vec![ConversationTemplate::by_name("vicuna_v1")?.system; 20];
    sentences.extend(["USER: ", "ASSISTANT: "].map(str::to_owned));
    for picture in 0..PICTURES {
        for question in world.sample(picture)?.questions {
            // `[SEG]` is a token of its own.
            sentences.extend(question.answer.split("[SEG]").map(str::to_owned));
            sentences.push(question.text);
        }
    }
    let model = train_bpe(sentences, pieces.parse()?)?;
    std::fs::write(target, model)?;
    Ok(())
}
