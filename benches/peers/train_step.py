"""One training step of a READ in PyTorch, on the batch that the Rust side wrote: the same model, losses, packing and optimiser.

    python train_step.py MODEL_FOLDER BATCH.safetensors [STEPS]

Prints the losses of the batch (to be compared with the Rust side's) and the median time of a step. All questions of a picture share
its prefix in one packed row, as in the trainer, which is the quickest form that PyTorch has too; attention is
scaled_dot_product_attention with an additive mask.
"""
import json
import resource
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "golden"))
from sam_reference import DecoderAttention  # noqa: E402
from tiny_read import IMAGE, Sasp, load, sasp  # noqa: E402


def read_batch(path):
    """[(clip pixels, SAM pixels, [(ids, labels, mask or None)])] in the order of the items."""
    tensors = load_file(path)
    items = []
    while f"clip.{len(items)}" in tensors:
        i, rows = len(items), []
        while f"ids.{i}.{len(rows)}" in tensors:
            key = f"{i}.{len(rows)}"
            rows.append((tensors[f"ids.{key}"], tensors[f"labels.{key}"], tensors.get(f"masks.{key}")))
        items.append((tensors[f"clip.{i}"], tensors[f"sam.{i}"], rows))
    return items


def pack(items, image_tokens, seg):
    """Ids, positions, attention bias and labels of every picture's packed row, padded to the longest; where [SEG] is predicted."""
    packed = []
    for _, _, rows in items:
        shared = min(next((k for k, (a, b) in enumerate(zip(rows[0][0], ids)) if a != b), min(len(rows[0][0]), len(ids))) for ids, _, _ in rows)
        packed.append((shared, rows))
    length = max(s - 1 + image_tokens + sum(len(ids) - s for ids, _, _ in rows) for s, rows in packed)
    count = len(packed)
    ids = torch.zeros(count, length, dtype=torch.long)
    positions = torch.arange(length).repeat(count, 1)
    targets = torch.full((count, length), -100)
    group = torch.full((count, length), -1)
    heads, predictors = [], []
    for index, (shared, rows) in enumerate(packed):
        first = rows[0][0]
        image = int((first == IMAGE).nonzero()[0, 0])
        prefix = shared - 1 + image_tokens
        ids[index, :image] = first[:image]
        ids[index, image + image_tokens:prefix] = first[image + 1:shared]
        group[index, :prefix] = 0
        heads.append(image)
        start = prefix
        for number, (own, labels, mask) in enumerate(rows):
            place = lambda k: start + k - shared if k >= shared else (k - 1 + image_tokens if k > image else k)
            size = len(own) - shared
            ids[index, start:start + size] = own[shared:]
            positions[index, start:start + size] = prefix + torch.arange(size)
            group[index, start:start + size] = number + 1
            for k in range(1, len(own)):
                if labels[k] != -100:
                    targets[index, place(k - 1)] = labels[k]
                if own[k] == seg:
                    predictors.append((index, place(k - 1), mask))
            start += size
    same = (group[:, :, None] == group[:, None, :]) | (group[:, None, :] == 0)
    allowed = same & torch.ones(length, length, dtype=torch.bool).tril() | torch.eye(length, dtype=torch.bool)
    bias = torch.zeros(count, 1, length, length).masked_fill_(~allowed[:, None], torch.finfo(torch.float32).min)
    return ids, positions, bias, targets, heads, predictors


def losses(read, items, packed, settings):
    ids, positions, bias, targets, heads, predictors = packed
    tokens, model = read.image_tokens, read.model
    image = model.mm_projector(read.clip_features(torch.stack([clip for clip, _, _ in items])))
    embedded = model.embed_tokens(ids).clone()
    for index, at in enumerate(heads):
        embedded[index, at:at + tokens] = image[index]
    states = model(inputs_embeds=embedded, attention_mask=bias, position_ids=positions, use_cache=False).last_hidden_state
    wanted = targets != -100
    ce = F.cross_entropy(read.lm_head(states[wanted]), targets[wanted])
    rows = torch.tensor([index for index, _, _ in predictors])
    seg = states[rows, torch.tensor([at for _, at, _ in predictors])]
    similarity = torch.stack([(states[i, heads[i]:heads[i] + tokens] * s).sum(-1) for i, s in zip(rows.tolist(), seg)])
    size = predictors[0][2].shape
    found = [sasp(s, *size, settings) for s in similarity]
    points = torch.stack([f["points"] for f in found]) * (read.sam.image_size / max(size))
    labels = torch.stack([f["point_labels"] for f in found])
    embedding = read.sam.image_encoder(torch.stack([sam for _, sam, _ in items]))[rows]
    low_res, _ = read.sam.decode(embedding, model.text_hidden_fcs[0](seg), points, labels)
    logits = read.full_size(low_res, *size)[:, 0]
    truth = torch.stack([mask for _, _, mask in predictors]).float()
    bce = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean((1, 2)).mean()
    p = logits.sigmoid()
    dice = (1 - (2 * (p * truth).sum((1, 2)) / 1000 + 1e-6) / ((p.sum((1, 2)) + truth.sum((1, 2))) / 1000 + 1e-6)).mean()
    return {"loss": ce + 2 * bce + 0.5 * dice, "ce_loss": ce, "mask_bce_loss": 2 * bce, "mask_dice_loss": 0.5 * dice}


def main(folder, batch, steps=8):
    torch.set_num_threads(2)
    read, tokenizer = load(folder)
    system = json.loads((Path(folder) / "maskwise.json").read_text())
    points = system["similarity_points"]
    for module in read.modules():
        if isinstance(module, DecoderAttention):
            module.heads = system["sam_decoder_heads"]
    settings = Sasp(num_points=points["num_points"], t_pos=points["thresholds"]["fixed"]["t_pos"],
                    t_neg=points["thresholds"]["fixed"]["t_neg"], down_sample=points["down_sample"])
    items = read_batch(batch)
    parameters = list(read.parameters()) + list(read.tower[0].parameters())
    optimiser = torch.optim.AdamW(parameters, lr=0.0, betas=(0.9, 0.95), weight_decay=0.0)
    packed = pack(items, read.image_tokens, tokenizer.seg)
    times = []
    for step in range(steps + 1):
        start = time.perf_counter()
        terms = losses(read, items, packed, settings)
        optimiser.zero_grad(set_to_none=True)
        terms["loss"].backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        times.append(time.perf_counter() - start)
    print({name: float(value.detach()) for name, value in terms.items()})
    times = sorted(times[1:])
    print(f"median {times[len(times) // 2]:.3f} s a step, best {times[0]:.3f} s, peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:4]))
