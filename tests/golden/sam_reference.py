"""SAM in plain PyTorch with the official parameter names (image encoder, prompt encoder, mask decoder).

Written from the published description; every width is read from the tensors, so the same code runs the tiny
checkpoint and any other. `python sam_reference.py` compares it with `transformers.SamModel` on random weights.
"""
import math

import torch
import torch.nn.functional as F
from torch import nn


class LayerNorm2d(nn.Module):
    """Layer norm over the channels of a (B, C, H, W) map."""

    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        return F.layer_norm(x.permute(0, 2, 3, 1), x.shape[1:2], self.weight, self.bias, 1e-6).permute(0, 3, 1, 2)


class Mlp(nn.Module):
    def __init__(self, dim, hidden, activation):
        super().__init__()
        self.lin1, self.lin2, self.activation = nn.Linear(dim, hidden), nn.Linear(hidden, dim), activation

    def forward(self, x):
        return self.lin2(self.activation(self.lin1(x)))


def relative_rows(table, size):
    """(size, size, head_dim): the row of the table for query - key + size - 1."""
    distance = torch.arange(size)[:, None] - torch.arange(size)[None, :] + size - 1
    return table[distance]


class EncoderAttention(nn.Module):
    def __init__(self, dim, heads, size):
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * size - 1, dim // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * size - 1, dim // heads))

    def forward(self, x):
        batch, height, width, dim = x.shape
        head_dim = dim // self.heads
        q, k, v = self.qkv(x).reshape(batch, height * width, 3, self.heads, head_dim).permute(2, 0, 3, 1, 4)
        grid = q.reshape(batch, self.heads, height, width, head_dim)  # the unscaled queries
        rel_h = torch.einsum("bnhwc,hkc->bnhwk", grid, relative_rows(self.rel_pos_h, height))
        rel_w = torch.einsum("bnhwc,wkc->bnhwk", grid, relative_rows(self.rel_pos_w, width))
        bias = (rel_h[..., :, None] + rel_w[..., None, :]).reshape(batch, self.heads, height * width, height * width)
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.proj(x.transpose(1, 2).reshape(batch, height, width, dim))


class EncoderBlock(nn.Module):
    def __init__(self, dim, heads, mlp, window, size):
        """`window` 0 means global attention over `size` x `size`."""
        super().__init__()
        self.window = window
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.attn = EncoderAttention(dim, heads, window or size)
        self.mlp = Mlp(dim, mlp, nn.GELU())

    def forward(self, x):
        y = self.norm1(x)
        y = self.windowed(y) if self.window else self.attn(y)
        x = x + y
        return x + self.mlp(self.norm2(x))

    def windowed(self, x):
        batch, height, width, dim = x.shape
        w = self.window
        x = F.pad(x, (0, 0, 0, -width % w, 0, -height % w))  # zeros after the norm; they take part in attention
        rows, cols = x.shape[1] // w, x.shape[2] // w
        x = x.reshape(batch, rows, w, cols, w, dim).transpose(2, 3).reshape(-1, w, w, dim)
        x = self.attn(x).reshape(batch, rows, cols, w, w, dim).transpose(2, 3)
        return x.reshape(batch, rows * w, cols * w, dim)[:, :height, :width]


class PatchEmbed(nn.Module):
    def __init__(self, dim, patch):
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch, stride=patch)


class ImageEncoder(nn.Module):
    def __init__(self, image_size, patch, dim, depth, heads, mlp, window, global_blocks, out):
        super().__init__()
        grid = image_size // patch
        self.patch_embed = PatchEmbed(dim, patch)
        self.pos_embed = nn.Parameter(torch.zeros(1, grid, grid, dim))
        self.blocks = nn.ModuleList(
            EncoderBlock(dim, heads, mlp, 0 if i in global_blocks else window, grid) for i in range(depth))
        self.neck = nn.Sequential(
            nn.Conv2d(dim, out, 1, bias=False), LayerNorm2d(out), nn.Conv2d(out, out, 3, padding=1, bias=False), LayerNorm2d(out))

    def forward(self, pixels, trace=None):
        x = self.patch_embed.proj(pixels).permute(0, 2, 3, 1)
        if trace is not None:
            trace["sam_patch_embed"] = x
        x = x + self.pos_embed
        for i, block in enumerate(self.blocks):
            x = block(x)
            if trace is not None:
                trace[f"sam_block{i}"] = x
        return self.neck(x.permute(0, 3, 1, 2))


class PositionEncoding(nn.Module):
    def __init__(self, half):
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, half))

    def forward(self, coords):
        """coords in [0, 1], last axis (x, y)."""
        angles = 2 * math.pi * ((2 * coords - 1) @ self.positional_encoding_gaussian_matrix)
        return torch.cat([angles.sin(), angles.cos()], -1)


class PromptEncoder(nn.Module):
    def __init__(self, image_size, grid, dim, mask_channels=16):
        super().__init__()
        self.image_size, self.grid, small = image_size, grid, mask_channels // 4
        self.pe_layer = PositionEncoding(dim // 2)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, dim) for _ in range(4))
        self.not_a_point_embed, self.no_mask_embed = nn.Embedding(1, dim), nn.Embedding(1, dim)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, small, 2, 2), LayerNorm2d(small), nn.GELU(),
            nn.Conv2d(small, mask_channels, 2, 2), LayerNorm2d(mask_channels), nn.GELU(), nn.Conv2d(mask_channels, dim, 1))

    def dense_position(self):
        steps = (torch.arange(self.grid) + 0.5) / self.grid
        y, x = torch.meshgrid(steps, steps, indexing="ij")
        return self.pe_layer(torch.stack([x, y], -1)).permute(2, 0, 1)[None]

    def points(self, coords, labels):
        """coords (B, n, 2) in pixels of the SAM frame, labels (B, n) in {1, 0, -1}; appends the padding point."""
        coords = torch.cat([coords + 0.5, torch.zeros_like(coords[:, :1])], 1)
        labels = torch.cat([labels, -torch.ones_like(labels[:, :1])], 1)[..., None]
        code = self.pe_layer(coords / self.image_size)
        code = torch.where(labels == -1, self.not_a_point_embed.weight.expand_as(code), code)
        code = code + (labels == 0) * self.point_embeddings[0].weight
        return code + (labels == 1) * self.point_embeddings[1].weight


class DecoderAttention(nn.Module):
    def __init__(self, dim, heads, inner):
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(dim, inner) for _ in range(3))
        self.out_proj = nn.Linear(inner, dim)

    def forward(self, q, k, v):
        q, k, v = (p(t).unflatten(-1, (self.heads, -1)).transpose(1, 2)
                   for p, t in ((self.q_proj, q), (self.k_proj, k), (self.v_proj, v)))
        return self.out_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class TwoWayLayer(nn.Module):
    def __init__(self, dim, heads, mlp, first):
        super().__init__()
        self.first = first
        self.self_attn = DecoderAttention(dim, heads, dim)
        self.cross_attn_token_to_image = DecoderAttention(dim, heads, dim // 2)
        self.cross_attn_image_to_token = DecoderAttention(dim, heads, dim // 2)
        self.mlp = Mlp(dim, mlp, nn.ReLU())
        self.norm1, self.norm2, self.norm3, self.norm4 = (nn.LayerNorm(dim) for _ in range(4))

    def forward(self, tokens, image, token_pe, image_pe):
        if self.first:  # no position code and no residual
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            q = tokens + token_pe
            tokens = tokens + self.self_attn(q, q, tokens)
        tokens = self.norm1(tokens)
        tokens = self.norm2(tokens + self.cross_attn_token_to_image(tokens + token_pe, image + image_pe, image))
        tokens = self.norm3(tokens + self.mlp(tokens))
        image = self.norm4(image + self.cross_attn_image_to_token(image + image_pe, tokens + token_pe, tokens))
        return tokens, image


class TwoWayTransformer(nn.Module):
    def __init__(self, dim, heads, mlp, depth):
        super().__init__()
        self.layers = nn.ModuleList(TwoWayLayer(dim, heads, mlp, i == 0) for i in range(depth))
        self.final_attn_token_to_image = DecoderAttention(dim, heads, dim // 2)
        self.norm_final_attn = nn.LayerNorm(dim)

    def forward(self, image, image_pe, tokens):
        x = tokens
        for layer in self.layers:
            x, image = layer(x, image, tokens, image_pe)
        x = x + self.final_attn_token_to_image(x + tokens, image + image_pe, image)
        return self.norm_final_attn(x), image


class Head(nn.Module):
    def __init__(self, dims):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(dims, dims[1:]))

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)


class MaskDecoder(nn.Module):
    def __init__(self, dim, heads, mlp, depth, iou_hidden, masks=4):
        super().__init__()
        self.transformer = TwoWayTransformer(dim, heads, mlp, depth)
        self.iou_token, self.mask_tokens = nn.Embedding(1, dim), nn.Embedding(masks, dim)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(dim, dim // 4, 2, 2), LayerNorm2d(dim // 4), nn.GELU(),
            nn.ConvTranspose2d(dim // 4, dim // 8, 2, 2), nn.GELU())
        self.output_hypernetworks_mlps = nn.ModuleList(Head([dim, dim, dim, dim // 8]) for _ in range(masks))
        self.iou_prediction_head = Head([dim, iou_hidden, iou_hidden, masks])

    def forward(self, image, image_pe, sparse, dense, trace=None):
        """image (B, C, h, w), sparse (B, n, C), dense (B, C, h, w) -> mask 0 (B, 1, 4h, 4w), its IoU (B, 1)."""
        batch, channels, height, width = image.shape
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([own.expand(batch, -1, -1), sparse], 1)
        source = (image + dense).flatten(2).transpose(1, 2)
        position = image_pe.flatten(2).transpose(1, 2).expand(batch, -1, -1)
        states, source = self.transformer(source, position, tokens)
        if trace is not None:
            trace["decoder_tokens_in"], trace["decoder_states"] = tokens, states
        upscaled = self.output_upscaling(source.transpose(1, 2).reshape(batch, channels, height, width))
        kernel = self.output_hypernetworks_mlps[0](states[:, 1])
        mask = torch.einsum("bc,bchw->bhw", kernel, upscaled)[:, None]
        return mask, self.iou_prediction_head(states[:, 0])[:, :1]


class Sam(nn.Module):
    def __init__(self, image_size=256, patch=16, dim=64, depth=4, heads=4, mlp=256, window=7, global_blocks=(1, 3),
                 prompt_dim=64, decoder_heads=8, decoder_mlp=256, decoder_depth=2, iou_hidden=64):
        super().__init__()
        self.image_size = image_size
        self.image_encoder = ImageEncoder(image_size, patch, dim, depth, heads, mlp, window, global_blocks, prompt_dim)
        self.prompt_encoder = PromptEncoder(image_size, image_size // patch, prompt_dim)
        self.mask_decoder = MaskDecoder(prompt_dim, decoder_heads, decoder_mlp, decoder_depth, iou_hidden)

    @classmethod
    def like(cls, tensors, decoder_heads=8):
        """A model whose every width comes from the tensors; only the decoder's head count is not in them."""
        t = {k: tuple(v.shape) for k, v in tensors.items()}
        grid, dim = t["image_encoder.pos_embed"][1], t["image_encoder.pos_embed"][3]
        patch = t["image_encoder.patch_embed.proj.weight"][2]
        depth = 1 + max(int(k.split(".")[2]) for k in t if k.startswith("image_encoder.blocks."))
        sides = [(t[f"image_encoder.blocks.{i}.attn.rel_pos_h"][0] + 1) // 2 for i in range(depth)]
        head_dim = t["image_encoder.blocks.0.attn.rel_pos_h"][1]
        return cls(grid * patch, patch, dim, depth, dim // head_dim, t["image_encoder.blocks.0.mlp.lin1.weight"][0], min(sides),
                   [i for i, side in enumerate(sides) if side == grid], t["prompt_encoder.no_mask_embed.weight"][1], decoder_heads,
                   t["mask_decoder.transformer.layers.0.mlp.lin1.weight"][0],
                   1 + max(int(k.split(".")[3]) for k in t if k.startswith("mask_decoder.transformer.layers.")),
                   t["mask_decoder.iou_prediction_head.layers.0.weight"][0])

    def decode(self, image_embedding, text, points=None, labels=None, trace=None):
        """image_embedding (B, C, h, w) and text (B, C), one row per mask; points None is the text-only prompt."""
        sparse = text[:, None]
        if points is not None:
            sparse = torch.cat([self.prompt_encoder.points(points, labels), sparse], 1)
        dense = self.prompt_encoder.no_mask_embed.weight[..., None, None].expand_as(image_embedding)
        if trace is not None:
            trace["sparse"] = sparse
        return self.mask_decoder(image_embedding, self.prompt_encoder.dense_position(), sparse, dense, trace)


# ---------------------------------------------------------------------------------------------------------------
# Comparison with transformers


def to_transformers(name):
    """The name that `transformers.SamModel` gives to an official SAM parameter."""
    for old, new in (("image_encoder", "vision_encoder"), (".blocks.", ".layers."), (".norm1.", ".layer_norm1."),
                     (".norm2.", ".layer_norm2."), (".norm3.", ".layer_norm3."), (".norm4.", ".layer_norm4."),
                     ("neck.0", "neck.conv1"), ("neck.1", "neck.layer_norm1"), ("neck.2", "neck.conv2"), ("neck.3", "neck.layer_norm2"),
                     ("patch_embed.proj", "patch_embed.projection"), ("mask_downscaling.0", "mask_embed.conv1"),
                     ("mask_downscaling.1", "mask_embed.layer_norm1"), ("mask_downscaling.3", "mask_embed.conv2"),
                     ("mask_downscaling.4", "mask_embed.layer_norm2"), ("mask_downscaling.6", "mask_embed.conv3"),
                     ("point_embeddings", "point_embed"), ("pe_layer.positional_encoding_gaussian_matrix", "shared_embedding.positional_embedding"),
                     ("norm_final_attn", "layer_norm_final_attn"), ("output_upscaling.0", "upscale_conv1"),
                     ("output_upscaling.1", "upscale_layer_norm"), ("output_upscaling.3", "upscale_conv2")):
        name = name.replace(old, new)
    if "output_hypernetworks_mlps" in name or "iou_prediction_head" in name:
        name = name.replace("layers.0", "proj_in").replace("layers.1", "layers.0").replace("layers.2", "proj_out")
    return name


def compare_with_transformers():
    """Largest relative difference of the image embedding, mask and IoU against `transformers.SamModel`."""
    from transformers import SamConfig, SamModel
    torch.manual_seed(0)
    sam = Sam().eval()
    for parameter in sam.parameters():
        nn.init.normal_(parameter, std=0.15)
    config = SamConfig(
        vision_config=dict(hidden_size=64, output_channels=64, num_hidden_layers=4, num_attention_heads=4, image_size=256, patch_size=16,
                           window_size=7, global_attn_indexes=[1, 3], mlp_dim=256, mlp_ratio=4.0, num_pos_feats=32),
        prompt_encoder_config=dict(hidden_size=64, image_size=256, patch_size=16, mask_input_channels=16),
        mask_decoder_config=dict(hidden_size=64, mlp_dim=256, num_hidden_layers=2, num_attention_heads=8, iou_head_hidden_dim=64,
                                 layer_norm_eps=1e-5))  # the official decoder norms; transformers defaults to 1e-6
    config._attn_implementation = "eager"
    other = SamModel(config).eval()
    state = {to_transformers(k): v for k, v in sam.state_dict().items()}
    state["shared_image_embedding.positional_embedding"] = state["prompt_encoder.shared_embedding.positional_embedding"]
    missing, unexpected = other.load_state_dict(state, strict=False)
    assert not unexpected and not missing, (missing, unexpected)
    pixels, points, labels = torch.randn(1, 3, 256, 256), torch.rand(1, 5, 2) * 255, torch.tensor([[1, 0, -1, 0, 1]])
    with torch.no_grad():
        theirs = other.get_image_embeddings(pixels)
        ours = sam.image_encoder(pixels)
        sparse = sam.prompt_encoder.points(points, labels)
        their_sparse, _ = other.prompt_encoder(points[:, None], labels[:, None], None, None)
        dense = sam.prompt_encoder.no_mask_embed.weight[..., None, None].expand_as(ours)
        mask, iou = sam.mask_decoder(ours, sam.prompt_encoder.dense_position(), sparse, dense)
        result = other(image_embeddings=theirs, input_points=points[:, None], input_labels=labels[:, None], multimask_output=False)
    pairs = {"image_embedding": (ours, theirs), "sparse": (sparse, their_sparse[:, 0]),
             "low_res": (mask, result.pred_masks[:, 0]), "iou": (iou, result.iou_scores[:, 0])}
    differences = {k: float((a - b).abs().max() / b.abs().max()) for k, (a, b) in pairs.items()}
    assert all(d < 1e-5 for d in differences.values()), differences
    return differences


if __name__ == "__main__":
    print("largest relative difference from transformers.SamModel:", compare_with_transformers())
