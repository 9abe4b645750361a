"""Outputs of single blocks at the published sizes, recorded from `transformers`, with weights from a formula.

Nothing large is committed: element i of tensor number n is

    h = (i * 0x9E3779B1 + n * 0x85EBCA77) mod 2^32
    h ^= h >> 16;  h = h * 0x7FEB352D mod 2^32;  h ^= h >> 15;  h = h * 0x846CA68B mod 2^32;  h ^= h >> 16
    value = f32(h >> 8) / 2^23 - 1            exact in f32, in [-1, 1)
    element = value * scale + shift           in f32, one rounding each

with i the row-major index, and n, scale and shift listed in the manifest.

    python full_size_blocks.py sam_vit_h_block
"""
import json
import sys
from pathlib import Path

import numpy
import torch
import transformers
from safetensors.torch import save_file
from transformers import CLIPVisionConfig, LlamaConfig
from transformers.models.clip.modeling_clip import CLIPEncoderLayer
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaRotaryEmbedding
from transformers.models.sam.configuration_sam import SamVisionConfig
from transformers.models.sam.modeling_sam import SamVisionLayer

from sam_reference import to_transformers


def formula(number, shape, scale, shift=0.0):
    """The tensor of that number as f32."""
    count = int(numpy.prod(shape))
    out = numpy.empty(count, numpy.float32)
    for start in range(0, count, 1 << 22):
        h = numpy.arange(start, min(start + (1 << 22), count), dtype=numpy.uint32)
        h *= numpy.uint32(0x9E3779B1)
        h += numpy.uint32(number * 0x85EBCA77 & 0xFFFFFFFF)
        h ^= h >> 16
        h *= numpy.uint32(0x7FEB352D)
        h ^= h >> 15
        h *= numpy.uint32(0x846CA68B)
        h ^= h >> 16
        value = (h >> 8).astype(numpy.float32) / numpy.float32(1 << 23) - numpy.float32(1)
        out[start:start + len(h)] = value * numpy.float32(scale) + numpy.float32(shift)
    return torch.from_numpy(out.reshape(shape))


def settings_of(name, shape):
    """(scale, shift) that keep activations near unit size."""
    if "norm" in name and name.endswith("weight"):
        return 0.25, 1.0
    if name.endswith("bias"):
        return 0.125, 0.0
    if "rel_pos" in name:
        return 0.25, 0.0
    return float(numpy.float32((3 / shape[1]) ** 0.5)), 0.0


def fill(block, names):
    """Fills the block's parameters; `names` maps our (official) name to the block's own."""
    entries, state = [], block.state_dict()
    assert sorted(names.values()) == sorted(state)
    for number, (ours, theirs) in enumerate(names.items(), start=1):
        shape = tuple(state[theirs].shape)
        scale, shift = settings_of(ours, shape)
        state[theirs].copy_(formula(number, shape, scale, shift))
        entries.append({"name": ours, "shape": list(shape), "number": number, "scale": scale, "shift": shift})
    return entries


class Out:
    def __init__(self, folder):
        self.folder, self.tensors, self.blocks = folder, {}, []

    def add(self, name, meaning, weights, number, shape, tensor, stride, facts):
        offset = [step // 2 for step in stride]
        t = tensor.double()
        stats = {"mean": float(t.mean()), "std": float(t.std(correction=0)), "min": float(t.min()), "max": float(t.max()), "abs_sum": float(t.abs().sum())}
        picked = tensor[tuple(slice(o, None, s) for o, s in zip(offset, stride))].contiguous().clone()
        self.tensors[name] = picked
        self.blocks.append({"name": name, "shape": list(picked.shape), "dtype": "float32", "meaning": meaning, "full_shape": list(tensor.shape), "stride": list(stride),
                            "offset": offset, "full_stats": stats, "input": {"shape": list(shape), "number": number, "scale": 1.75, "shift": 0.0}, "weights": weights, **facts})
        print(name, stats, flush=True)

    def save(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        save_file(self.tensors, self.folder / "blocks.safetensors")
        made = f"full_size_blocks.py, torch {torch.__version__}, transformers {transformers.__version__} (SamVisionLayer, CLIPEncoderLayer, LlamaDecoderLayer), CPU, f32"
        (self.folder / "blocks.manifest.json").write_text(json.dumps({
            "file": "blocks.safetensors", "made_by": made,
            "formula": "h = (i*0x9E3779B1 + number*0x85EBCA77) mod 2^32; h ^= h>>16; h *= 0x7FEB352D; h ^= h>>15; h *= 0x846CA68B; h ^= h>>16 (all mod 2^32); "
                       "element i = (f32(h>>8) / 2^23 - 1) * scale + shift in f32, i the row-major index",
            "formula_check": {"number": 3, "scale": 1.0, "shift": 0.0, "first": formula(3, (4,), 1.0).tolist(), "at_1000000": float(formula(3, (1000001,), 1.0)[-1])},
            "tensors": self.blocks}, indent=1) + "\n")


def sam_blocks(out):
    config = SamVisionConfig(hidden_size=1280, num_attention_heads=16, mlp_dim=5120, mlp_ratio=4.0, image_size=1024, patch_size=16, window_size=14)
    config._attn_implementation = "eager"
    for name, window in (("sam_vit_h_windowed", 14), ("sam_vit_h_global", 0)):
        block = SamVisionLayer(config, window).eval()
        names = [f"{part}.{kind}" for part in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.lin1", "mlp.lin2") for kind in ("weight", "bias")]
        names += ["attn.rel_pos_h", "attn.rel_pos_w"]
        weights = fill(block, {n: to_transformers("." + n)[1:] for n in names})
        shape = (1, 64, 64, 1280)
        result = block(formula(100, shape, 1.75))
        result = result[0] if isinstance(result, tuple) else result
        out.add(name, "output of one SAM ViT-H block for the input [1,64,64,1280], official parameter names", weights, 100, shape, result, (1, 9, 9, 16),
                {"heads": 16, "window": window, "norm_eps": 1e-6})


def clip_block(out):
    config = CLIPVisionConfig(hidden_size=1024, intermediate_size=4096, num_attention_heads=16, hidden_act="quick_gelu", layer_norm_eps=1e-5)
    config._attn_implementation = "eager"
    block = CLIPEncoderLayer(config).eval()
    weights = fill(block, {n: n for n in block.state_dict()})
    shape = (1, 577, 1024)
    result = block(formula(100, shape, 1.75), attention_mask=None)
    result = result[0] if isinstance(result, tuple) else result
    out.add("clip_l_layer", "output of one CLIP ViT-L encoder layer for the input [1,577,1024], quick_gelu", weights, 100, shape, result, (1, 24, 4), {"heads": 16, "norm_eps": 1e-5})


def llama_block(out):
    config = LlamaConfig(hidden_size=4096, intermediate_size=11008, num_attention_heads=32, num_key_value_heads=32, rms_norm_eps=1e-5, max_position_embeddings=4096)
    config._attn_implementation = "eager"
    with torch.device("meta"):
        block = LlamaDecoderLayer(config, 0).eval()
    block.to_empty(device="cpu")
    weights = fill(block, {n: n for n in block.state_dict()})
    length = 64
    shape = (1, length, 4096)
    states = formula(100, shape, 1.75)
    positions = torch.arange(length)[None]
    mask = torch.full((length, length), torch.finfo(torch.float32).min).triu(1)[None, None]
    result = block(states, attention_mask=mask, position_ids=positions, position_embeddings=LlamaRotaryEmbedding(config)(states, positions))
    result = result[0] if isinstance(result, tuple) else result
    out.add("llama_7b_layer", "output of one LLaMA-7B decoder layer for the input [1,64,4096], causal, positions 0..63, rope base 10000", weights, 100, shape, result, (1, 4, 8),
            {"heads": 32, "norm_eps": 1e-5, "rope_base": 10000.0})


if __name__ == "__main__":
    torch.set_num_threads(1)
    result = Out(Path(sys.argv[1]))
    with torch.no_grad():
        clip_block(result)
        llama_block(result)
        sam_blocks(result)
    result.save()
