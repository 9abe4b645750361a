"""Builds, trains and measures the tiny checkpoint on procedural pictures.

    python train_tiny_read.py init   OUT              tokenizer, configs and random weights
    python train_tiny_read.py train  OUT [MINUTES]    all parts jointly, from what OUT holds, saved as it goes
    python train_tiny_read.py measure OUT [PICTURES]  IoU and refusals on held-out pictures, by generation

Loss: cross entropy + 2 BCE + 0.5 DICE as published, and two terms of our own that make so small a model learn
quickly: BCE of the similarity map against the mask's coverage of each cell, and the error of the predicted IoU.
The first answer token, which decides presence, weighs more; the attention of a few heads at the last prompt token
is drawn to the asked object, or to the first token when there is none. Two steps of three leave SAM out.
Training uses the integer points (discrete-to-continuous moves them by less than 0.02 px). All questions of a
picture share one image prefix in one sequence; an attention mask keeps them apart, which equals separate rows.
"""
import io
import json
import math
import random
import sys
import time
from pathlib import Path

import numpy
import sentencepiece
import torch
import torch.nn.functional as F
from transformers import CLIPVisionConfig, LlamaConfig

import shape_pictures
from sam_reference import Sam
from tiny_read import IMAGE, SYSTEM, Read, Sasp, Tokenizer, clip_pixels, conversation, load, sam_pixels, sam_size, sasp, save_tensors

VOCAB = 480
SETTINGS = Sasp()
LLAMA = dict(hidden_size=96, intermediate_size=256, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=4, vocab_size=VOCAB + 3,
             rms_norm_eps=1e-5, max_position_embeddings=2048, hidden_act="silu", tie_word_embeddings=False)
CLIP = dict(hidden_size=64, intermediate_size=256, num_hidden_layers=4, num_attention_heads=4, image_size=112, patch_size=14,
            hidden_act="quick_gelu", layer_norm_eps=1e-5, num_channels=3, projection_dim=32)
SELECT_LAYER = -2
SIDE = CLIP["image_size"] // CLIP["patch_size"]
FIRST_TOKEN_WEIGHT = 6.0
LOOKING_HEADS = ((1, 0), (2, 0), (2, 1))  # (layer, head)


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2) + "\n")


def write_folder(out):
    """Everything of the published layout except the weights."""
    (out / "clip").mkdir(parents=True, exist_ok=True)
    text = list(shape_pictures.sentences()) + [SYSTEM.format(who=w) for w in ("user", "human")] * 40 + ["USER: ASSISTANT:"] * 80
    text += ["Is there a photo of one or two more things, and which of them can you see here?", "abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ ,.!?'-"] * 4
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text), model_writer=model, model_type="bpe", vocab_size=VOCAB, byte_fallback=True, split_digits=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, allow_whitespace_only_pieces=True, character_coverage=1.0,
        unk_id=0, bos_id=1, eos_id=2, pad_id=-1, num_threads=1, minloglevel=2)
    (out / "tokenizer.model").write_bytes(model.getvalue())
    token = {t: {"content": t, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False} for t in ("<s>", "</s>", "<unk>")}
    write_json(out / "added_tokens.json", {"[SEG]": VOCAB, "<im_start>": VOCAB + 1, "<im_end>": VOCAB + 2})
    write_json(out / "special_tokens_map.json", {"bos_token": token["<s>"], "eos_token": token["</s>"], "pad_token": "<unk>", "unk_token": token["<unk>"]})
    write_json(out / "tokenizer_config.json", {
        "add_bos_token": True, "add_eos_token": False, "clean_up_tokenization_spaces": False, "legacy": True, "model_max_length": 2048,
        "pad_token": None, "padding_side": "right", "sp_model_kwargs": {}, "tokenizer_class": "LlamaTokenizer",
        **{k: {"__type": "AddedToken", **token[v]} for k, v in (("bos_token", "<s>"), ("eos_token", "</s>"), ("unk_token", "<unk>"))}})
    write_json(out / "generation_config.json", {"_from_model_config": True, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0})
    write_json(out / "config.json", {
        "architectures": ["READForCausalLM"], "model_type": "llava", "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, **LLAMA,
        "rope_scaling": None, "pretraining_tp": 1, "use_cache": False, "torch_dtype": "bfloat16", "image_aspect_ratio": "square",
        "mm_hidden_size": CLIP["hidden_size"], "mm_projector_type": "mlp2x_gelu", "mm_use_im_patch_token": False, "mm_use_im_start_end": True,
        "mm_vision_select_feature": "patch", "mm_vision_select_layer": SELECT_LAYER, "mm_vision_tower": "clip", "vision_tower": "clip",
        "out_dim": 64, "train_mask_decoder": True, "tune_mm_mlp_adapter": False, "use_mm_proj": True})
    write_json(out / "clip" / "config.json", {"architectures": ["CLIPVisionModel"], "model_type": "clip_vision_model", "torch_dtype": "bfloat16", **CLIP})
    size = CLIP["image_size"]
    write_json(out / "clip" / "preprocessor_config.json", {
        "crop_size": {"height": size, "width": size}, "do_center_crop": True, "do_convert_rgb": True, "do_normalize": True, "do_rescale": True,
        "do_resize": True, "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711],
        "image_processor_type": "CLIPImageProcessor", "resample": 3, "rescale_factor": 1 / 255, "size": {"shortest_edge": size}})


def fresh_model():
    torch.manual_seed(7)
    sam = Sam()
    read = Read(LlamaConfig(**LLAMA), CLIPVisionConfig(**CLIP), sam, SELECT_LAYER)
    with torch.no_grad():
        for name, value in read.state_dict().items():
            if name.endswith(("rel_pos_h", "rel_pos_w", "pos_embed")):
                value.normal_(std=0.02)
            elif ".layers." in name and "visual_model" not in name and name.endswith("proj.weight"):
                value.normal_(std=value.shape[1] ** -0.5 * (0.5 if name.endswith(("o_proj.weight", "down_proj.weight")) else 1))
            elif name.endswith("embed_tokens.weight"):
                value.normal_(std=0.3)
        for name, value in read.tower[0].state_dict().items():
            if name.endswith(("proj.weight", "fc1.weight", "fc2.weight")):
                value.normal_(std=value.shape[1] ** -0.5 * (0.5 if "out_proj" in name or "fc2" in name else 1))
            elif "embeddings" in name:
                value.normal_(std=0.05)
    return read


# ---------------------------------------------------------------------------------------------------------------
# One training step


class Batch:
    """Several pictures, each with its packed questions; `language_only` leaves the SAM input and targets out."""

    def __init__(self, seeds, tokenizer, items, mix, language_only=False):
        prefix, tail = tokenizer.prompt(conversation("@")), None
        self.at = prefix.index(IMAGE)
        self.head = prefix[:self.at]
        pictures = [shape_pictures.sample(seed, items, mix) for seed in seeds]
        self.clip = torch.stack([clip_pixels(p.image, CLIP["image_size"]) for p, _ in pictures])
        self.sam = None if language_only else torch.stack([sam_pixels(p.image, 256) for p, _ in pictures])
        self.rows, self.sizes, self.targets, self.valid, self.looks = [], [], [], [], []
        for index, (picture, asked) in enumerate(pictures):
            height, width = picture.image.height, picture.image.width
            new_h, new_w = sam_size(width, height, 256)
            branches = []
            for item in asked:
                asked_ids = tokenizer.prompt(conversation(item.question))[self.at + 1:]
                ids = tokenizer.prompt(conversation(item.question, item.answer))[self.at + 1:]
                branches.append((ids, len(asked_ids), item.masks))
                look = torch.zeros(1 + SIDE * SIDE)
                look[0] = not item.masks
                for mask in item.masks:
                    cover = torch.from_numpy(mask).float()[None, None]
                    cells = crop_cover(cover, SIDE)
                    look[1:] += cells
                    if language_only:
                        self.targets.append((None, index, cells))
                        continue
                    target = torch.zeros(1, 1, 256, 256)
                    target[..., :new_h, :new_w] = F.interpolate(cover, (new_h, new_w), mode="bilinear", antialias=True)
                    self.targets.append((F.avg_pool2d(target, 2)[0, 0], index, cells))
                self.looks.append(look / look.sum())
            valid = torch.zeros(256, 256)
            valid[:new_h, :new_w] = 1
            self.valid.append(valid[::2, ::2])
            self.rows.append(branches)
            self.sizes.append((height, width))


def crop_cover(mask, side):
    """Coverage of each patch of the tower's centre crop, (side * side,)."""
    height, width = mask.shape[-2:]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    return F.adaptive_avg_pool2d(mask[..., top:top + short, left:left + short], side).flatten()


def pack(batch, image_tokens, seg):
    """Packed ids, positions, attention bias, labels, their weights and the [SEG] predictors of every picture."""
    prefix = len(batch.head) + image_tokens
    length = prefix + max(sum(len(ids) for ids, _, _ in row) for row in batch.rows)
    count = len(batch.rows)
    ids = torch.zeros(count, length, dtype=torch.long)
    positions = torch.arange(length).repeat(count, 1)
    labels = torch.full((count, length), -100)
    weights = torch.ones(count, length)
    group = torch.full((count, length), -1)
    group[:, :prefix] = 0
    predictors, lookers = [], []
    for index, row in enumerate(batch.rows):
        start = prefix
        for number, (branch, asked, _) in enumerate(row):
            end = start + len(branch)
            ids[index, start:end] = torch.tensor(branch)
            positions[index, start:end] = prefix + torch.arange(len(branch))
            group[index, start:end] = number + 1
            labels[index, start + asked:end] = ids[index, start + asked:end]
            weights[index, start + asked] = FIRST_TOKEN_WEIGHT
            lookers.append((index, start + asked - 1))
            predictors += [(index, start + j - 1) for j, token in enumerate(branch) if token == seg]
            start = end
    same = (group[:, :, None] == group[:, None, :]) | (group[:, None, :] == 0)
    allowed = same & torch.ones(length, length, dtype=torch.bool).tril() | torch.eye(length, dtype=torch.bool)
    bias = torch.zeros(count, 1, length, length).masked_fill_(~allowed[:, None], torch.finfo(torch.float32).min)
    return ids, positions, bias, labels, weights, predictors, lookers


def step_losses(read, batch, tokenizer):
    count, head = len(batch.rows), torch.tensor(batch.head)
    image = read.model.mm_projector(read.clip_features(batch.clip))
    ids, positions, bias, labels, weights, predictors, lookers = pack(batch, read.image_tokens, tokenizer.seg)
    embed = read.model.embed_tokens
    prefix = len(head) + read.image_tokens
    embedded = torch.cat([embed(head).expand(count, -1, -1), image, embed(ids[:, prefix:])], 1)
    result = read.model(inputs_embeds=embedded, attention_mask=bias, position_ids=positions, use_cache=False, output_attentions=True)
    states = result.last_hidden_state
    wanted = labels[:, 1:] != -100
    each = F.cross_entropy(read.lm_head(states[:, :-1][wanted]), labels[:, 1:][wanted], reduction="none")
    weights = weights[:, 1:][wanted]
    losses = {"ce": (each * weights).sum() / weights.sum(), "presence": each[weights > 1].mean().detach()}
    where, looks = torch.tensor(lookers), torch.stack(batch.looks)
    visible = [0, *range(len(head), prefix)]
    losses["look"] = sum(-(looks * (result.attentions[layer][where[:, 0], head_index, where[:, 1]][:, visible] + 1e-6).log()).sum(1).mean()
                         for layer, head_index in LOOKING_HEADS) / len(LOOKING_HEADS)
    rows = torch.tensor([i for i, _ in predictors])
    seg = states[rows, torch.tensor([j for _, j in predictors])]
    similarity = (states[rows, len(head):prefix] * seg[:, None]).sum(-1)
    cover = torch.stack([c for _, _, c in batch.targets])
    losses["sim"] = F.binary_cross_entropy_with_logits(similarity / 10, cover)
    if batch.sam is None:
        losses["total"] = losses["ce"] + 0.5 * losses["sim"] + 0.3 * losses["look"]
        return losses, None
    points, point_labels = [], []
    for i, s in zip(rows.tolist(), similarity.detach()):
        height, width = batch.sizes[i]
        found = sasp(s, height, width, SETTINGS, continuous=False)
        new_h, new_w = sam_size(width, height, 256)
        points.append(found["points"] * torch.tensor([new_w / width, new_h / height]))
        point_labels.append(found["point_labels"])
    embedding = read.sam.image_encoder(batch.sam)[rows]
    low_res, iou = read.sam.decode(embedding, read.model.text_hidden_fcs[0](seg), torch.stack(points), torch.stack(point_labels))
    logits = F.interpolate(low_res, (128, 128), mode="bilinear", align_corners=False)[:, 0]
    target, valid = torch.stack([t for t, _, _ in batch.targets]), torch.stack(batch.valid)[rows]
    bce = F.binary_cross_entropy_with_logits(logits, target, reduction="none") * valid
    losses["bce"] = (bce.sum((1, 2)) / valid.sum((1, 2))).mean()
    p = logits.sigmoid() * valid
    losses["dice"] = (1 - (2 * (p * target).sum((1, 2)) / 1000 + 1e-6) / ((p.sum((1, 2)) + target.sum((1, 2))) / 1000 + 1e-6)).mean()
    inside, real = (logits > 0) & (valid > 0), target > 0.5
    true_iou = (inside & real).sum((1, 2)) / (inside | real).sum((1, 2)).clamp(min=1)
    losses["iou_error"] = F.mse_loss(iou[:, 0], true_iou.float())
    losses["total"] = losses["ce"] + 2 * losses["bce"] + 0.5 * losses["dice"] + 0.5 * losses["sim"] + 0.1 * losses["iou_error"] + 0.3 * losses["look"]
    return losses, float(true_iou.float().mean())


def train(out, minutes, peak=1.5e-3, warmup=60):
    """Cosine schedule over wall time; the weights are saved every two minutes and at the end."""
    read, tokenizer = load(out)
    read.train()
    read.model.set_attn_implementation("eager")  # returns the attention weights
    read.tower[0].train()
    parameters = list(read.parameters()) + list(read.tower[0].parameters())
    optimiser = torch.optim.AdamW(parameters, lr=peak, betas=(0.9, 0.95), weight_decay=0.01)
    start, saved, step, average = time.time(), time.time(), 0, {}
    seed = 1_000_000 + random.SystemRandom().randrange(1 << 40)
    while (done := (time.time() - start) / (60 * minutes)) < 1:
        for group in optimiser.param_groups:
            group["lr"] = peak * min(1, (step + 1) / warmup) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
        language_only = step % 3 != 0
        pictures, items, mix = (6, 12, (0.30, 0.35 - 0.15 * (1 - done), 0.25 + 0.15 * (1 - done))) if language_only else (4, 6, (0.45, 0.20, 0.20))
        batch = Batch(range(seed, seed + pictures), tokenizer, items, mix, language_only)
        seed += pictures
        step += 1
        if not batch.targets:
            continue
        losses, iou = step_losses(read, batch, tokenizer)
        optimiser.zero_grad(set_to_none=True)
        losses.pop("total").backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        figures = {k: float(v.detach()) for k, v in losses.items()} | ({} if iou is None else {"iou": iou})
        average |= {k: 0.97 * average.get(k, v) + 0.03 * v for k, v in figures.items()}
        if step % 30 == 0:
            print(f"{(time.time() - start) / 60:5.1f} min step {step} " + " ".join(f"{k} {v:.3f}" for k, v in average.items()), flush=True)
        if time.time() - saved > 120:
            save_tensors(read, out)
            saved = time.time()
    save_tensors(read, out)


def measure(out, pictures=150, first=0):
    """Greedy answers on held-out pictures: {kind: figures}."""
    read, tokenizer = load(out)
    ious, kinds = {}, {}
    inter = union = 0
    with torch.no_grad():
        for seed in range(first, first + pictures):
            picture, asked = shape_pictures.sample(seed)
            scene = read.look(picture.image)
            for item in asked:
                prompt = tokenizer.prompt(conversation(item.question))
                ids, _ = read.generate(prompt, scene)
                said = tokenizer.decode(ids[len(prompt):])
                kind = ("absent", "one [SEG]", "two [SEG]")[len(item.masks)]
                exact = said == item.answer.replace("[SEG].", "[SEG] .")
                kinds.setdefault(kind, []).append((exact, ("[SEG]" in said) == bool(item.masks)))
                masks = read.masks(ids[:-1], scene, tokenizer.seg, SETTINGS) if item.masks else []
                for i, truth in enumerate(item.masks):
                    mask = (masks[i] > 0).numpy() if i < len(masks) else numpy.zeros_like(truth)
                    both, either = (mask & truth).sum(), (mask | truth).sum()
                    ious.setdefault(kind, []).append(both / either)
                    inter, union = inter + both, union + either
    every = [v for values in ious.values() for v in values]
    print(f"{pictures} held-out pictures (seeds {first}..{first + pictures - 1}), {sum(map(len, kinds.values()))} questions, greedy generation, bf16 weights in f32")
    print(f"mean IoU {numpy.mean(every):.3f} over {len(every)} masks (a missing mask counts 0), cIoU over them {inter / union:.3f}")
    for kind, values in kinds.items():
        line = f"{kind}: {len(values)} questions, right presence {numpy.mean([b for _, b in values]):.3f}, exact text {numpy.mean([a for a, _ in values]):.3f}"
        print(line + (f", mean IoU {numpy.mean(ious[kind]):.3f}" if kind in ious else ""))


if __name__ == "__main__":
    torch.set_num_threads(1)
    verb, folder = sys.argv[1], Path(sys.argv[2])
    if verb == "init":
        write_folder(folder)
        save_tensors(fresh_model(), folder)
    elif verb == "train":
        train(folder, float(sys.argv[3]) if len(sys.argv) > 3 else 40)
    else:
        measure(folder, int(sys.argv[3]) if len(sys.argv) > 3 else 150)
