"""Records what `tiny_read.py` computes on the tiny checkpoint, f32 from bf16 weights, for the Rust tests.

    python record_tiny_read.py CHECKPOINT OUT SEED_ONE SEED_TWO SEED_NONE SEED_CROP

A case per seed of `shape_pictures.py`: one [SEG], two [SEG], a false premise, and a picture resized to a shape
for which the selection map is cropped instead of padded.
"""
import json
import sys
from pathlib import Path

import torch
import transformers
from PIL import Image
from safetensors.torch import save_file

import shape_pictures
from tiny_read import Sasp, conversation, load, sam_size

PICTURE = {  # name: (meaning, stride)
    "clip_pixels": ("CLIP input [3,S,S]", (1, 4, 4)),
    "clip_features": ("CLIP hidden_states[select_layer] without the class token [N,C]", (2, 1)),
    "image_tokens": ("mm_projector output [N,hidden]", (2, 1)),
    "sam_pixels": ("SAM input [3,S,S], normalised, zero padded right and below", (1, 8, 8)),
    "sam_patch_embed": ("SAM patch embedding before the position embedding [1,h,w,C]", (1, 3, 3, 2)),
    "sam_block": ("output of SAM encoder block {} [1,h,w,C]", (1, 3, 3, 2)),
    "sam_embedding": ("SAM neck output [C,h,w]", (2, 3, 3)),
}
SEQUENCE = {
    "embedded": ("text embeddings with the image tokens spliced in [L,hidden]", (5, 1)),
    "llm_layer": ("output of decoder layer {} [1,L,hidden]", (1, 8, 1)),
    "hidden_last": ("final RMS-normed states [L,hidden]; L = len(ids)-1+N", (4, 1)),
    "logits_tail": ("lm_head logits of the last 24 positions", (3, 1)),
}
SEG = {
    "sim_raw": ("<image state, [SEG] predictor state>, row-major side*side", None),
    "sim_down_padded": ("min-max normalised selection map with constant -1 padding [hq,wq]", None),
    "sim_full": ("min-max map resized to 336x336, zero padded, resized to the picture [H,W]", (8, 8)),
    "cell_index": ("flat indices into sim_down_padded in selection order", None),
    "point_labels": ("1 positive, 0 negative, -1 neutral", None),
    "points_discrete": ("(x,y) integer pixels of the picture", None),
    "points_continuous": ("(x,y) after discrete-to-continuous", None),
    "points_sam_frame": ("points scaled to the SAM frame, before the +0.5 [n,2]", None),
    "seg_embedding": ("text_hidden_fcs output at the position that predicts this [SEG]", None),
    "sparse": ("prompt tokens [1, n_points + 1 pad + 1 text, C]", None),
    "decoder_tokens_in": ("tokens entering the two-way transformer [1, 1 iou + 4 masks + sparse, C]", None),
    "decoder_states": ("tokens leaving the two-way transformer, after norm_final_attn", None),
    "low_res": ("low-resolution mask logits [1,h,w]", (1, 2, 2)),
    "iou": ("predicted IoU of that mask [1]", None),
    "final_logits": ("mask logits at the picture's size [H,W]", (6, 6)),
}
RENAMED = {"sim_down_padded": "selection_map", "points_continuous": "points"}


class Recorder:
    def __init__(self, out):
        self.out, self.tensors, self.entries = out, {}, []

    def put(self, name, tensor, meaning, stride=None):
        entry = {"name": name, "shape": None, "dtype": str(tensor.dtype).removeprefix("torch."), "meaning": meaning}
        if tensor.is_floating_point():
            t = tensor.double()
            entry["full_stats"] = {"mean": float(t.mean()), "std": float(t.std(correction=0)), "min": float(t.min()), "max": float(t.max()), "abs_sum": float(t.abs().sum())}
        if stride and any(step > 1 for step in stride):
            entry.update(full_shape=list(tensor.shape), stride=list(stride), offset=[step // 2 for step in stride])
            for axis, step in enumerate(stride):
                tensor = tensor[(slice(None),) * axis + (slice(step // 2, None, step),)]
        entry["shape"] = list(tensor.shape)
        self.tensors[name] = tensor.contiguous().clone()
        self.entries.append(entry)

    def table(self, start, values, table):
        for name, (meaning, stride) in table.items():
            key = RENAMED.get(name, name)
            numbered = [f"{key}{i}" for i in range(100) if f"{key}{i}" in values]
            for i, k in enumerate(numbered or [key]):
                if k in values:
                    self.put(start + (k if numbered else name), values[k], meaning.format(i), stride)

    def mask(self, name, logits, meaning):
        file = f"masks/{name.replace('/', '_')}.png"
        Image.fromarray(((logits > 0).numpy() * 255).astype("uint8")).save(self.out / file, optimize=True)
        self.entries.append({"name": name, "png": file, "shape": list(logits.shape), "meaning": meaning + " (PNG: 0/255)"})


def margins(one, settings):
    """How far the selection is from changing."""
    q = one["selection_map"].flatten()
    q = q[q >= 0]
    order = torch.cat([q[q >= settings.t_pos].sort(descending=True)[0], q[q <= settings.t_neg].sort()[0], q[(q > settings.t_neg) & (q < settings.t_pos)]])
    used, cut = order[:settings.num_points], order[settings.num_points - 1:settings.num_points + 1]
    return {"gap_at_the_num_points_cut": float(cut.diff().abs()[0]), "min_gap_between_cells": float(used.diff().abs().min()),
            "min_distance_to_thresholds": float(torch.min((q - settings.t_pos).abs().min(), (q - settings.t_neg).abs().min())),
            "num_pos": int((q >= settings.t_pos).sum()), "num_neg": int((q <= settings.t_neg).sum())}


def segments(recorder, start, trace, settings, info, mode):
    number = 0
    info[f"{mode}_seg_hidden_index"], info[f"{mode}_selection_margin"], info[f"{mode}_mask_area"] = [], [], []
    info[f"{mode}_pixels_within_1e-3_of_zero"] = []
    while (one := trace.get(f"seg{number}")) is not None:
        place = start if number == 0 else f"{start}seg{number}/"
        recorder.table(place, one, SEG)
        recorder.mask(place + "mask", one["final_logits"], "final_logits > 0")
        info[f"{mode}_seg_hidden_index"].append(one["seg_hidden_index"])
        info[f"{mode}_selection_margin"].append(margins(one, settings))
        info[f"{mode}_mask_area"].append(int((one["final_logits"] > 0).sum()))
        info[f"{mode}_pixels_within_1e-3_of_zero"].append(int((one["final_logits"].abs() < 1e-3).sum()))
        number += 1


def record(checkpoint, out, seeds):
    (out / "masks").mkdir(parents=True, exist_ok=True)
    (out / "images").mkdir(exist_ok=True)
    for old in [*(out / "masks").glob("*.png"), *(out / "images").glob("*.png")]:
        old.unlink()
    read, tokenizer = load(checkpoint)
    settings, recorder, cases = Sasp(), Recorder(out), []
    for number, (seed, kind) in enumerate(zip(seeds, (1, 2, 0, 1))):
        picture, items = shape_pictures.sample(seed)
        item = next(i for i in items if len(i.masks) == kind)
        image = picture.image.resize((330, 253), Image.BILINEAR) if number == 3 else picture.image
        name, file = f"c{number}", f"images/img{number}.png"
        image.save(out / file, optimize=True)
        scene = read.look(image)
        recorder.table(f"img{number}/", scene, PICTURE)
        height, width = scene["original_size"]
        info = {"name": name, "image": file, "seed": seed, "question": item.question, "answer": item.answer,
                "sam_input_size": list(sam_size(width, height, read.sam.image_size)), "original_size": [height, width],
                "tf_prompt": conversation(item.question, item.answer), "ev_prompt": conversation(item.question)}
        ids, trace = tokenizer.prompt(info["tf_prompt"]), {}
        recorder.put(f"{name}/tf/input_ids", torch.tensor([ids]), "teacher-forced ids; -200 stands for the image")
        read.masks(ids, scene, tokenizer.seg, settings, trace)
        recorder.table(f"{name}/tf/", trace, SEQUENCE)
        segments(recorder, f"{name}/tf/", trace, settings, info, "tf")
        if number == 0:
            trace = {}
            read.masks(ids, scene, tokenizer.seg, Sasp(num_points=0), trace)
            one = trace["seg0"]
            recorder.table(f"{name}/sesame/", one, {k: SEG[k] for k in ("sparse", "decoder_states", "low_res", "iou", "final_logits")})
            recorder.mask(f"{name}/sesame/mask", one["final_logits"], "text-only prompt")
        prompt = tokenizer.prompt(info["ev_prompt"])
        ids, logits = read.generate(prompt, scene)
        recorder.put(f"{name}/ev/input_ids", torch.tensor([prompt]), "prompt ids")
        recorder.put(f"{name}/ev/output_ids", torch.tensor([ids]), "prompt and greedily generated ids, max_new_tokens=24")
        recorder.put(f"{name}/ev/step_logits", logits, "lm_head logits of each generation step [steps,vocab]", (1, 3))
        best = logits.topk(2).values
        info.update(ev_text=tokenizer.decode(ids[len(prompt):]), ev_min_top1_top2_gap=float((best[:, 0] - best[:, 1]).min()))
        trace = {}
        read.masks(ids[:-1], scene, tokenizer.seg, settings, trace)
        segments(recorder, f"{name}/ev/", {k: {n: t for n, t in v.items() if n not in ("sim_full", "decoder_tokens_in", "decoder_states", "sparse")}
                                           for k, v in trace.items() if k.startswith("seg")}, settings, info, "ev")
        info["ev_object_presence"] = [area > 0 for area in info["ev_mask_area"]]
        cases.append(info)
    texts = ["It is [SEG].", "a [SEG] b", "[SEG][SEG]", "The red circle is [SEG] and the blue star is [SEG].</s>", "  two  blanks ", "line\nbreak", "caf\u00e9 42", conversation("Where is the star?")]
    values = {
        "cases": {"value": cases, "meaning": "one [SEG]; two [SEG]; false premise; selection map cropped (pad -1)"},
        "special_ids": {"value": {"seg": tokenizer.seg, "im_start": tokenizer.added["<im_start>"], "im_end": tokenizer.added["<im_end>"],
                                  "bos": 1, "eos": 2, "pad": 0, "vocab": read.lm_head.out_features}, "meaning": "token ids"},
        "tokenizer_cases": {"value": [{"text": t, "ids_no_special": tokenizer.encode(t.replace("<image>", ""))} for t in texts], "meaning": "slow legacy tokenizer, no BOS; <image> removed"},
        "sasp": {"value": vars(settings), "meaning": "settings of the similarity points; `sesame/` has num_points 0"},
        "sam_image_size": {"value": read.sam.image_size, "meaning": "side of the SAM frame; points are divided by it"},
        "made_by": {"value": f"record_tiny_read.py, torch {torch.__version__}, transformers {transformers.__version__}, CPU, f32", "meaning": "origin"},
        "layout": {"value": "first [SEG]: cN/tf/NAME, the i-th (i >= 1): cN/tf/segI/NAME; tf teacher-forced, ev generated, sesame text-only", "meaning": "names"},
    }
    save_file(recorder.tensors, out / "tiny_read.safetensors")
    (out / "tiny_read.manifest.json").write_text(json.dumps({"file": "tiny_read.safetensors", "tensors": recorder.entries, "values": values}, indent=1) + "\n")
    for case in cases:
        print({k: case[k] for k in ("name", "question", "ev_text", "ev_min_top1_top2_gap", "tf_mask_area", "ev_mask_area", "tf_selection_margin", "tf_pixels_within_1e-3_of_zero")})


if __name__ == "__main__":
    torch.set_num_threads(1)
    with torch.no_grad():
        record(Path(sys.argv[1]), Path(sys.argv[2]), [int(s) for s in sys.argv[3:7]])
