use super::LowRank;
use crate::ops::{self, Activation};
use crate::weights::{Loaded, Quantization, Weights};
use candle_core::{CpuStorage, CustomOp2, D, DType, Device, Layout, Result, Shape, Tensor};
use maskwise_kernels::gemv;
use maskwise_kernels::matmul::{Matrix, PackedRight};
use maskwise_kernels::quantized::{Bits, MAX_INPUTS, QuantizedWeight};
use std::sync::Arc;

/// Rows up to which a bf16 product on the CPU reads a large weight in its own type instead of widening it.
const FEW_ROWS: usize = 8;
/// Numbers of a weight from which on widening it for a few rows costs too much; the sums then run in another order than the
/// reference's.
const LARGE: usize = 1 << 20;

/// `y = x·Wᵀ + b`, `W` `[out, in]`.
#[derive(Debug, Clone)]
pub struct Linear {
    weight: Weight,
    bias: Option<Tensor>,
    adapter: Option<LowRank>,
}

#[derive(Debug, Clone)]
enum Weight {
    Whole(Tensor),
    Quantized(Arc<QuantizedWeight>),
    /// In bf16, `[in, out]`.
    Arranged(Arc<PackedRight>),
}

impl Weight {
    fn load(input: usize, output: usize, weights: &Weights) -> Loaded<Self> {
        let Some(bits) = weights.quantized_bits() else {
            return Ok(Self::Whole(weights.get(&[output, input], "weight")?));
        };
        match weights.get_quantized(bits, output, input)? {
            Some(weight) => Ok(Self::Quantized(Arc::new(weight))),
            // Only the shapes matter then.
            None => Ok(Self::Whole(weights.placeholder(&[output, input])?)),
        }
    }

    /// In bf16 for the processor's tiles, where there are some and the model computes in f32 on it.
    fn arranged(self) -> Result<Self> {
        match &self {
            Self::Whole(weight)
                if ops::on_cpu_in_f32(weight) && !weight.track_op() && ops::bf16_products_pay() =>
            {
                let (output, input) = weight.dims2()?;
                let values = weight.flatten_all()?.to_vec1::<f32>()?;
                Ok(Self::Arranged(Arc::new(PackedRight::new(Matrix::new(&values, output, input).t()))))
            }
            _ => Ok(self),
        }
    }

    fn quantized(self, bits: Bits) -> Result<Self> {
        let Self::Whole(weight) = &self else { return Ok(self) };
        let (output, input) = weight.dims2()?;
        if !ops::on_cpu_in_f32(weight) || weight.track_op() {
            candle_core::bail!(
                "quantized weights need a model that computes in f32 on the cpu, and are not trained"
            );
        }
        if input > MAX_INPUTS {
            candle_core::bail!("{input} inputs are too many to be quantized; there may be {MAX_INPUTS}");
        }
        let values = weight.flatten_all()?.to_vec1::<f32>()?;
        Ok(Self::Quantized(Arc::new(QuantizedWeight::quantize(bits, &values, output, input))))
    }
}

impl Linear {
    /// Loads `weight` `[output, input]`, or the same quantized, and `bias` `[output]`.
    ///
    /// # Errors
    /// When reading fails; missing and mis-shaped tensors are reported by [`Weights::finish`].
    pub fn load(input: usize, output: usize, weights: &Weights) -> Loaded<Self> {
        let bias = Some(weights.get(&[output], "bias")?);
        Ok(Self { weight: Weight::load(input, output, weights)?, bias, adapter: None })
    }

    /// Loads `weight` `[output, input]` alone.
    ///
    /// # Errors
    /// As [`Linear::load`].
    pub fn load_without_bias(input: usize, output: usize, weights: &Weights) -> Loaded<Self> {
        Ok(Self { weight: Weight::load(input, output, weights)?, bias: None, adapter: None })
    }

    /// Loads a layer whose widths are those of its weight, which is not quantized; a bias is read if there is one.
    ///
    /// # Errors
    /// When the weight is missing or is no matrix, or as [`Linear::load`].
    pub fn load_any(weights: &Weights) -> Loaded<Self> {
        let [output, input] = weights.dims("weight")?;
        if weights.contains("bias") {
            Self::load(input, output, weights)
        } else {
            Self::load_without_bias(input, output, weights)
        }
    }

    /// `x` `[.., in]` to `[.., out]`.
    ///
    /// # Errors
    /// When the last dimension of `x` is not `in`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let bias = self.bias.as_ref();
        let product = match &self.weight {
            Weight::Whole(weight) if x.dtype() == DType::BF16 => {
                ops::with_gradient_to_input(x, weight, bias, |x| self.product_in_bf16(x, weight))?
            }
            Weight::Whole(weight) => ops::linear(x, weight, bias)?,
            Weight::Arranged(weight) => ops::arranged_product(x, weight, bias, None)?,
            Weight::Quantized(weight) => ops::quantized_product(x, weight, bias)?,
        };
        let Some(adapter) = &self.adapter else { return Ok(product) };
        let addition = adapter.forward(&x.reshape(((), x.dim(D::Minus1)?))?)?;
        &product + addition.reshape(product.shape())?
    }

    /// The activation of [`forward`](Self::forward), taken as the product is written where that is possible.
    ///
    /// # Errors
    /// As there.
    pub fn forward_then(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        match (&self.weight, &self.bias, &self.adapter) {
            (Weight::Arranged(weight), bias, None) => {
                ops::arranged_product(x, weight, bias.as_ref(), Some(activation))
            }
            (Weight::Whole(weight), Some(bias), None) if x.dtype() == DType::F32 => {
                ops::linear_then(x, weight, bias, activation)
            }
            _ => ops::activate_in_place(self.forward(x)?, activation),
        }
    }

    fn product_in_bf16(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        let (output, input) = weight.dims2()?;
        let mut shape = x.dims().to_vec();
        let rows = x.reshape(((), input))?;
        let product = match &self.bias {
            // The reference adds the bias to a rounded product where its input has more than three dimensions (SAM's image encoder).
            Some(bias) if x.rank() > 3 => ops::product(&rows, &weight.t()?)?.broadcast_add(bias)?,
            Some(bias) => ops::product_plus_bias(&rows, &weight.t()?, bias)?,
            None if few_bf16_rows_on_cpu(&rows)? && weight.elem_count() >= LARGE => {
                rows.contiguous()?.apply_op2(weight, Bf16Rows)?
            }
            None => ops::product(&rows, &weight.t()?)?,
        };
        if let Some(last) = shape.last_mut() {
            *last = output;
        }
        product.reshape(shape)
    }

    /// Adds `adapter` to what the layer computes.
    pub fn adapt(&mut self, adapter: LowRank) {
        self.adapter = Some(adapter);
    }

    /// The same layer with its weight kept as `quantization` says; what is quantized or arranged stays so.
    ///
    /// # Errors
    /// For few bits when the weight is trained, is not f32 on the CPU or has too many inputs.
    pub fn quantized(self, quantization: Quantization) -> Loaded<Self> {
        let weight = match quantization {
            Quantization::None => self.weight,
            Quantization::Bf16 => self.weight.arranged()?,
            Quantization::Int8 => self.weight.quantized(Bits::Eight)?,
            Quantization::Int4 => self.weight.quantized(Bits::Four)?,
        };
        Ok(Self { weight, ..self })
    }

    /// The number of values that come out of each row.
    pub fn output(&self) -> usize {
        match &self.weight {
            Weight::Whole(weight) => weight.dims()[0],
            Weight::Quantized(weight) => weight.outputs(),
            Weight::Arranged(weight) => weight.columns(),
        }
    }
}

fn few_bf16_rows_on_cpu(rows: &Tensor) -> Result<bool> {
    Ok(rows.dtype() == DType::BF16 && matches!(rows.device(), Device::Cpu) && rows.dim(0)? <= FEW_ROWS)
}

/// The product of a few bf16 rows with a bf16 weight `[out, in]`, transposed.
struct Bf16Rows;

impl CustomOp2 for Bf16Rows {
    fn name(&self) -> &'static str {
        "bf16_rows"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let ((m, k), (n, _)) = (x_layout.shape().dims2()?, weight_layout.shape().dims2()?);
        let contiguous = |layout: &Layout| {
            layout
                .contiguous_offsets()
                .ok_or_else(|| candle_core::Error::RequiresContiguous { op: self.name() }.bt())
        };
        let ((x_start, x_end), (weight_start, weight_end)) =
            (contiguous(x_layout)?, contiguous(weight_layout)?);
        let input = &x.as_slice::<half::bf16>()?[x_start..x_end];
        let weight = &weight.as_slice::<half::bf16>()?[weight_start..weight_end];
        let mut output = vec![half::bf16::ZERO; m * n];
        gemv::bf16_rows(input, weight, &mut output, m, n, k);
        Ok((CpuStorage::BF16(output), Shape::from((m, n))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(gradient.matmul(weight)?), Some(gradient.t()?.matmul(x)?)))
    }
}

/// A table of rows looked up by id, `[rows, dim]`.
#[derive(Debug, Clone)]
pub struct Embedding {
    table: Tensor,
}

impl Embedding {
    /// Loads `weight` `[rows, dim]`.
    ///
    /// # Errors
    /// As [`Linear::load`].
    pub fn load(rows: usize, dim: usize, weights: &Weights) -> Loaded<Self> {
        Ok(Self { table: weights.get(&[rows, dim], "weight")? })
    }

    /// The rows of `ids` (any shape), `[.., dim]`.
    ///
    /// # Errors
    /// When an id is not below [`Embedding::rows`].
    pub fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        let mut shape = ids.dims().to_vec();
        shape.push(self.table.dim(D::Minus1)?);
        self.table.index_select(&ids.flatten_all()?, 0)?.reshape(shape)
    }

    /// The whole table `[rows, dim]`.
    pub fn table(&self) -> &Tensor {
        &self.table
    }

    /// How many ids the table holds.
    pub fn rows(&self) -> usize {
        self.table.dims()[0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::varied;
    use candle_core::Var;

    fn layer(dtype: DType) -> Linear {
        let cast = |tensor: Tensor| tensor.to_dtype(dtype).unwrap();
        let weight = Weight::Whole(cast(varied(&[9, 5], 1)));
        Linear { weight, bias: Some(cast(varied(&[9], 2))), adapter: None }
    }

    #[test]
    fn few_bf16_rows_equal_many() {
        let x = varied(&[20, 5], 3).to_dtype(DType::BF16).unwrap();
        let layer = layer(DType::BF16);
        let many = layer.forward(&x).unwrap();
        let few = layer.forward(&x.narrow(0, 4, 3).unwrap()).unwrap();
        let wide = |tensor: Tensor| tensor.to_dtype(DType::F32).unwrap().to_vec2::<f32>().unwrap();
        for (many, few) in wide(many.narrow(0, 4, 3).unwrap()).concat().iter().zip(wide(few).concat()) {
            assert!((many - few).abs() <= 0.01 * many.abs().max(0.1), "{many} {few}");
        }
    }

    /// Arranged once, a layer computes what it computes with products of bf16.
    #[test]
    fn an_arranged_weight_changes_no_bit() {
        let weight = Weight::Whole(varied(&[70, 90], 1));
        let whole = Linear { weight, bias: Some(varied(&[70], 2)), adapter: None };
        let arranged = whole.clone().quantized(Quantization::Bf16).unwrap();
        assert_eq!(arranged.output(), 70);
        let x = varied(&[2, 40, 90], 3);
        let values =
            |layer: &Linear| layer.forward(&x).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        if matches!(arranged.weight, Weight::Arranged(_)) {
            assert_eq!(values(&arranged), ops::with_precision(ops::Precision::Medium, || values(&whole)));
            assert_ne!(values(&arranged), values(&whole));
        } else {
            assert_eq!(values(&arranged), values(&whole), "without tiles it stays as it is");
        }
    }

    /// However the weight is kept, and with an adapter.
    #[test]
    fn an_activation_is_that_of_what_the_layer_computes() {
        let x = varied(&[2, 3, 5], 3);
        let whole = layer(DType::F32);
        let mut adapted = whole.clone();
        let (a, b) = (varied(&[2, 5], 5), varied(&[9, 2], 6));
        adapted.adapt(LowRank { a, b, scaling: 0.5, dropout: None });
        let kept = |quantization| whole.clone().quantized(quantization).unwrap();
        for layer in [&whole, &adapted, &kept(Quantization::Bf16), &kept(Quantization::Int8)] {
            let apart = ops::gelu_erf(&layer.forward(&x).unwrap()).unwrap();
            let then = layer.forward_then(&x, Activation::GeluErf).unwrap();
            let values = |x: Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(values(then), values(apart));
        }
    }

    #[test]
    fn few_bits_are_close() {
        let whole = layer(DType::F32);
        let x = varied(&[2, 3, 5], 3);
        for (quantization, bound) in [(Quantization::Int8, 0.03), (Quantization::Int4, 0.2)] {
            let rounded = whole.clone().quantized(quantization).unwrap();
            assert_eq!(rounded.output(), 9);
            let (whole, rounded) = (whole.forward(&x).unwrap(), rounded.forward(&x).unwrap());
            assert_eq!(rounded.dims(), &[2, 3, 9]);
            let error = (whole - rounded).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap();
            let error = error.to_scalar::<f32>().unwrap();
            assert!(error > 0.0 && error < bound, "{quantization} {error}");
        }
        assert!(layer(DType::BF16).quantized(Quantization::Int8).is_err());
        let trained = Var::from_tensor(&varied(&[9, 5], 1)).unwrap();
        let weight = Weight::Whole(trained.as_tensor().clone());
        let trained = Linear { weight, bias: None, adapter: None };
        assert!(trained.quantized(Quantization::Int8).is_err());
        let wide = Tensor::zeros((1, MAX_INPUTS + 1), DType::F32, &Device::Cpu).unwrap();
        let wide = Linear { weight: Weight::Whole(wide), bias: None, adapter: None };
        assert!(wide.quantized(Quantization::Int8).unwrap_err().to_string().contains("too many"));
    }

    #[test]
    fn leading_dimensions_are_kept() {
        let y = layer(DType::F32).forward(&varied(&[2, 3, 5], 3)).unwrap();
        assert_eq!(y.dims(), &[2, 3, 9]);
    }
}
