//! The Hugging Face hub: environment, local cache and download.
//!
//! [`Environment`] says where things are, [`Cache`] finds what is already there, and with the feature `hub`
//! (on by default) [`pull`] fetches the rest. Nothing here starts an async runtime.
//!
//! ```no_run
//! use maskwise::hub::{Environment, PullOptions, RepoReference, pull};
//!
//! let environment = Environment::from_env();
//! let reference: RepoReference = "openai/clip-vit-large-patch14-336".parse()?;
//! let snapshot = pull(&environment, &reference, &PullOptions::default(), &mut |_| {})?;
//! println!("{}", snapshot.path.display());
//! # Ok::<(), maskwise::hub::HubError>(())
//! ```
//!
//! Sources: "Hub Local Cache" and "Environment variables" in the public documentation of the Hugging Face hub.

mod cache;
mod environment;
mod error;
mod proxy;
mod repo;
mod selection;

#[cfg(feature = "hub")]
mod blob;
#[cfg(feature = "hub")]
mod client;
#[cfg(feature = "hub")]
mod download;
#[cfg(feature = "hub")]
mod retry;
#[cfg(feature = "hub")]
mod store;
#[cfg(feature = "hub")]
mod wanted;

pub use cache::Cache;
pub use environment::{Environment, Token};
pub use error::HubError;
pub use repo::{RepoId, RepoReference};
pub use selection::{missing_files, vision_tower_of};

#[cfg(feature = "hub")]
pub use download::{Progress, PullOptions, Snapshot, pull};
