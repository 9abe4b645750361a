//! How long a picture of the Tabletop world takes, on one thread: `cargo run --release -p maskwise-data --example tabletop_speed`.

use maskwise_data::tabletop::{SceneConfig, SceneError, Split, World};
use std::time::Instant;

#[allow(clippy::print_stdout)]
fn main() -> Result<(), SceneError> {
    const PICTURES: u64 = 200;
    let world = World::new(1, Split::Train, SceneConfig::default())?;
    let mut rounds: Vec<f64> = Vec::new();
    for round in 0..5 {
        let begin = Instant::now();
        for index in 0..PICTURES {
            world.sample(round * PICTURES + index)?;
        }
        rounds.push(begin.elapsed().as_secs_f64() * 1e3 / PICTURES as f64);
    }
    rounds.sort_by(f64::total_cmp);
    println!("{:.2} ms a picture with its questions (median of 5 rounds of {PICTURES})", rounds[2]);
    Ok(())
}
