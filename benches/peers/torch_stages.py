"""The stages of `maskwise bench` in PyTorch: transformers' classes of CLIP, LLaMA and SAM with random weights of the published sizes.

    python torch_stages.py STAGE DTYPE [--layers N] [--language 7b|13b] [--sam vit-b|vit-l|vit-h] [--prompt N] [--tokens N] [--repeats N]
                           [--attention sdpa|eager] [--threads N]

Prints one line of JSON: seconds of the first time, the median of later times, peak memory. Stages: clip, prefill, decode, no-cache (a token as
the published demo of READ generates it: without a cache, the whole prompt again for each), sam-encoder. Times of the language model are of all layers, in
proportion, as those of `maskwise bench`.
"""
import argparse
import json
import resource
import time

import torch
import transformers

LANGUAGE = {"7b": (4096, 11008, 32, 32), "13b": (5120, 13824, 40, 40)}
SAM = {"vit-b": (768, 12, 12), "vit-l": (1024, 24, 16), "vit-h": (1280, 32, 16)}
VOCABULARY = 32003


def build(make, dtype):
    """A model on random weights of one dtype."""
    torch.set_default_dtype(dtype)
    model = make().eval()
    torch.set_default_dtype(torch.float32)
    return model.to(dtype)


def language(arguments, dtype):
    width, inner, layers, heads = LANGUAGE[arguments.language]
    run = min(arguments.layers or layers, layers)
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=width, intermediate_size=inner, num_hidden_layers=run, num_attention_heads=heads,
        max_position_embeddings=4096, attn_implementation=arguments.attention)
    return build(lambda: transformers.LlamaForCausalLM(config), dtype), width, layers / run


def timed(repeats, work):
    times = []
    with torch.inference_mode():
        for _ in range(repeats + 1):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
    later = sorted(times[1:])
    return times[0], later[len(later) // 2]


def clip(arguments, dtype):
    config = transformers.CLIPVisionConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=23, num_attention_heads=16, image_size=336, patch_size=14,
        attn_implementation=arguments.attention)
    tower = build(lambda: transformers.CLIPVisionModel(config), dtype)
    width = LANGUAGE[arguments.language][0]
    projector = build(lambda: torch.nn.Sequential(torch.nn.Linear(1024, width), torch.nn.GELU(), torch.nn.Linear(width, width)), dtype)
    pixels = torch.randn(1, 3, 336, 336).to(dtype)
    return timed(arguments.repeats, lambda: projector(tower(pixels).last_hidden_state[:, 1:]))


def prefill(arguments, dtype):
    model, width, share = language(arguments, dtype)
    prompt = torch.randn(1, arguments.prompt, width).to(dtype)
    return [seconds * share for seconds in timed(arguments.repeats, lambda: model.model(inputs_embeds=prompt, use_cache=True))]


def decode(arguments, dtype):
    model, width, share = language(arguments, dtype)
    prompt = torch.randn(1, arguments.prompt, width).to(dtype)
    token = torch.zeros(1, 1, dtype=torch.long)
    with torch.inference_mode():
        cache = model.model(inputs_embeds=prompt, use_cache=True).past_key_values

    def tokens():
        further = cache.get_seq_length() - arguments.prompt
        if further > 0:
            cache.crop(-further)
        for _ in range(arguments.tokens):
            model.model(input_ids=token, past_key_values=cache, use_cache=True)

    hidden = torch.randn(1, 1, width).to(dtype)

    def head():
        for _ in range(arguments.tokens):
            model.lm_head(hidden)

    layers, head = timed(arguments.repeats, tokens), timed(arguments.repeats, head)
    return [(seconds * share + head[1]) / arguments.tokens for seconds in layers]


def no_cache(arguments, dtype):
    model, width, share = language(arguments, dtype)
    # Half of the answer stands behind the prompt on average.
    prompt = torch.randn(1, arguments.prompt + arguments.tokens // 2, width).to(dtype)
    layers = timed(arguments.repeats, lambda: model.model(inputs_embeds=prompt, use_cache=False))
    head = timed(arguments.repeats, lambda: model.lm_head(prompt))
    return [seconds * share + head[1] for seconds in layers]


def sam_encoder(arguments, dtype):
    width, depth, heads = SAM[arguments.sam]
    quarter = depth // 4
    config = transformers.SamVisionConfig(
        hidden_size=width, num_hidden_layers=depth, num_attention_heads=heads, mlp_dim=4 * width,
        global_attn_indexes=[quarter * (index + 1) - 1 for index in range(4)], attn_implementation=arguments.attention)
    encoder = build(lambda: transformers.SamVisionModel(config), dtype)
    pixels = torch.randn(1, 3, 1024, 1024).to(dtype)
    return timed(arguments.repeats, lambda: encoder(pixels))


STAGES = {"clip": clip, "prefill": prefill, "decode": decode, "no-cache": no_cache, "sam-encoder": sam_encoder}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("dtype", choices=["f32", "bf16"])
    parser.add_argument("--layers", type=int)
    parser.add_argument("--language", choices=LANGUAGE, default="7b")
    parser.add_argument("--sam", choices=SAM, default="vit-h")
    parser.add_argument("--prompt", type=int, default=640)
    parser.add_argument("--tokens", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--attention", default="sdpa")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[arguments.dtype]
    first, later = STAGES[arguments.stage](arguments, dtype)
    print(json.dumps({
        "stage": arguments.stage, "dtype": arguments.dtype, "first": first, "later": later,
        "peak_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "torch": torch.__version__, "transformers": transformers.__version__}))


if __name__ == "__main__":
    main()
