//! bf16 on the CPU against what PyTorch 2.0.1 returned, value by value (`tests/golden/bf16_ops/record.py`).

use super::*;
use std::collections::HashMap;

struct Recorded(HashMap<String, Tensor>);

impl Recorded {
    fn open() -> Self {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/bf16_ops");
        Self(candle_core::safetensors::load(folder.join("bf16_ops.safetensors"), &Device::Cpu).unwrap())
    }

    fn compare(&self, name: &str, function: impl Fn(&dyn Fn(&str) -> Tensor) -> Result<Tensor>) {
        let recorded = |part: &str| self.0[&format!("{name}.{part}")].clone();
        let ours = function(&recorded).unwrap();
        let expected = recorded("result");
        assert_eq!((ours.dtype(), ours.dims()), (DType::BF16, expected.dims()), "{name}");
        let values = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<half::bf16>().unwrap();
        assert_eq!(values(&ours), values(&expected), "{name}");
    }
}

#[test]
fn bf16_on_the_cpu_equals_the_reference() {
    let recorded = Recorded::open();
    recorded.compare("multiply", |x| multiply(&x("x"), 1.702));
    recorded.compare("divide", |x| divide(&x("x"), 24f64.sqrt()));
    recorded.compare("add", |x| add(&x("x"), 0.3));
    recorded.compare("quick_gelu", |x| quick_gelu(&x("x")));
    recorded.compare("silu", |x| silu(&x("x")));
    recorded.compare("gelu", |x| gelu_erf(&x("x")));
    recorded.compare("softmax", |x| softmax(&x("x")));
    recorded.compare("layer_norm", |x| layer_norm(&x("x"), &x("weight"), &x("bias"), 1e-5));
    recorded.compare("layer_norm_2d", |x| layer_norm_2d(&x("x"), &x("weight"), &x("bias"), 1e-6));
    recorded.compare("patch_embedding", |x| patch_embedding(&x("x"), &x("weight"), Some(&x("bias"))));
    recorded.compare("conv_transpose_2x2", |x| conv_transpose_2x2(&x("x"), &x("weight"), &x("bias")));
    for name in ["matmul_small", "matmul_tiny", "matmul_deep"] {
        recorded.compare(name, |x| matmul(&x("left"), &x("right")));
    }
    recorded.compare("matmul_transposed", |x| matmul(&x("left"), &x("right").t()?));
}
