//! The Tabletop world: procedural pictures of everyday things with exact masks, and questions about them.
//!
//! [`Scene`] is a picture with everything that is known about it; questions, splits and files are made from scenes.
//! [`Kind`] says what things there are. The same generator state gives the same picture on any machine: no
//! function of the platform's mathematical library is used.

mod catalog;
mod colour;
mod draw;
mod knowledge;
mod layout;
mod pattern;
mod question;
mod scene;
mod sheet;
mod split;
mod things;
mod wording;
mod world;

pub use catalog::{Family, Kind, Part};
pub use colour::Colour;
pub use layout::{Layout, LayoutError, write_layout};
pub use pattern::Pattern;
pub use question::{Difficulty, Falsehood, Question, QuestionFamily, QuestionWeights, Target};
pub use scene::{Scene, SceneConfig, SceneError, Thing, ThingPart};
pub use sheet::contact_sheet;
pub use split::{Split, is_unseen_pair};
pub use world::{FirstPictures, Sample, World};
