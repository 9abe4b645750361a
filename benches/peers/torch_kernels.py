"""The kernels of `kernel_speed` in PyTorch, a line of JSON each: python torch_kernels.py [THREADS]"""
import json
import sys
import time

import torch
import torch.nn.functional as F

REPEATS = 7


def timed(name, work):
    work()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    print(json.dumps({"name": name, "seconds": sorted(times)[REPEATS // 2]}), flush=True)


def products():
    for rows, inputs, outputs in [(640, 4096, 4096), (640, 4096, 11008), (4096, 1280, 3840), (4096, 1280, 5120)]:
        shape = f"product {rows}x{inputs}x{outputs}"
        x, w = torch.randn(rows, inputs), torch.randn(outputs, inputs)
        timed(f"{shape} f32", lambda: F.linear(x, w))
        xb, wb = x.bfloat16(), w.bfloat16()
        timed(f"{shape} bf16", lambda: F.linear(xb, wb))
        weight = (w * 20).clamp(-127, 127).to(torch.int8).t()

        def int8():
            # As ours: activations rounded row by row, a scale for each output.
            scale = x.abs().amax(1, keepdim=True) / 127
            return torch._int_mm((x / scale).round().to(torch.int8), weight) * (scale * 0.05)

        timed(f"{shape} int8", int8)


def attention(name, batch, side):
    # Scores' relative terms as the mask of scaled_dot_product_attention: PyTorch's quickest form.
    cells, heads, dim = side * side, 16, 80
    qkv = torch.randn(3, batch, heads, cells, dim)
    rows, columns = torch.randn(side, side, dim), torch.randn(side, side, dim)
    for dtype in (torch.float32, torch.bfloat16):
        q, k, v = (part.to(dtype) for part in qkv)
        r, c = rows.to(dtype), columns.to(dtype)

        def forward():
            grid = q.reshape(batch * heads, side, side, dim)
            height = torch.einsum("bhwc,hkc->bhwk", grid, r)
            width = torch.einsum("bhwc,wkc->bhwk", grid, c)
            bias = (height[..., :, None] + width[..., None, :]).reshape(batch, heads, cells, cells)
            return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)

        timed(f"attention {name} {'f32' if dtype == torch.float32 else 'bf16'}", forward)


@torch.inference_mode()
def main(threads=2):
    torch.set_num_threads(threads)
    products()
    scores = torch.randn(400, 196, 196)
    timed("softmax 400x196x196", lambda: scores.softmax(-1))
    x, w, b = torch.randn(4096, 1280), torch.randn(1280), torch.randn(1280)
    timed("layer norm 4096x1280", lambda: F.layer_norm(x, (1280,), w, b, 1e-6))
    y, v = torch.randn(640, 4096), torch.randn(4096)
    timed("rms norm 640x4096", lambda: F.rms_norm(y, (4096,), v, 1e-5))
    wide = torch.randn(4096, 5120)
    timed("gelu 4096x5120", lambda: F.gelu(wide))
    gate, up = torch.randn(640, 11008), torch.randn(640, 11008)
    timed("silu times gate 640x11008", lambda: F.silu(gate) * up)
    attention("windows 25x16x196x80", 25, 14)
    attention("global 16x4096x80", 1, 64)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
