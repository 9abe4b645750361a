//! What is embedded is what lies in `model/`, and small enough to be published.

#![allow(clippy::unwrap_used)]

use maskwise_mini::{CARD, FILES, NAME, VERSION};
use std::path::Path;

/// The paths of all files below `folder`, from `root`.
fn files_below(root: &Path, folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(root, &path, found);
        } else {
            found.push(path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/"));
        }
    }
}

#[test]
fn every_file_of_the_folder_is_embedded_under_its_path() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("model");
    let mut there = Vec::new();
    files_below(&folder, &folder, &mut there);
    there.sort();
    let embedded: Vec<&str> = FILES.iter().map(|(path, _)| *path).collect();
    assert_eq!(embedded, there);
    for (path, bytes) in FILES {
        assert!(std::fs::read(folder.join(path)).unwrap() == *bytes, "{path} holds another file's bytes");
    }
}

#[test]
fn the_files_fit_into_a_published_package() {
    // Packages may have 10 MB; 8 leave room for the rest.
    let bytes: usize = FILES.iter().map(|(_, bytes)| bytes.len()).sum();
    assert!(bytes <= 8_000_000, "{bytes} bytes");
}

#[test]
fn the_card_is_of_this_model() {
    let title = CARD.lines().next().unwrap();
    assert!(title.contains(NAME) && title.contains(&format!("version {VERSION}")), "{title}");
}
