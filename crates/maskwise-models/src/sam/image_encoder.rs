use crate::error::{ModelError, Result};
use candle_core::{DType, Tensor};
use maskwise_nn::layers::{Conv2d, LayerNorm, LayerNorm2d, Linear};
use maskwise_nn::ops::{self, Activation};
use maskwise_nn::weights::Weights;

type TensorResult = candle_core::Result<Tensor>;

/// SAM's ViT with windowed and global attention and decomposed relative positions.
#[derive(Debug, Clone)]
pub struct ImageEncoder {
    patch_embed: Conv2d,
    pos_embed: Tensor,
    blocks: Vec<Block>,
    neck: Neck,
}

impl ImageEncoder {
    /// Loads the encoder; every size follows from the tensors' shapes. The linear layers of its blocks are kept in the quantization of `weights`.
    ///
    /// # Errors
    /// When `pos_embed`, `patch_embed.proj.weight` or a `rel_pos_h` is missing, or reading fails.
    pub fn load(weights: &Weights) -> Result<Self> {
        let [_, rows, columns, dim] = weights.dims("pos_embed")?;
        if rows != columns {
            let reason = format!("{}.pos_embed is {rows}x{columns}, which is not square", weights.prefix());
            return Err(ModelError::Sizes(reason));
        }
        let blocks = weights.pp("blocks");
        let depth = blocks.count_children().max(1);
        let blocks = (0..depth).map(|index| Block::load(dim, rows, &blocks.pp(index)));
        Ok(Self {
            patch_embed: Conv2d::load(0, true, &weights.pp("patch_embed.proj"))?,
            pos_embed: weights.get(&[1, rows, columns, dim], "pos_embed")?,
            blocks: blocks.collect::<Result<_>>()?,
            neck: Neck::load(&weights.pp("neck"))?,
        })
    }

    /// Checks that an encoder as wide as a published one (ViT-B, L, H) is as deep: the tensors alone do not tell that the last
    /// blocks are missing.
    ///
    /// # Errors
    /// [`ModelError::Sizes`].
    pub fn check_depth(&self) -> Result<()> {
        let dim = self.pos_embed.dims()[3];
        let expected = match dim {
            768 => 12,
            1024 => 24,
            1280 => 32,
            _ => return Ok(()),
        };
        if self.blocks.len() == expected {
            return Ok(());
        }
        let found = self.blocks.len();
        Err(ModelError::Sizes(format!(
            "SAM's image encoder is {dim} wide and has {found} blocks instead of {expected}"
        )))
    }

    /// Cells along one side of the embedding (64 for the published models).
    pub fn grid(&self) -> usize {
        self.pos_embed.dims()[1]
    }

    /// Side of the square input in pixels (1024 for the published models).
    pub fn image_size(&self) -> usize {
        self.grid() * self.patch_embed.sizes().2
    }

    /// Pixels `[batch, 3, size, size]` to the embedding `[batch, out, grid, grid]`.
    ///
    /// # Errors
    /// When the pixels have another size.
    pub fn forward(&self, pixels: &Tensor) -> TensorResult {
        self.forward_observed(pixels, &mut |_, _| ())
    }

    /// As [`ImageEncoder::forward`], calling `observe(index, state)` with `[batch, grid, grid, dim]` for the patch embedding before
    /// the positions are added (index 0) and after each block (index from 1).
    ///
    /// # Errors
    /// As [`ImageEncoder::forward`].
    pub fn forward_observed(&self, pixels: &Tensor, observe: &mut dyn FnMut(usize, &Tensor)) -> TensorResult {
        let patches = self.patch_embed.forward_patches(pixels)?;
        observe(0, &patches);
        let state = self.forward_blocks(&patches.broadcast_add(&self.pos_embed)?, observe)?;
        self.neck.forward(&state.permute((0, 3, 1, 2))?.contiguous()?)
    }

    /// The blocks alone, on `[batch, grid, grid, dim]`; `observe` as above, from index 1.
    ///
    /// # Errors
    /// When the width differs.
    pub fn forward_blocks(&self, embedded: &Tensor, observe: &mut dyn FnMut(usize, &Tensor)) -> TensorResult {
        let mut state = embedded.clone();
        for (index, block) in self.blocks.iter().enumerate() {
            state = block.forward(&state)?;
            observe(index + 1, &state);
        }
        Ok(state)
    }
}

#[derive(Debug, Clone)]
struct Block {
    norm1: LayerNorm,
    attn: Attention,
    norm2: LayerNorm,
    lin1: Linear,
    lin2: Linear,
    /// Side of the attention window in cells; none where attention is global.
    window: Option<usize>,
}

impl Block {
    fn load(dim: usize, grid: usize, weights: &Weights) -> Result<Self> {
        let attn = weights.pp("attn");
        // A table of 2·size − 1 offsets tells the side of the window that it was made for.
        let [offsets, _] = attn.dims("rel_pos_h")?;
        if offsets.is_multiple_of(2) {
            let reason =
                format!("{}.rel_pos_h has {offsets} rows; a window of n cells has 2n - 1", attn.prefix());
            return Err(ModelError::Sizes(reason));
        }
        let size = offsets.div_ceil(2);
        let [inner] = weights.dims("mlp.lin1.bias")?;
        let load = |input, output, name: &str| {
            Linear::load(input, output, &weights.pp(name))?.quantized(weights.quantization())
        };
        Ok(Self {
            norm1: LayerNorm::load(dim, 1e-6, &weights.pp("norm1"))?,
            attn: Attention::load(dim, &attn)?,
            norm2: LayerNorm::load(dim, 1e-6, &weights.pp("norm2"))?,
            lin1: load(dim, inner, "mlp.lin1")?,
            lin2: load(inner, dim, "mlp.lin2")?,
            window: (size != grid).then_some(size),
        })
    }

    /// `x` `[batch, height, width, dim]`.
    fn forward(&self, x: &Tensor) -> TensorResult {
        let normalized = self.norm1.forward(x)?;
        let attended = match self.window {
            None => self.attn.forward(&normalized)?,
            Some(window) => {
                let windows = partition_windows(&normalized, window)?;
                join_windows(&self.attn.forward(&windows)?, window, x.dims())?
            }
        };
        let x = (x + attended)?;
        let inner = self.lin1.forward_then(&self.norm2.forward(&x)?, Activation::GeluErf)?;
        &x + self.lin2.forward(&inner)?
    }
}

/// `[batch, height, width, dim]` to `[batch·windows, window, window, dim]`, zeros added at the bottom and on the right.
fn partition_windows(x: &Tensor, window: usize) -> TensorResult {
    let (batch, height, width, dim) = x.dims4()?;
    let (rows, columns) = (height.div_ceil(window), width.div_ceil(window));
    let x = x.pad_with_zeros(1, 0, rows * window - height)?.pad_with_zeros(2, 0, columns * window - width)?;
    let x = x.reshape(&[batch, rows, window, columns, window, dim])?.permute([0, 1, 3, 2, 4, 5])?;
    x.reshape((batch * rows * columns, window, window, dim))
}

/// Undoes [`partition_windows`], back to `shape` `[batch, height, width, dim]`.
fn join_windows(windows: &Tensor, window: usize, shape: &[usize]) -> TensorResult {
    let [batch, height, width, dim] =
        shape.try_into().map_err(|_| candle_core::Error::Msg("not 4-D".into()))?;
    let (rows, columns) = (height.div_ceil(window), width.div_ceil(window));
    let x = windows.reshape(&[batch, rows, columns, window, window, dim])?.permute([0, 1, 3, 2, 4, 5])?;
    let x = x.reshape((batch, rows * window, columns * window, dim))?;
    x.narrow(1, 0, height)?.narrow(2, 0, width)?.contiguous()
}

#[derive(Debug, Clone)]
struct Attention {
    qkv: Linear,
    proj: Linear,
    rel_pos_h: Tensor,
    rel_pos_w: Tensor,
    head_dim: usize,
}

impl Attention {
    fn load(dim: usize, weights: &Weights) -> Result<Self> {
        let [offsets, head_dim] = weights.dims("rel_pos_h")?;
        if head_dim == 0 || !dim.is_multiple_of(head_dim) {
            let reason = format!(
                "{}.rel_pos_h is {head_dim} wide, which does not split {dim} into heads",
                weights.prefix()
            );
            return Err(ModelError::Sizes(reason));
        }
        let load = |output, name: &str| {
            Linear::load(dim, output, &weights.pp(name))?.quantized(weights.quantization())
        };
        Ok(Self {
            qkv: load(3 * dim, "qkv")?,
            proj: load(dim, "proj")?,
            rel_pos_h: weights.get(&[offsets, head_dim], "rel_pos_h")?,
            rel_pos_w: weights.get(&[offsets, head_dim], "rel_pos_w")?,
            head_dim,
        })
    }

    /// `x` `[batch, height, width, dim]`; every cell attends to every cell.
    fn forward(&self, x: &Tensor) -> TensorResult {
        let (batch, height, width, dim) = x.dims4()?;
        if ops::on_cpu_in_f32(x) {
            let rows = relative_positions(&self.rel_pos_h, height, height)?;
            let columns = relative_positions(&self.rel_pos_w, width, width)?;
            let scale = (self.head_dim as f64).powf(-0.5);
            let mixed = ops::relative_attention(&self.qkv.forward(x)?, &rows, &columns, scale)?;
            return self.proj.forward(&mixed);
        }
        let (cells, head_dim) = (height * width, self.head_dim);
        let heads = dim / head_dim;
        let qkv =
            self.qkv.forward(x)?.reshape((batch, cells, 3, heads, head_dim))?.permute((2, 0, 3, 1, 4))?;
        let [query, key, value] =
            [0, 1, 2].map(|part| qkv.narrow(0, part, 1).and_then(|part| part.squeeze(0)));
        let (query, key, value) = (query?.contiguous()?, key?, value?);

        // The relative terms use the unscaled query.
        let for_rows = relative_positions(&self.rel_pos_h, height, height)?;
        let for_columns = relative_positions(&self.rel_pos_w, width, width)?;
        let cells_of_query = query.reshape((batch * heads, height, width, head_dim))?;
        let rel_h = along_rows(&cells_of_query, &for_rows)?;
        let rel_w = along_rows(&cells_of_query.transpose(1, 2)?, &for_columns)?.transpose(1, 2)?;
        let scaled = ops::multiply(&query, (head_dim as f64).powf(-0.5))?;
        let mixed = attend_with_added_positions(&scaled, &key, &value, &rel_h, &rel_w)?;
        self.proj.forward(&mixed.transpose(1, 2)?.reshape((batch, height, width, dim))?)
    }
}

/// `Σ_c query[b, h, w, c] · table[h, k, c]`: `[batch, height, width, dim]` and `[height, keys, dim]` to
/// `[batch, height, width, keys]`.
fn along_rows(query: &Tensor, table: &Tensor) -> TensorResult {
    let (batch, height, width, dim) = query.dims4()?;
    let rows = query.transpose(0, 1)?.reshape((height, batch * width, dim))?;
    let product = ops::matmul(&rows, &table.t()?.contiguous()?)?;
    product.reshape((height, batch, width, ()))?.transpose(0, 1)?.contiguous()
}

/// Attention that adds the relative terms one after the other, each sum rounded, as the reference does in half precision.
fn attend_with_added_positions(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    rel_h: &Tensor,
    rel_w: &Tensor,
) -> TensorResult {
    let (batch, heads, cells, _) = query.dims4()?;
    let (height, width) = (rel_h.dim(1)?, rel_h.dim(2)?);
    let rel_h = rel_h.reshape((batch, heads, cells, height, 1))?;
    let rel_w = rel_w.contiguous()?.reshape((batch, heads, cells, 1, width))?;
    ops::attention(query, key, value, &|scores, start| {
        let count = scores.dim(1)?;
        let scores = scores.reshape((batch, count, cells, height, width))?;
        let scores = scores.broadcast_add(&rel_h.narrow(1, start, count)?)?;
        let scores = scores.broadcast_add(&rel_w.narrow(1, start, count)?)?;
        scores.reshape((batch, count, cells, height * width))
    })
}

/// The rows of a relative position table for every pair of a query and a key along one axis: `table` `[offsets, dim]` to
/// `[queries, keys, dim]`. A table of another length than `2·max(queries, keys) − 1` is interpolated linearly.
///
/// # Errors
/// When a size is zero.
pub fn relative_positions(table: &Tensor, queries: usize, keys: usize) -> TensorResult {
    let offsets = 2 * queries.max(keys) - 1;
    let table = if table.dim(0)? == offsets {
        table.clone()
    } else {
        let matrix = ops::bilinear_matrix(table.dim(0)?, offsets, table.device())?;
        matrix.matmul(&table.to_dtype(DType::F32)?)?.to_dtype(table.dtype())?
    };
    let query_step = (keys as f64 / queries as f64).max(1.0);
    let key_step = (queries as f64 / keys as f64).max(1.0);
    let index = |pair: usize| {
        let (query, key) = ((pair / keys) as f64 * query_step, (pair % keys) as f64 * key_step);
        (query - key + (keys - 1) as f64 * key_step) as u32
    };
    let indices = Tensor::from_vec((0..queries * keys).map(index).collect(), queries * keys, table.device())?;
    table.index_select(&indices, 0)?.reshape((queries, keys, ()))
}

#[derive(Debug, Clone)]
struct Neck {
    conv1: Conv2d,
    norm1: LayerNorm2d,
    conv2: Conv2d,
    norm2: LayerNorm2d,
}

impl Neck {
    fn load(weights: &Weights) -> Result<Self> {
        let conv1 = Conv2d::load(0, false, &weights.pp("0"))?;
        let out = conv1.sizes().0;
        Ok(Self {
            norm1: LayerNorm2d::load(out, 1e-6, &weights.pp("1"))?,
            conv2: Conv2d::load(1, false, &weights.pp("2"))?,
            norm2: LayerNorm2d::load(out, 1e-6, &weights.pp("3"))?,
            conv1,
        })
    }

    fn forward(&self, x: &Tensor) -> TensorResult {
        let x = self.norm1.forward(&self.conv1.forward(x)?)?;
        self.norm2.forward(&self.conv2.forward(&x)?)
    }
}
