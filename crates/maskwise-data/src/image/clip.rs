//! The preprocessor of CLIP towers (Hugging Face `CLIPImageProcessor`, transformers 4.31).
//!
//! Steps, spec 3: resize so that the shortest edge has the wanted length (Pillow
//! bicubic on 8 bits, long edge truncated to an integer), crop the centre, multiply by the rescale factor in
//! f64 and round to f32, subtract the mean and divide by the standard deviation in f32, order as CHW.

use maskwise_kernels::resize::{Filter, ImageView, Window, resize_window};
use serde::{Deserialize, Serialize};

use super::{PixelValues, PreprocessError, RgbImage, write_normalised};

/// Largest edge accepted from a configuration; anything above is a damaged file.
const MAX_EDGE: usize = 8192;

/// Turns an RGB image into the pixel values of a CLIP tower. Reads and writes `preprocessor_config.json`.
///
/// The defaults are those of `openai/clip-vit-large-patch14` (224 px).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Config", into = "Config")]
pub struct ClipPreprocessor {
    /// Length of the shorter side after resizing; `None` if the configuration switches resizing off.
    pub shortest_edge: Option<usize>,
    /// Height and width of the centre crop; `None` if the configuration switches cropping off.
    pub crop_size: Option<(usize, usize)>,
    /// Filter of the resize: bicubic in every published tower.
    pub filter: Filter,
    /// Factor on the samples before normalising, 1/255; 1 if the configuration switches rescaling off.
    pub rescale_factor: f64,
    /// Mean per channel (R, G, B) of the rescaled values.
    pub mean: [f64; 3],
    /// Standard deviation per channel (R, G, B) of the rescaled values.
    pub std: [f64; 3],
}

impl Default for ClipPreprocessor {
    fn default() -> Self {
        ClipPreprocessor {
            shortest_edge: Some(224),
            crop_size: Some((224, 224)),
            filter: Filter::Bicubic,
            rescale_factor: 1.0 / 255.0,
            mean: [0.48145466, 0.4578275, 0.40821073],
            std: [0.26862954, 0.26130258, 0.27577711],
        }
    }
}

impl ClipPreprocessor {
    /// The published CLIP preprocessing for a tower of `edge` × `edge` pixels (224, 336).
    pub fn square(edge: usize) -> Self {
        ClipPreprocessor { shortest_edge: Some(edge), crop_size: Some((edge, edge)), ..Default::default() }
    }

    /// Reads the text of a `preprocessor_config.json`.
    ///
    /// # Errors
    /// [`PreprocessError::Config`] if it is not JSON, or a value is missing its form, zero or absurd.
    pub fn from_json(text: &str) -> Result<Self, PreprocessError> {
        serde_json::from_str(text).map_err(|error| PreprocessError::Config(error.to_string()))
    }

    /// Height and width after the resize and before the crop, for an image of `height` × `width`.
    ///
    /// Images of 1 or 3 rows are treated like all others; the reference mistakes their rows for channels.
    pub fn resized_size(&self, height: usize, width: usize) -> (usize, usize) {
        let Some(edge) = self.shortest_edge else { return (height, width) };
        let (short, long) = if width <= height { (width, height) } else { (height, width) };
        // The product first, then the division in f64, then truncation, as in Python.
        let long = ((edge * long) as f64 / short as f64) as usize;
        if width <= height { (long, edge) } else { (edge, long) }
    }

    /// The crop of the resized image before normalising: interleaved RGB, with its height and width.
    ///
    /// Where the crop is larger than the resized image, the rest is black (zero), as in the reference.
    ///
    /// # Errors
    /// [`PreprocessError::Empty`] if the image has no pixel.
    pub fn resize_and_crop(&self, image: &RgbImage) -> Result<(Vec<u8>, usize, usize), PreprocessError> {
        let (width, height) = (image.width() as usize, image.height() as usize);
        if width == 0 || height == 0 {
            return Err(PreprocessError::Empty { width: image.width(), height: image.height() });
        }
        let (resized_height, resized_width) = self.resized_size(height, width);
        let (crop_height, crop_width) = self.crop_size.unwrap_or((resized_height, resized_width));
        let rows = Overlap::centred(resized_height, crop_height);
        let columns = Overlap::centred(resized_width, crop_width);

        let source = ImageView { data: image.as_raw(), width, height, channels: 3 };
        let window =
            Window { left: columns.from, top: rows.from, width: columns.length, height: rows.length };
        let visible = resize_window(source, resized_width, resized_height, window, self.filter)?;
        if window.width == crop_width && window.height == crop_height {
            return Ok((visible, crop_height, crop_width));
        }
        let mut canvas = vec![0u8; crop_height * crop_width * 3];
        for (index, row) in visible.chunks_exact(window.width * 3).enumerate() {
            let begin = ((rows.to + index) * crop_width + columns.to) * 3;
            canvas[begin..begin + row.len()].copy_from_slice(row);
        }
        Ok((canvas, crop_height, crop_width))
    }

    /// The pixel values of `image`, `3 × crop height × crop width`.
    ///
    /// # Errors
    /// [`PreprocessError::Empty`] if the image has no pixel.
    pub fn preprocess(&self, image: &RgbImage) -> Result<PixelValues, PreprocessError> {
        let (samples, height, width) = self.resize_and_crop(image)?;
        let mut pixels = PixelValues { data: vec![0.0; 3 * height * width], channels: 3, height, width };
        let mean = self.mean.map(|value| value as f32);
        let std = self.std.map(|value| value as f32);
        let factor = self.rescale_factor;
        write_normalised(&samples, width, &mut pixels, mean, std, |sample| {
            (f64::from(sample) * factor) as f32
        });
        Ok(pixels)
    }
}

/// Where a centred crop and the image lie over each other along one axis.
struct Overlap {
    /// First visible sample of the image.
    from: usize,
    /// Its place in the crop.
    to: usize,
    /// Number of visible samples.
    length: usize,
}

impl Overlap {
    fn centred(image: usize, crop: usize) -> Overlap {
        if crop <= image {
            Overlap { from: (image - crop) / 2, to: 0, length: crop }
        } else {
            Overlap { from: 0, to: (crop - image).div_ceil(2), length: image }
        }
    }
}

/// `preprocessor_config.json` as it is published: sizes are a number or an object.
#[derive(Clone, Serialize, Deserialize)]
struct Config {
    #[serde(default = "yes")]
    do_resize: bool,
    #[serde(default = "yes")]
    do_center_crop: bool,
    #[serde(default = "yes")]
    do_rescale: bool,
    #[serde(default = "yes")]
    do_normalize: bool,
    #[serde(default = "default_size")]
    size: Size,
    #[serde(default = "default_size")]
    crop_size: Size,
    #[serde(default = "bicubic")]
    resample: u8,
    #[serde(default = "default_factor")]
    rescale_factor: f64,
    #[serde(default = "default_mean")]
    image_mean: [f64; 3],
    #[serde(default = "default_std")]
    image_std: [f64; 3],
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Size {
    Edge(usize),
    Shortest { shortest_edge: usize },
    Exact { height: usize, width: usize },
}

fn yes() -> bool {
    true
}

fn bicubic() -> u8 {
    3
}

fn default_size() -> Size {
    Size::Edge(224)
}

fn default_factor() -> f64 {
    ClipPreprocessor::default().rescale_factor
}

fn default_mean() -> [f64; 3] {
    ClipPreprocessor::default().mean
}

fn default_std() -> [f64; 3] {
    ClipPreprocessor::default().std
}

impl TryFrom<Config> for ClipPreprocessor {
    type Error = String;

    fn try_from(config: Config) -> Result<Self, String> {
        let edge = match config.size {
            Size::Edge(edge) | Size::Shortest { shortest_edge: edge } => edge,
            Size::Exact { height, width } => {
                return Err(format!(
                    "size is {{height: {height}, width: {width}}}; a CLIP tower needs a number or {{shortest_edge}}"
                ));
            }
        };
        let crop = match config.crop_size {
            Size::Edge(edge) | Size::Shortest { shortest_edge: edge } => (edge, edge),
            Size::Exact { height, width } => (height, width),
        };
        for (name, value) in [("size", edge), ("crop_size", crop.0), ("crop_size", crop.1)] {
            if !(1..=MAX_EDGE).contains(&value) {
                return Err(format!("{name} is {value}; it must be between 1 and {MAX_EDGE}"));
            }
        }
        let filter = match config.resample {
            2 => Filter::Bilinear,
            3 => Filter::Bicubic,
            other => {
                return Err(format!("resample is {other}; only 2 (bilinear) and 3 (bicubic) are supported"));
            }
        };
        if !config.image_std.iter().all(|&std| std.is_finite() && std as f32 != 0.0) {
            return Err(format!(
                "image_std is {:?}; every value must be finite and not zero",
                config.image_std
            ));
        }
        Ok(ClipPreprocessor {
            shortest_edge: config.do_resize.then_some(edge),
            crop_size: config.do_center_crop.then_some(crop),
            filter,
            rescale_factor: if config.do_rescale { config.rescale_factor } else { 1.0 },
            mean: if config.do_normalize { config.image_mean } else { [0.0; 3] },
            std: if config.do_normalize { config.image_std } else { [1.0; 3] },
        })
    }
}

impl From<ClipPreprocessor> for Config {
    fn from(value: ClipPreprocessor) -> Config {
        let crop = value.crop_size.unwrap_or((224, 224));
        Config {
            do_resize: value.shortest_edge.is_some(),
            do_center_crop: value.crop_size.is_some(),
            do_rescale: true,
            do_normalize: true,
            size: Size::Shortest { shortest_edge: value.shortest_edge.unwrap_or(224) },
            crop_size: Size::Exact { height: crop.0, width: crop.1 },
            resample: if value.filter == Filter::Bilinear { 2 } else { 3 },
            rescale_factor: value.rescale_factor,
            image_mean: value.mean,
            image_std: value.std,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_the_size() {
        let number = ClipPreprocessor::from_json(r#"{"size": 336, "crop_size": 336}"#).unwrap();
        let object = ClipPreprocessor::from_json(
            r#"{"size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}, "resample": 3}"#,
        )
        .unwrap();
        assert_eq!(number, object);
        assert_eq!(number, ClipPreprocessor::square(336));
        let text = serde_json::to_string(&number).unwrap();
        assert_eq!(ClipPreprocessor::from_json(&text).unwrap(), number);
    }

    #[test]
    fn unusable_configurations_are_refused() {
        for (text, part) in [
            ("{", "EOF"),
            (r#"{"size": 0}"#, "size is 0"),
            (r#"{"size": {"height": 3, "width": 4}}"#, "shortest_edge"),
            (r#"{"crop_size": 100000}"#, "crop_size is 100000"),
            (r#"{"resample": 0}"#, "resample is 0"),
            (r#"{"image_std": [1, 0, 1]}"#, "image_std"),
            (r#"{"image_mean": [1, 0]}"#, "length"),
        ] {
            let error = ClipPreprocessor::from_json(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_crop_larger_than_the_image_is_padded_with_black() {
        let json = r#"{"size": 2, "crop_size": {"height": 5, "width": 4}}"#;
        let preprocessor = ClipPreprocessor::from_json(json).unwrap();
        let image = RgbImage::from_pixel(3, 2, ::image::Rgb([200, 100, 50]));
        let (crop, height, width) = preprocessor.resize_and_crop(&image).unwrap();
        assert_eq!((height, width), (5, 4));
        let rows: Vec<String> = (0..5)
            .map(|y| (0..4).map(|x| if crop[(y * 4 + x) * 3] == 200 { '#' } else { '.' }).collect())
            .collect();
        // 3 missing rows: 2 above (rounded up), 1 below; 1 missing column: left.
        assert_eq!(rows, ["....", "....", ".###", ".###", "...."]);
        let pixels = preprocessor.preprocess(&image).unwrap();
        assert_eq!(pixels.data.len(), 3 * 5 * 4);
        assert!((pixels.data[0] - (0.0 - 0.48145466f32) / 0.26862954).abs() < 1e-6);
    }

    #[test]
    fn tiny_and_elongated_images_are_defined() {
        let preprocessor = ClipPreprocessor::square(224);
        let dot = preprocessor.preprocess(&RgbImage::from_pixel(1, 1, ::image::Rgb([9, 9, 9]))).unwrap();
        assert_eq!((dot.height, dot.width), (224, 224));
        // Resized in full this would be 224 x 22,400,000 pixels; only the crop is computed.
        let line = preprocessor.preprocess(&RgbImage::new(100_000, 1)).unwrap();
        assert_eq!((line.height, line.width), (224, 224));
        let empty = preprocessor.preprocess(&RgbImage::new(0, 3)).unwrap_err();
        assert!(matches!(empty, PreprocessError::Empty { .. }));
    }
}
