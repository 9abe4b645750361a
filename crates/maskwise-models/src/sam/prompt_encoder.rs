use crate::error::Result;
use candle_core::{DType, Device, Tensor};
use maskwise_nn::layers::{Conv2d, LayerNorm2d};
use maskwise_nn::ops;
use maskwise_nn::weights::Weights;

type TensorResult = candle_core::Result<Tensor>;

/// Points in the frame of the padded square, as SAM takes them.
#[derive(Debug, Clone)]
pub struct PointPrompt {
    /// `[batch, points, 2]` f32, (x, y) in pixels of the square input.
    pub coordinates: Tensor,
    /// For each row and point: 1 positive, 0 negative, −1 "not a point".
    pub labels: Vec<Vec<i32>>,
}

/// What the mask is asked for; any combination, at least one.
#[derive(Debug, Clone, Default)]
pub struct Prompts {
    /// Points; a padding point is appended where there are no boxes.
    pub points: Option<PointPrompt>,
    /// Boxes `[batch, 4]` f32: left, top, right, bottom in pixels of the square input.
    pub boxes: Option<Tensor>,
    /// Mask logits `[batch, 1, 4·grid, 4·grid]`.
    pub masks: Option<Tensor>,
    /// Text embeddings `[batch, tokens, dim]`.
    pub text: Option<Tensor>,
}

/// Prompts as the mask decoder takes them.
#[derive(Debug, Clone)]
pub struct PromptEmbeddings {
    /// `[batch, tokens, dim]`, in the order points, padding point, box corners, text.
    pub sparse: Tensor,
    /// `[batch, dim, grid, grid]`, or `[1, dim, 1, 1]` where no mask was given.
    pub dense: Tensor,
}

/// SAM's prompt encoder, with LISA's text embeddings as further tokens.
#[derive(Debug, Clone)]
pub struct PromptEncoder {
    gaussian_matrix: Tensor,
    point_embeddings: [Tensor; 4],
    not_a_point_embed: Tensor,
    no_mask_embed: Tensor,
    mask_downscaling: MaskDownscaling,
    grid: usize,
    image_size: usize,
}

impl PromptEncoder {
    /// Loads the encoder for an embedding of `grid`² cells and a square input of `image_size` pixels.
    ///
    /// # Errors
    /// When a tensor that decides the sizes is missing, or reading fails.
    pub fn load(grid: usize, image_size: usize, weights: &Weights) -> Result<Self> {
        let [_, dim] = weights.dims("no_mask_embed.weight")?;
        let row = |name: &str| weights.get(&[1, dim], name);
        Ok(Self {
            gaussian_matrix: weights.get(&[2, dim / 2], "pe_layer.positional_encoding_gaussian_matrix")?,
            point_embeddings: [
                row("point_embeddings.0.weight")?,
                row("point_embeddings.1.weight")?,
                row("point_embeddings.2.weight")?,
                row("point_embeddings.3.weight")?,
            ],
            not_a_point_embed: row("not_a_point_embed.weight")?,
            no_mask_embed: row("no_mask_embed.weight")?,
            mask_downscaling: MaskDownscaling::load(&weights.pp("mask_downscaling"))?,
            grid,
            image_size,
        })
    }

    /// Embeds `prompts`.
    ///
    /// # Errors
    /// When nothing was given, or batch sizes differ.
    pub fn forward(&self, prompts: &Prompts) -> Result<PromptEmbeddings> {
        let mut tokens = Vec::new();
        if let Some(points) = &prompts.points {
            tokens.push(self.embed_points(points, prompts.boxes.is_none())?);
        }
        if let Some(boxes) = &prompts.boxes {
            tokens.push(self.embed_boxes(boxes)?);
        }
        if let Some(text) = &prompts.text {
            tokens.push(text.to_dtype(self.gaussian_matrix.dtype())?);
        }
        let dense = match &prompts.masks {
            Some(masks) => self.mask_downscaling.forward(masks)?,
            None => self.no_mask_embed.reshape((1, (), 1, 1))?,
        };
        Ok(PromptEmbeddings { sparse: Tensor::cat(&tokens, 1)?, dense })
    }

    /// The position encoding of the embedding's cells, `[1, dim, grid, grid]`.
    ///
    /// # Errors
    /// When the device refuses.
    pub fn dense_positions(&self) -> Result<Tensor> {
        let grid = self.grid;
        let centre = |index: usize| (index as f32 + 0.5) / grid as f32;
        let cells = (0..grid * grid).flat_map(|cell| [centre(cell % grid), centre(cell / grid)]);
        let cells = Tensor::from_vec(cells.collect(), (grid * grid, 2), self.device())?;
        // The reference makes the grid in the dtype of the matrix.
        let cells = cells.to_dtype(self.gaussian_matrix.dtype())?.to_dtype(DType::F32)?;
        Ok(self.encode_positions(&cells)?.t()?.reshape((1, (), grid, grid))?)
    }

    /// Random Fourier features of `coordinates` `[.., 2]` f32 in 0..1: `[.., dim]`, in the dtype of the Gaussian matrix, in which
    /// everything after `2c − 1` is computed (spec 1.9).
    ///
    /// # Errors
    /// When the last dimension is not 2.
    pub fn encode_positions(&self, coordinates: &Tensor) -> TensorResult {
        let mut shape = coordinates.dims().to_vec();
        let centred = coordinates.affine(2.0, -1.0)?.to_dtype(self.gaussian_matrix.dtype())?;
        let angles = ops::matmul(&centred.reshape(((), 2))?, &self.gaussian_matrix)?;
        let angles = ops::multiply(&angles, 2.0 * std::f64::consts::PI)?;
        let features = Tensor::cat(&[precise(&angles, Tensor::sin)?, precise(&angles, Tensor::cos)?], 1)?;
        if let Some(last) = shape.last_mut() {
            *last = features.dim(1)?;
        }
        features.reshape(shape)
    }

    fn embed_points(&self, points: &PointPrompt, pad: bool) -> TensorResult {
        let (batch, count, _) = points.coordinates.dims3()?;
        let mut coordinates = (points.coordinates.to_dtype(DType::F32)? + 0.5)?;
        let mut labels = points.labels.clone();
        if labels.len() != batch || labels.iter().any(|row| row.len() != count) {
            candle_core::bail!("{batch} rows of {count} points need as many labels");
        }
        if pad {
            let nowhere = Tensor::zeros((batch, 1, 2), DType::F32, self.device())?;
            coordinates = Tensor::cat(&[&coordinates, &nowhere], 1)?;
            labels.iter_mut().for_each(|row| row.push(-1));
        }
        let count = count + usize::from(pad);
        let positions = self.encode_positions(&(coordinates / self.image_size as f64)?)?;

        let labels: Vec<i32> = labels.concat();
        let is_point: Vec<f32> = labels.iter().map(|&label| if label < 0 { 0.0 } else { 1.0 }).collect();
        let is_point =
            Tensor::from_vec(is_point, (batch, count, 1), self.device())?.to_dtype(positions.dtype())?;
        let [negative, positive, ..] = &self.point_embeddings;
        let table = Tensor::cat(&[&self.not_a_point_embed, negative, positive], 0)?;
        let rows: Vec<u32> = labels.iter().map(|&label| (label.clamp(-1, 1) + 1) as u32).collect();
        let kinds = table.index_select(&Tensor::from_vec(rows, batch * count, self.device())?, 0)?;
        positions.broadcast_mul(&is_point)? + kinds.reshape((batch, count, ()))?
    }

    fn embed_boxes(&self, boxes: &Tensor) -> TensorResult {
        let corners = (boxes.to_dtype(DType::F32)? + 0.5)?.reshape(((), 2, 2))?;
        let positions = self.encode_positions(&(corners / self.image_size as f64)?)?;
        let [_, _, first, second] = &self.point_embeddings;
        positions.broadcast_add(&Tensor::cat(&[first, second], 0)?)
    }

    fn device(&self) -> &Device {
        self.gaussian_matrix.device()
    }
}

/// `function` in f32, rounded once.
fn precise(x: &Tensor, function: impl Fn(&Tensor) -> TensorResult) -> TensorResult {
    function(&x.to_dtype(DType::F32)?)?.to_dtype(x.dtype())
}

#[derive(Debug, Clone)]
struct MaskDownscaling {
    conv1: Conv2d,
    norm1: LayerNorm2d,
    conv2: Conv2d,
    norm2: LayerNorm2d,
    conv3: Conv2d,
}

impl MaskDownscaling {
    fn load(weights: &Weights) -> Result<Self> {
        let conv1 = Conv2d::load(0, true, &weights.pp("0"))?;
        let conv2 = Conv2d::load(0, true, &weights.pp("3"))?;
        Ok(Self {
            norm1: LayerNorm2d::load(conv1.sizes().0, 1e-6, &weights.pp("1"))?,
            norm2: LayerNorm2d::load(conv2.sizes().0, 1e-6, &weights.pp("4"))?,
            conv3: Conv2d::load(0, true, &weights.pp("6"))?,
            conv1,
            conv2,
        })
    }

    fn forward(&self, masks: &Tensor) -> TensorResult {
        let halve = |conv: &Conv2d, norm: &LayerNorm2d, x: &Tensor| {
            let x = conv.forward_patches(x)?.permute((0, 3, 1, 2))?.contiguous()?;
            ops::gelu_erf(&norm.forward(&x)?)
        };
        let x = halve(&self.conv1, &self.norm1, masks)?;
        let x = halve(&self.conv2, &self.norm2, &x)?;
        self.conv3.forward_patches(&x)?.permute((0, 3, 1, 2))?.contiguous()
    }
}
