"""What PyTorch 2.0.1 returns in bf16 on the CPU, for the roundings and the order of sums that `maskwise-nn` reproduces.

    DNNL_MAX_CPU_ISA=AVX512_CORE_BF16 python record.py

with torch 2.0.1 on a processor that has AVX512_BF16; the variable keeps oneDNN from AMX, which sums in another order.
"""
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

assert torch.__version__.startswith("2.0.1"), torch.__version__
torch.manual_seed(0)


def values(*shape, spread=3):
    """Normal numbers times powers of two, so that the order of a sum shows."""
    exponents = torch.randint(-spread, spread + 1, shape).float()
    return (torch.randn(shape) * torch.exp2(exponents)).bfloat16()


tensors = {}


def record(name, result, **inputs):
    tensors.update({f"{name}.{key}": value.contiguous().clone() for key, value in inputs.items()})
    tensors[f"{name}.result"] = result.contiguous()


x = values(120)
record("multiply", x * 1.702, x=x)
record("divide", x / 24**0.5, x=x)
record("add", x + 0.3, x=x)
record("quick_gelu", x * torch.sigmoid(1.702 * x), x=x)
record("silu", F.silu(x), x=x)
record("gelu", F.gelu(x), x=x)
x = values(6, 101, spread=0) * 3
record("softmax", x.softmax(-1), x=x)
x, weight, bias = values(1, 24, 4, 4), values(24), values(24)
mean = x.mean(1, keepdim=True)
variance = (x - mean).pow(2).mean(1, keepdim=True)
normal = (x - mean) / torch.sqrt(variance + 1e-6)
record("layer_norm_2d", weight[:, None, None] * normal + bias[:, None, None], x=x, weight=weight, bias=bias)
x, weight, bias = values(8, 48), values(48), values(48)
record("layer_norm", F.layer_norm(x, (48,), weight, bias, 1e-5), x=x, weight=weight, bias=bias)
for name, (batch, m, k, n) in {"small": (1, 4, 2, 128), "tiny": (2, 4, 8, 8), "deep": (1, 3, 601, 2)}.items():
    left, right = values(batch, m, k), values(batch, k, n)
    record(f"matmul_{name}", left @ right, left=left, right=right)
left, right = values(2, 10, 8), values(2, 5, 8)
record("matmul_transposed", left @ right.transpose(1, 2), left=left, right=right)
x, weight, bias = values(1, 3, 8, 12), values(4, 3, 4, 4), values(4)
record("patch_embedding", F.conv2d(x, weight, bias, stride=4).permute(0, 2, 3, 1), x=x, weight=weight, bias=bias)
x, weight, bias = values(1, 20, 3, 4), values(20, 3, 2, 2), values(3)
record("conv_transpose_2x2", F.conv_transpose2d(x, weight, bias, stride=2), x=x, weight=weight, bias=bias)
save_file(tensors, "bf16_ops.safetensors")
