"""The READ computation in PyTorch, readable from top to bottom: the reference behind the tiny checkpoint.

CLIP tower and LLaMA are `transformers` modules; SAM is `sam_reference.py`; splice, [SEG] state, SasP and
discrete-to-continuous points follow the published code. Every width comes from the checkpoint's own files.

    python tiny_read.py                      SAM against transformers, tokenizer round trip
    python tiny_read.py CHECKPOINT GOLDENS   this code against recorded tensors of the official implementation
"""
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy
import sentencepiece
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaModel

from sam_reference import Sam, compare_with_transformers

IMAGE = -200  # placeholder id of the image inside the prompt
SYSTEM = ("A chat between a curious {who} and an artificial intelligence assistant. "
          "The assistant gives helpful, detailed, and polite answers to the {who}'s questions.")
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
SAM_MEAN, SAM_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
MAP_SIZE = 336  # the published code resizes the similarity map to this, whatever the tower's input size


@dataclass
class Sasp:
    """Similarity-as-points settings; `num_points` 0 is the text-only prompt (LISA, SESAME)."""
    num_points: int = 12
    t_pos: float = 0.8
    t_neg: float = 0.2
    down_sample: int = 1


class Tokenizer:
    """SentencePiece with the slow LLaMA tokenizer's legacy rules for added tokens."""

    def __init__(self, folder):
        self.pieces = sentencepiece.SentencePieceProcessor(model_file=str(Path(folder) / "tokenizer.model"))
        self.added = json.loads((Path(folder) / "added_tokens.json").read_text())
        self.seg, self.special = self.added["[SEG]"], {"<unk>": 0, "<s>": 1, "</s>": 2}

    def encode(self, text):
        """Ids without BOS. Added tokens strip the blanks around them; `</s>` does not."""
        whole = {**self.added, **self.special}
        ids, start, at = [], 0, 0
        while at <= len(text):
            token = next((t for t in whole if text.startswith(t, at)), None)
            if token is None and at < len(text):
                at += 1
                continue
            piece = text[start:at]
            piece = piece.rstrip() if token in self.added else piece
            ids += self.pieces.encode(piece) if piece else []
            if token is None:
                break
            ids.append(whole[token])
            at += len(token)
            while token in self.added and text[at:at + 1].isspace():
                at += 1
            start = at
        return ids

    def prompt(self, text):
        """Ids with BOS and one IMAGE placeholder, as the prompt goes to the model."""
        before, after = text.split("<image>")
        return [1] + self.encode(before) + [IMAGE] + self.encode(after)

    def decode(self, ids):
        """Text without <s>, </s>, <unk>; added tokens stand between blanks."""
        names = {i: t for t, i in self.added.items()}
        parts, run = [], []
        for i in list(ids) + [None]:
            if i is None or i in names:
                parts += [self.pieces.decode(run)] if run else []
                parts += [names[i]] if i is not None else []
                run = []
            elif i > 2:
                run.append(i)
        return " ".join(parts)


def conversation(question, answer=None, who="user"):
    """One turn of the `vicuna_v1` conversation (`who="human"`: `llava_v1`)."""
    text = f"{SYSTEM.format(who=who)} USER: <im_start><image><im_end>\n{question} ASSISTANT:"
    return text if answer is None else f"{text} {answer}</s>"


def clip_pixels(image, size):
    """(3, size, size): bicubic to the short edge, centre crop, normalise."""
    width, height = image.size
    short = min(width, height)
    image = image.resize((int(size * width / short), int(size * height / short)), Image.BICUBIC)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    pixels = (numpy.asarray(image.crop((left, top, left + size, top + size))) * (1 / 255)).astype(numpy.float32)
    return torch.from_numpy((pixels - numpy.float32(CLIP_MEAN)) / numpy.float32(CLIP_STD)).permute(2, 0, 1).contiguous()


def sam_size(width, height, size):
    """(h, w) of the picture inside the square SAM frame."""
    scale = size / max(width, height)
    return int(height * scale + 0.5), int(width * scale + 0.5)


def sam_pixels(image, size):
    """(3, size, size): bilinear to the long edge, normalise, zero pad right and below."""
    height, width = sam_size(*image.size, size)
    pixels = torch.from_numpy(numpy.array(image.resize((width, height), Image.BILINEAR))).permute(2, 0, 1).float()
    pixels = (pixels - torch.tensor(SAM_MEAN)[:, None, None]) / torch.tensor(SAM_STD)[:, None, None]
    return F.pad(pixels, (0, size - width, 0, size - height))


def bilinear(x, size):
    """Bilinear resize of the last two axes, no antialias, corners not aligned."""
    return F.interpolate(x.reshape(1, -1, *x.shape[-2:]), size, mode="bilinear", align_corners=False).reshape(*x.shape[:-2], *size)


def padding(height, width, target):
    """(pad_h, pad_w) that give a centre-crop map the picture's shape; -1 happens and crops."""
    scale = target / min(height, width)
    return (int(height * scale) - target) // 2, (int(width * scale) - target) // 2


def normalise(x):
    return (x - x.min()) / (x.max() - x.min())


def sasp(similarity, height, width, settings, continuous=True):
    """Similarity as points for one [SEG]: `similarity` (N,) of a square patch grid -> dict of every step."""
    side = int(similarity.numel() ** 0.5)
    grid = similarity.reshape(side, side).float()
    cells = side // settings.down_sample
    pad_h, pad_w = padding(height, width, cells)
    selection = F.pad(normalise(bilinear(grid, (cells, cells))), (pad_w, pad_w, pad_h, pad_h), value=-1.0)
    rows, cols = selection.shape
    q = selection.detach().flatten()
    positive, negative = (q >= settings.t_pos).nonzero()[:, 0], ((q >= 0) & (q <= settings.t_neg)).nonzero()[:, 0]
    positive = positive[q[positive].argsort(descending=True, stable=True)]
    negative = negative[q[negative].argsort(stable=True)]
    neutral = ((q > settings.t_neg) & (q < settings.t_pos)).nonzero()[:, 0]
    chosen = torch.cat([positive, negative, neutral])[:settings.num_points]
    labels = torch.where(q[chosen] >= settings.t_pos, 1, torch.where(q[chosen] <= settings.t_neg, 0, -1))
    x = ((chosen % cols + 0.5) * (width / cols)).clamp(max=width - 1).long()
    y = ((chosen // cols + 0.5) * (height / rows)).clamp(max=height - 1).long()
    result = {"selection_map": selection, "cell_index": chosen, "point_labels": labels, "points_discrete": torch.stack([x, y], -1)}
    if not continuous:
        result["points"] = result["points_discrete"].float()
        return result
    pad_h, pad_w = padding(height, width, MAP_SIZE)
    fine = bilinear(normalise(similarity).reshape(side, side).float(), (MAP_SIZE, MAP_SIZE))
    fine = bilinear(F.pad(fine, (pad_w, pad_w, pad_h, pad_h)), (height, width))
    ys, xs = torch.meshgrid(torch.arange(height).float(), torch.arange(width).float(), indexing="ij")
    probability = fine.flatten().softmax(0)
    squared = (xs.flatten() - x[:, None]) ** 2 + (ys.flatten() - y[:, None]) ** 2
    weight = torch.exp(-squared) * probability
    weight = weight / weight.sum(1, keepdim=True)
    result["sim_full"] = fine
    result["points"] = torch.stack([weight @ xs.flatten(), weight @ ys.flatten()], -1)
    return result


class Read(nn.Module):
    """READ with the official parameter names; the CLIP tower is kept apart, as the published folders do."""

    def __init__(self, llama, clip, sam, select_layer=-2):
        super().__init__()
        llama._attn_implementation = clip._attn_implementation = "sdpa"
        hidden, prompt = llama.hidden_size, sam.prompt_encoder.no_mask_embed.embedding_dim
        self.model = LlamaModel(llama)
        self.model.mm_projector = nn.Sequential(nn.Linear(clip.hidden_size, hidden), nn.GELU(), nn.Linear(hidden, hidden))
        self.model.text_hidden_fcs = nn.ModuleList([nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, prompt))])
        self.model.visual_model = sam
        self.lm_head = nn.Linear(hidden, llama.vocab_size, bias=False)
        self.tower = [CLIPVisionModel(clip)]  # in a list: not part of this module's state
        self.select_layer, self.image_tokens = select_layer, (clip.image_size // clip.patch_size) ** 2

    @property
    def sam(self):
        return self.model.visual_model

    def clip_features(self, pixels):
        """(B, 3, S, S) -> (B, N, width): hidden_states[select_layer] without the class token."""
        return self.tower[0](pixels, output_hidden_states=True).hidden_states[self.select_layer][:, 1:]

    def splice(self, ids, image):
        """ids (T,) with one IMAGE placeholder, image (N, d) -> (T - 1 + N, d), index of the first image row."""
        at = (ids == IMAGE).nonzero()[0, 0]
        embed = self.model.embed_tokens
        return torch.cat([embed(ids[:at]), image, embed(ids[at + 1:])]), int(at)

    def states(self, embedded, trace=None):
        """(L, d) -> post-norm last states (L, d); causal, positions 0..L-1."""
        hooks = [layer.register_forward_hook(lambda _m, _i, out, i=i: trace.update({f"llm_layer{i}": out[0] if isinstance(out, tuple) else out}))
                 for i, layer in enumerate(self.model.layers)] if trace is not None else []
        states = self.model(inputs_embeds=embedded[None], use_cache=False).last_hidden_state[0]
        for hook in hooks:
            hook.remove()
        return states

    def look(self, image, trace=None):
        """Everything that depends on the picture alone."""
        trace = {} if trace is None else trace
        trace["clip_pixels"] = clip_pixels(image, self.tower[0].config.image_size)
        trace["clip_features"] = self.clip_features(trace["clip_pixels"][None])[0]
        trace["image_tokens"] = self.model.mm_projector(trace["clip_features"])
        trace["sam_pixels"] = sam_pixels(image, self.sam.image_size)
        trace["sam_embedding"] = self.sam.image_encoder(trace["sam_pixels"][None], trace)[0]
        trace["original_size"] = (image.height, image.width)
        return trace

    def generate(self, ids, scene, max_new_tokens=24):
        """Greedy: full ids, logits of each step, margin between the two best of each step."""
        ids, logits = list(ids), []
        for _ in range(max_new_tokens):
            embedded, _ = self.splice(torch.tensor(ids), scene["image_tokens"])
            logits.append(self.lm_head(self.states(embedded)[-1]))
            ids.append(int(logits[-1].argmax()))
            if ids[-1] == 2:
                break
        return ids, torch.stack(logits)

    def masks(self, ids, scene, seg, settings, trace=None):
        """One forward over the ids and a mask for each [SEG] in them: list of logits (H, W)."""
        trace = {} if trace is None else trace
        height, width = scene["original_size"]
        ids = torch.tensor(ids)
        embedded, first = self.splice(ids, scene["image_tokens"])
        trace["embedded"] = embedded
        trace["hidden_last"] = states = self.states(embedded, trace)
        trace["logits_tail"] = self.lm_head(states[-24:])
        results = []
        for number, j in enumerate((ids == seg).nonzero()[:, 0].tolist()):
            one = trace.setdefault(f"seg{number}", {})
            one["seg_hidden_index"] = at = j - 1 + self.image_tokens - 1
            one["sim_raw"] = (states[first:first + self.image_tokens] * states[at]).sum(-1)
            one["seg_embedding"] = self.model.text_hidden_fcs[0](states[at])
            points = labels = None
            if settings.num_points:
                one.update(sasp(one["sim_raw"], height, width, settings))
                new_h, new_w = sam_size(width, height, self.sam.image_size)
                one["points_sam_frame"] = one["points"] * torch.tensor([new_w / width, new_h / height])
                points, labels = one["points_sam_frame"][None], one["point_labels"][None]
            low_res, iou = self.sam.decode(scene["sam_embedding"][None], one["seg_embedding"][None], points, labels, one)
            one["low_res"], one["iou"] = low_res[0], iou[0]
            one["final_logits"] = self.full_size(low_res, height, width)[0, 0]
            results.append(one["final_logits"])
        return results

    def full_size(self, low_res, height, width):
        """(B, 1, h, w) mask logits of the square frame -> (B, 1, H, W) of the picture."""
        frame = bilinear(low_res, (self.sam.image_size, self.sam.image_size))
        new_h, new_w = sam_size(width, height, self.sam.image_size)
        return bilinear(frame[..., :new_h, :new_w], (height, width))


def tower_folder(folder, config):
    """The tower beside or inside the model folder, as config.json names it."""
    return next(p for p in (Path(folder) / config["vision_tower"], Path(folder).parent / config["vision_tower"]) if p.is_dir())


def load(folder):
    """(Read in f32, Tokenizer) of a published-layout folder."""
    config = json.loads((Path(folder) / "config.json").read_text())
    state = {k: v.float() for k, v in load_file(Path(folder) / "model.safetensors").items() if "rotary_emb" not in k}
    prefix = "model.visual_model."
    sam = Sam.like({k[len(prefix):]: v for k, v in state.items() if k.startswith(prefix)})
    keys = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "vocab_size",
            "rms_norm_eps", "max_position_embeddings", "hidden_act", "tie_word_embeddings")
    tower = tower_folder(folder, config)
    clip = CLIPVisionConfig(**{k: v for k, v in json.loads((tower / "config.json").read_text()).items() if not k.startswith(("arch", "trans", "torch"))})
    read = Read(LlamaConfig(**{k: config[k] for k in keys}), clip, sam, config["mm_vision_select_layer"])
    read.load_state_dict(state)
    read.tower[0].load_state_dict({k.removeprefix("vision_model."): v.float() for k, v in load_file(tower / "model.safetensors").items()})
    read.tower[0].eval()
    return read.eval(), Tokenizer(folder)


def save_tensors(read, folder):
    """Both weight files in bf16 with the official names."""
    def half(state, prefix=""):
        return {prefix + k: v.detach().to(torch.bfloat16).contiguous().clone() for k, v in state.items()}
    save_file(half(read.state_dict()), Path(folder) / "model.safetensors", {"format": "pt"})
    save_file(half(read.tower[0].state_dict(), "vision_model."), Path(folder) / "clip" / "model.safetensors", {"format": "pt"})


def compare_with_recordings(checkpoint, goldens):
    """Largest relative difference of each recorded tensor of the official implementation from this code."""
    read, tokenizer = load(checkpoint)
    manifest = json.loads((Path(goldens) / "read.manifest.json").read_text())
    recorded, about = load_file(Path(goldens) / "read.safetensors"), {t["name"]: t for t in manifest["tensors"]}
    renamed = {"sim_down_padded": "selection_map", "points_continuous": "points"}

    def difference(name, ours):
        entry = about[name]
        ours = ours.reshape(entry.get("full_shape", entry["shape"]))
        for axis, (start, step) in enumerate(zip(entry.get("offset", [0] * 9), entry.get("stride", []))):
            ours = ours[(slice(None),) * axis + (slice(start, None, step),)]
        theirs = recorded[name].float()
        return float((ours.float().reshape(theirs.shape) - theirs).abs().max() / theirs.abs().max())

    report = {}
    for text in manifest["values"]["tokenizer_cases"]["value"]:
        assert [1] + tokenizer.encode(text["text"]) == text["ids"], text
    for case in manifest["values"]["cases"]["value"]:
        scene = read.look(Image.open(Path(goldens) / case["image"]).convert("RGB"))
        for mode in ("tf", "ev"):
            start = f"{case['name']}/{mode}/"
            ids = tokenizer.prompt(case[mode + "_prompt"])
            assert ids == recorded[start + "input_ids"][0].tolist(), (ids, start)
            if mode == "ev":
                ids, _ = read.generate(ids, scene)
                assert ids == recorded[start + "output_ids"][0].tolist(), start
                assert tokenizer.decode(ids[len(recorded[start + "input_ids"][0]):]) == case["ev_text"]
                ids = ids[:-1]
            trace = {}
            read.masks(ids, scene, tokenizer.seg, Sasp(30, 0.8, 0.2, 2), trace)
            for name in (n for n in about if n.startswith(start) and n in recorded):
                key = renamed.get(name[len(start):], name[len(start):])
                ours = trace.get(key, trace.get("seg0", {}).get(key))
                if ours is not None:
                    report[name] = difference(name, ours)
        for key in ("clip_pixels", "clip_features", "image_tokens", "sam_pixels", "sam_embedding"):
            name = f"{Path(case['image']).stem}/{key}"
            if name in recorded:
                report[name] = difference(name, scene[key])
    return report


if __name__ == "__main__":
    torch.set_num_threads(1)
    with torch.no_grad():
        if len(sys.argv) == 3:
            rows = compare_with_recordings(*sys.argv[1:])
            for name, value in sorted(rows.items(), key=lambda row: -row[1])[:12]:
                print(f"{value:.2e}  {name}")
            print(len(rows), "tensors compared")
        else:
            print("largest relative difference from transformers.SamModel:", compare_with_transformers())
