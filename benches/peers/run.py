"""Ours beside PyTorch and llama.cpp, stage by stage, alternately in one run; writes docs/benchmarks.md.

    python run.py MASKWISE [--kernels KERNEL_SPEED] [--llama PYTHON] [--cache DIR] [--rounds N] [--out FILE] [--only ROWS …] [--layers N]
                           [--threads N]

MASKWISE is the built program, KERNEL_SPEED the example of that name, for the rows of single kernels; PYTHON has llama-cpp-python, for the rows beside
llama.cpp, whose model files are written to DIR. PyTorch runs with a tuned allocator, its best setting. Two processes never live at the same time. See
README.md.
"""
import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ALLOCATOR = "glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=17179869184:glibc.malloc.top_pad=268435456"

# By peer: name of the row; stage; arguments of `maskwise bench`; dtype and arguments of the peer's script; what the ratio should be at most.
ALL_INT8 = ["--quantize", "int8", "--quantize-vision", "int8", "--quantize-sam", "int8"]
TORCH = [
    ("SAM ViT-B encoder, f32", "sam-encoder", ["--sam", "vit-b", "--mode", "exact"], "f32", ["--sam", "vit-b"], 0.85),
    ("SAM ViT-B encoder, bf16 products", "sam-encoder", ["--sam", "vit-b", "--mode", "fast"], "bf16", ["--sam", "vit-b"], 0.7),
    ("SAM ViT-H encoder, f32", "sam-encoder", ["--mode", "exact"], "f32", [], 0.85),
    ("SAM ViT-H encoder, bf16 products", "sam-encoder", ["--mode", "fast"], "bf16", [], 0.7),
    ("SAM ViT-H encoder, int8 beside f32", "sam-encoder", ["--mode", "fast", "--quantize-sam", "int8"], "f32", [], 0.35),
    ("CLIP ViT-L at 336 px, f32", "clip", ["--mode", "exact"], "f32", [], None),
    ("CLIP ViT-L at 336 px, bf16 products", "clip", ["--mode", "fast"], "bf16", [], None),
    ("LLaMA-7B, 640 positions, int8 beside bf16", "prefill", ["--mode", "fast", "--quantize", "int8"], "bf16", [], 0.65),
    ("LLaMA-7B, a token, int8 beside bf16", "decode", ["--mode", "fast", "--quantize", "int8"], "bf16", [], None),
]
LLAMA = [
    (f"LLaMA-7B, {work}, {ours} beside llama.cpp {name}", stage, ["--mode", "fast", "--quantize", ours], theirs, [], 1.0)
    for ours, name, theirs in [("int8", "Q8_0", "q8_0"), ("int4", "Q4_K_M", "q4_k_m")]
    for work, stage in [("640 positions", "prefill"), ("a token", "decode")]
]
ROWS = {"torch": TORCH, "llama": LLAMA}
# One question as the published demo asks it: the whole prompt again for each token.
DEMO = [("clip", "bf16"), ("no-cache", "bf16"), ("sam-encoder", "bf16")]


def run(command, tuned):
    environment = dict(os.environ)
    environment.pop("GLIBC_TUNABLES", None)
    if tuned:
        environment["GLIBC_TUNABLES"] = ALLOCATOR
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stderr[-2000:]}")
    return done.stdout


class Bench:
    def __init__(self, arguments):
        self.arguments = arguments
        self.versions = {}
        self.limits = []

    def ours(self, stage, options):
        command = [self.arguments.maskwise, "bench", "--json", "--stage", stage, "--repeats", self.arguments.repeats,
                   "--layers", self.arguments.layers, "--threads", self.arguments.threads, *options]
        report = json.loads(run([str(part) for part in command], False))
        self.limits.append(report["limits"])
        return {**report["stages"][0], "peak_memory": report["peak_memory"]}

    def theirs(self, peer, stage, dtype, options):
        command = {"torch": [sys.executable, HERE / "torch_stages.py"],
                   "llama": [self.arguments.llama, HERE / "llama_cpp_stages.py", "--cache", self.arguments.cache]}[peer]
        command += [stage, dtype, "--repeats", self.arguments.repeats, "--layers", self.arguments.layers,
                    "--threads", self.arguments.threads, *options]
        found = json.loads(run([str(part) for part in command], peer == "torch").splitlines()[-1])
        self.versions[peer] = (f"PyTorch {found['torch']}, transformers {found['transformers']}, with a tuned allocator" if peer == "torch"
                               else f"llama.cpp of llama-cpp-python {found['llama-cpp-python']} (with {' '.join(found['instructions'])})")
        return found

    def row(self, peer, name, stage, ours, dtype, theirs, aim):
        pairs = []
        for _ in range(self.arguments.rounds):
            pairs.append((self.ours(stage, ours), self.theirs(peer, stage, dtype, theirs)))
            print(f"{name}: {pairs[-1][0]['later']:.3f} s beside {pairs[-1][1]['later']:.3f} s", flush=True)
        middle = lambda side, key: statistics.median(pair[side][key] for pair in pairs)
        ratio = statistics.median(a["later"] / b["later"] for a, b in pairs)
        first = statistics.median(a["first"] / b["first"] for a, b in pairs)
        memory = middle(0, "peak_memory") / middle(1, "peak_memory")
        return {"name": name, "ours": middle(0, "later"), "theirs": middle(1, "later"), "ratio": ratio, "first": first,
                "memory": memory, "aim": aim, "stage": stage, "options": ours}


# What the ratio of a kernel should be at most, by the start of its name.
KERNEL_AIMS = {"product": 1.0, "softmax": 0.75, "layer norm": 1.0, "rms norm": 1.0, "gelu": 0.65, "silu": 0.65}


def kernels(arguments):
    """Rows of single kernels, from whole runs of both sides in turn."""
    def lines(command, tuned):
        text = run([str(part) for part in command], tuned)
        return {row["name"]: row["seconds"] for row in map(json.loads, text.splitlines())}

    pairs = []
    for _ in range(arguments.rounds):
        ours = lines([arguments.kernels, arguments.threads], False)
        pairs.append((ours, lines([sys.executable, HERE / "torch_kernels.py", arguments.threads], True)))
    rows = ["| kernel | ours | PyTorch | ratio | aim |", "|---|---|---|---|---|"]
    for name in pairs[0][0]:
        middle = [statistics.median(pair[side][name] for pair in pairs) for side in (0, 1)]
        ratio = statistics.median(a[name] / b[name] for a, b in pairs)
        aim = next((aim for start, aim in KERNEL_AIMS.items() if name.startswith(start)), None)
        if name.startswith("attention"):
            aim = 0.85 if name.endswith("f32") else 0.6
        rows.append(f"| {name} | {milliseconds(middle[0])} | {milliseconds(middle[1])} | {ratio:.2f} | {f'≤ {aim}' if aim else ''} |")
    return rows


def milliseconds(value):
    return f"{value * 1e3:.1f} ms"


def seconds(value):
    return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.0f} ms"


def processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def question(bench):
    """One question, 20 tokens answered, one mask: ours in eight bits, and the published demo's way in PyTorch."""
    tokens = 20
    stages = [bench.ours(stage, ["--mode", "fast", *ALL_INT8]) for stage in
              ["image", "clip", "prefill", "decode", "sam-encoder", "sam-decoder"]]
    ours = sum(stage["later"] * (tokens if stage["stage"] == "decode" else 1) for stage in stages)
    theirs = sum(bench.theirs("torch", stage, dtype, [])["later"] * (tokens if stage == "no-cache" else 1) for stage, dtype in DEMO)
    return ours, theirs


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("maskwise")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", help="rows of this stage, `torch`, `llama` or `question`; may be given several times", action="append", default=[])
    parser.add_argument("--kernels")
    parser.add_argument("--llama", help="a Python with llama-cpp-python; without it, no rows beside llama.cpp")
    parser.add_argument("--cache", help="keep llama.cpp's model files in this folder")
    parser.add_argument("--out")
    arguments = parser.parse_args()
    if "llama" in arguments.only and not arguments.llama:
        parser.error("rows beside llama.cpp need --llama")
    with tempfile.TemporaryDirectory() as folder:
        arguments.cache = arguments.cache or folder
        report(arguments)


def report(arguments):
    bench = Bench(arguments)
    rows = [bench.row(peer, *row) for peer, rows in ROWS.items() if peer == "torch" or arguments.llama
            for row in rows if not arguments.only or {peer, row[1]} & set(arguments.only)]
    lines = ["| work | ours | peer | ratio | first time | peak memory | aim |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        aim = f"≤ {row['aim']}" if row["aim"] else ""
        lines.append(f"| {row['name']} | {seconds(row['ours'])} | {seconds(row['theirs'])} | {row['ratio']:.2f} | {row['first']:.2f} | "
                     f"{row['memory']:.2f} | {aim} |")
    if not arguments.only or "question" in arguments.only:
        ours, theirs = question(bench)
        lines.append(f"| READ-7B, one question, 20 tokens, int8 beside bf16 without a cache | {seconds(ours)} | {seconds(theirs)} | "
                     f"{ours / theirs:.2f} | | | ≤ 0.1 |")
    limit = lambda key: statistics.median(limits[key] or 0 for limits in bench.limits) / 1e9
    head = [f"{datetime.date.today()}, {processor()}, {arguments.threads} threads; {'; '.join(bench.versions.values())}. "
            f"{arguments.rounds} rounds, alternately; medians, ratios are medians of the rounds' ratios.",
            f"Limits of the machine, medians over the rounds: f32 {limit('f32_operations'):.0f}, bf16 {limit('bf16_operations'):.0f}, "
            f"int8 {limit('int8_operations'):.0f} GOP/s, memory {limit('read_bandwidth'):.1f} GB/s.", ""]
    if arguments.kernels:
        lines += [""] + kernels(arguments)
    text = "\n".join(head + lines) + "\n"
    print(text)
    if arguments.out:
        Path(arguments.out).write_text(text)


if __name__ == "__main__":
    main()
