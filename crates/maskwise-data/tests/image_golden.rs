//! Images against recorded values: our own small goldens, and the reference tensors named by
//! `MASKWISE_GOLDENS`, driven by their manifests.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // The lints exempt test functions, not their helpers.

use std::path::{Path, PathBuf};

use maskwise_data::image::clip::ClipPreprocessor;
use maskwise_data::image::sam::{SamPreprocessor, resize_longest_side_size};
use maskwise_data::image::{DecodeOptions, RgbImage, decode_bytes, decode_path};
use safetensors::SafeTensors;
use serde_json::Value;
use sha2::{Digest, Sha256};

fn bytes_of(hex: &Value) -> Vec<u8> {
    let hex = hex.as_str().unwrap();
    (0..hex.len() / 2).map(|byte| u8::from_str_radix(&hex[2 * byte..2 * byte + 2], 16).unwrap()).collect()
}

/// Largest difference of two equally sized images, in levels.
fn difference(a: &RgbImage, b: &RgbImage) -> u8 {
    assert_eq!(a.dimensions(), b.dimensions());
    a.as_raw().iter().zip(b.as_raw()).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0)
}

// Made with OpenCV 5.0.0 (imread, IMREAD_COLOR) and Pillow 10.4.0, see tests/golden/images/make_goldens.py.
#[test]
fn colours_and_orientations_are_those_of_opencv() {
    let golden: Value =
        serde_json::from_str(include_str!("../../../tests/golden/images/colours.json")).unwrap();
    for (name, case) in golden.as_object().unwrap() {
        let image = decode_bytes(&bytes_of(&case["file"]), &DecodeOptions::default())
            .or_else(|_| {
                // TGA is known by its extension.
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join(name);
                std::fs::write(&path, bytes_of(&case["file"])).unwrap();
                decode_path(&path, &DecodeOptions::default())
            })
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let (width, height) = (case["width"].as_u64().unwrap(), case["height"].as_u64().unwrap());
        let expected = RgbImage::from_raw(width as u32, height as u32, bytes_of(&case["rgb"])).unwrap();
        let limit = if name.ends_with(".jpg") { 4 } else { 0 };
        let found = difference(&image, &expected);
        assert!(found <= limit, "{name}: differs by {found} levels");
    }
}

fn goldens() -> Option<PathBuf> {
    let folder = std::env::var_os("MASKWISE_GOLDENS").map(PathBuf::from);
    if folder.is_none() {
        println!("skipped: MASKWISE_GOLDENS is not set");
    }
    folder
}

fn manifest(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn load(path: &Path) -> RgbImage {
    decode_path(path, &DecodeOptions::default()).unwrap()
}

/// Compares `t[o0::s0, o1::s1, o2::s2]` of the full array with the recorded sample.
fn compare_strided<T: Copy + PartialEq + std::fmt::Debug>(full: &[T], entry: &Value, recorded: &[T]) {
    let numbers = |key: &str| -> Option<Vec<usize>> {
        Some(entry.get(key)?.as_array()?.iter().map(|value| value.as_u64().unwrap() as usize).collect())
    };
    let shape = numbers("shape").unwrap();
    let full_shape = numbers("full_shape").unwrap_or_else(|| shape.clone());
    let stride = numbers("stride").unwrap_or_else(|| vec![1; 3]);
    let offset = numbers("offset").unwrap_or_else(|| vec![0; 3]);
    assert_eq!(full.len(), full_shape.iter().product::<usize>(), "{}", entry["name"]);
    let mut recorded = recorded.iter();
    for i in 0..shape[0] {
        for j in 0..shape[1] {
            for k in 0..shape[2] {
                let position = [i, j, k];
                let index = (0..3).fold(0, |index, axis| {
                    index * full_shape[axis] + offset[axis] + position[axis] * stride[axis]
                });
                assert_eq!(full[index], *recorded.next().unwrap(), "{} at {position:?}", entry["name"]);
            }
        }
    }
    assert!(recorded.next().is_none());
}

fn floats(tensors: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let view = tensors.tensor(name).unwrap();
    view.data().chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
}

/// The recorded input image `name`.
fn image_path(folder: &Path, name: &str) -> PathBuf {
    folder.join("images").join(format!("{name}.png"))
}

/// Checks every `…/clip…_pixels` and `…/sam_…` entry of a system's manifest against our preprocessors.
fn check_system(folder: &Path, system: &str, clip: &ClipPreprocessor) -> usize {
    let manifest = manifest(&folder.join(format!("{system}.manifest.json")));
    let data = std::fs::read(folder.join(format!("{system}.safetensors"))).unwrap();
    let tensors = SafeTensors::deserialize(&data).unwrap();
    let mut checked = 0;
    for entry in manifest["tensors"].as_array().unwrap() {
        let name = entry["name"].as_str().unwrap();
        let Some((image, kind)) = name.split_once('/') else { continue };
        let is_clip = kind.starts_with("clip") && kind.ends_with("_pixels");
        if !is_clip && !matches!(kind, "sam_resized_u8" | "sam_pixels") {
            continue;
        }
        let path = image_path(folder, image);
        if !path.is_file() {
            continue;
        }
        let image = load(&path);
        let sam = SamPreprocessor::default();
        match kind {
            "sam_resized_u8" => {
                let recorded = tensors.tensor(name).unwrap();
                compare_strided(sam.resize(&image).unwrap().as_raw(), entry, recorded.data());
            }
            "sam_pixels" => {
                let (pixels, _) = sam.preprocess(&image).unwrap();
                compare_strided(&pixels.data, entry, &floats(&tensors, name));
            }
            _ => {
                let pixels = clip.preprocess(&image).unwrap();
                compare_strided(&pixels.data, entry, &floats(&tensors, name));
            }
        }
        checked += 1;
    }
    for (key, value) in manifest["values"].as_object().unwrap() {
        let Some(image) = key.strip_suffix("/sam_resized_sha256") else { continue };
        let resized = SamPreprocessor::default().resize(&load(&image_path(folder, image))).unwrap();
        let shape = &value["value"]["shape"];
        assert_eq!(*shape, serde_json::json!([resized.height(), resized.width(), 3]), "{key}");
        let digest: String =
            Sha256::digest(resized.as_raw()).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, value["value"]["sha256"].as_str().unwrap(), "{key}");
        checked += 1;
    }
    checked
}

/// The CLIP preprocessor of the tower that a checkpoint's config names.
fn clip_of(folder: &Path, config: &str) -> ClipPreprocessor {
    let config = manifest(&folder.join(config));
    let tower = config["mm_vision_tower"].as_str().or_else(|| config["vision_tower"].as_str()).unwrap();
    let text = std::fs::read_to_string(folder.join(tower).join("preprocessor_config.json")).unwrap();
    ClipPreprocessor::from_json(&text).unwrap()
}

#[test]
fn pixels_of_read_and_lisa_are_equal() {
    let Some(folder) = goldens() else { return };
    let read = check_system(&folder, "read", &clip_of(&folder, "checkpoint/config.json"));
    assert!(read >= 4, "only {read} recorded pixel tensors were found for READ");
    let lisa = check_system(&folder, "lisa", &clip_of(&folder, "lisa/config.json"));
    assert!(lisa >= 1, "no recorded pixel tensor was found for LISA");
}

#[test]
fn unit_goldens_of_preprocessing_are_equal() {
    let Some(folder) = goldens() else { return };
    let manifest = manifest(&folder.join("units/preproc.manifest.json"));
    let data = std::fs::read(folder.join("units/preproc.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&data).unwrap();
    let mut checked = 0;
    for entry in manifest["tensors"].as_array().unwrap() {
        let name = entry["name"].as_str().unwrap();
        let (index, kind) = name.split_once('/').unwrap();
        let source = tensors.tensor(&format!("{index}/image")).unwrap();
        let [height, width] = [source.shape()[0], source.shape()[1]];
        let image = RgbImage::from_raw(width as u32, height as u32, source.data().to_vec()).unwrap();
        if let Some(edge) = kind.strip_prefix("clip") {
            let pixels = ClipPreprocessor::square(edge.parse().unwrap()).preprocess(&image).unwrap();
            compare_strided(&pixels.data, entry, &floats(&tensors, name));
        } else if let Some(edge) = kind.strip_prefix("sam") {
            let edge: usize = edge.trim_end_matches("_u8").parse().unwrap();
            let resized = SamPreprocessor::new(edge).resize(&image).unwrap();
            compare_strided(resized.as_raw(), entry, tensors.tensor(name).unwrap().data());
        } else {
            continue;
        }
        checked += 1;
    }
    assert!(checked >= 2, "only {checked} entries were checked");

    let pairs = |value: &Value| -> Vec<[(usize, usize); 2]> {
        let side = |value: &Value| value.as_u64().unwrap() as usize;
        let size = |value: &Value| (side(&value[0]), side(&value[1]));
        value["value"].as_array().unwrap().iter().map(|pair| [size(&pair[0]), size(&pair[1])]).collect()
    };
    for (key, value) in manifest["values"].as_object().unwrap() {
        if let Some(long) = key.strip_prefix("get_preprocess_shape_") {
            for [(height, width), expected] in pairs(value) {
                assert_eq!(resize_longest_side_size(height, width, long.parse().unwrap()), expected, "{key}");
            }
        } else if let Some(edge) = key.strip_prefix("clip_resize_") {
            let clip = ClipPreprocessor::square(edge.parse().unwrap());
            for [(height, width), expected] in pairs(value) {
                // The reference takes an array of 1 or 3 rows for one of 1 or 3 channels and resizes
                // something else; we read every image the same way.
                if matches!(height, 1 | 3) {
                    continue;
                }
                assert_eq!(clip.resized_size(height, width), expected, "{key} of {height}x{width}");
            }
        }
    }
}

#[test]
fn jpeg_is_within_four_levels_of_libjpeg_turbo() {
    let Some(folder) = goldens() else { return };
    let mut checked = 0;
    for entry in std::fs::read_dir(folder.join("images")).unwrap() {
        let jpeg = entry.unwrap().path();
        let png = jpeg.with_extension("png");
        if jpeg.extension().is_none_or(|extension| extension != "jpg") || !png.is_file() {
            continue;
        }
        let found = difference(&load(&jpeg), &load(&png));
        println!("{}: at most {found} levels", jpeg.display());
        assert!(found <= 4, "{}: differs by {found} levels", jpeg.display());
        checked += 1;
    }
    assert!(checked > 0, "no JPEG with a PNG of its decode was found");
}
