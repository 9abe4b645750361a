//! Reasoning segmentation: an image and a question in, an answer in words and the mask of what is meant out, or an
//! honest "it isn't there".
//!
//! ```no_run
//! use maskwise::{ModelSource, Segmenter, SegmenterOptions};
//!
//! let source = ModelSource::default(); // the embedded model; or "path/to/model".parse()?, or "ORG/NAME".parse()?
//! let segmenter = Segmenter::load(&source, SegmenterOptions::default())?;
//! let image = maskwise::image::decode_path("deer.jpg".as_ref(), &Default::default())?;
//! let mut scene = segmenter.look(&image)?; // encodes once
//! let answer = scene.ask("What part of the deer is used for defence?")?;
//! println!("{}: {:?}", answer.text, answer.outcome);
//! maskwise::mask::png::write_rgb("out.png".as_ref(), &answer.draw_on(&image)?)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | feature | on | effect |
//! |---|---|---|
//! | `embedded-model` | yes | links the small model that [`ModelSource::default`] names |
//! | `hub` | yes | downloads from the Hugging Face hub |
//! | `cuda`, `metal` | no | candle's backends; each needs its toolkit at build time |

mod answer;
pub mod bench;
pub mod convert;
mod device;
pub mod doctor;
mod embedded;
mod error;
pub mod hub;
pub mod inspect;
mod record;
mod scene;
mod segmenter;
mod source;

pub use answer::{Answer, AnswerMask, DecoderToken, ModelIdentity, Outcome, Scores, Timings};
pub use device::{DeviceChoice, DtypeChoice, NumericMode, check_instructions};
pub use embedded::EmbeddedModel;
pub use error::{Error, Result};
pub use record::{MaskRecord, Record};
pub use scene::{AskMode, AskOptions, Event, QUESTIONS_TOGETHER, Scene, Stage, THREADS_FOR_BOTH, Turn};
pub use segmenter::{PointsChoice, Segmenter, SegmenterOptions};
pub use source::ModelSource;

pub use maskwise_data as data;
pub use maskwise_data::text::{ConversationTemplate, prompt::UserTextPolicy};
pub use maskwise_data::{atomic, draw, image, mask, tabletop};
pub use maskwise_models::ModelError;
pub use maskwise_models::heads::similarity_points::{Sampling, SimilarityPointsConfig, Thresholds};
pub use maskwise_models::systems::read::{
    MaskPrompting, ModelPlaces, PartQuantization, StopReason, SystemConfig,
};
pub use maskwise_nn::weights::Quantization;
