"""The language model's stages of `maskwise bench` in llama.cpp: a GGUF of LLaMA's published sizes with random weights.

    python llama_cpp_stages.py STAGE TYPE [--layers N] [--language 7b|13b] [--prompt N] [--tokens N] [--repeats N] [--threads N]
                               [--cache DIR]

Prints one line of JSON: seconds of the first time, the median of later times, peak memory with `--layers` layers. Stages: prefill, decode. TYPE is
q8_0 or q4_k_m. The files are written to DIR, or to a temporary folder, and those of DIR are used again.

llama.cpp computes the last layer's MLP and the head only where logits are asked for, of the last position here, so that a share of the layers says
nothing of all. So a second model of four times the layers runs in turn with the first: their difference is whole layers, and what is left is the head
and what else there is once. Q4_K_M keeps some layers' values and down projections in Q6_K, chosen by llama.cpp's quantizer from a layer's place: half
of the layers with 32 or 40, and with 2 or 8 as well, so that they stand for all.
"""
import argparse
import ctypes
import importlib.metadata
import json
import multiprocessing
import os
import re
import resource
import statistics
import tempfile
import time
from pathlib import Path

import gguf
import llama_cpp
import numpy

LANGUAGE = {"7b": (4096, 11008, 32, 32), "13b": (5120, 13824, 40, 40)}
VOCABULARY = 32003
MORE = 4


def write(path, language, layers):
    """A file with random weights in Q8_0."""
    width, inner, _, heads = LANGUAGE[language]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(layers)
    writer.add_context_length(4096)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_rope_dimension_count(width // heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(VOCABULARY)
    writer.add_tokenizer_model("none")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    random = numpy.random.default_rng(0)

    def weight(name, rows, columns):
        # Blocks of 32 bytes behind a scale, here of weights of 0.02.
        blocks = numpy.empty((rows, columns // 32, 34), numpy.uint8)
        blocks[..., :2] = numpy.frombuffer(numpy.float16(0.02 / 73).tobytes(), numpy.uint8)
        blocks[..., 2:] = random.integers(0, 256, (rows, columns // 32, 32), numpy.uint8)
        writer.add_tensor(f"{name}.weight", blocks.reshape(rows, -1), raw_dtype=gguf.GGMLQuantizationType.Q8_0)

    def norm(name):
        writer.add_tensor(f"{name}.weight", numpy.ones(width, numpy.float32))

    weight("token_embd", VOCABULARY, width)
    for layer in range(layers):
        norm(f"blk.{layer}.attn_norm")
        for name in ["attn_q", "attn_k", "attn_v", "attn_output"]:
            weight(f"blk.{layer}.{name}", width, width)
        norm(f"blk.{layer}.ffn_norm")
        weight(f"blk.{layer}.ffn_gate", inner, width)
        weight(f"blk.{layer}.ffn_up", inner, width)
        weight(f"blk.{layer}.ffn_down", width, inner)
    norm("output_norm")
    weight("output", VOCABULARY, width)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def model_file(folder, language, layers, dtype, threads):
    """The path of a file of this type; writes what is missing."""
    path = Path(folder) / f"{language}-{layers}-{dtype}.gguf"
    if not path.exists():
        part = path.with_suffix(".part")
        if dtype == "q8_0":
            write(part, language, layers)
        else:
            quiet()
            source = model_file(folder, language, layers, "q8_0", threads)
            parameters = llama_cpp.llama_model_quantize_default_params()
            parameters.nthread = threads
            parameters.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_K_M
            parameters.allow_requantize = True
            if llama_cpp.llama_model_quantize(os.fsencode(source), os.fsencode(part), ctypes.byref(parameters)) != 0:
                raise SystemExit(f"llama.cpp did not quantize {source}")
        part.rename(path)
    return path


@llama_cpp.llama_log_callback
def errors_only(level, text, _):
    if level == 4:
        os.write(2, text)


def quiet():
    llama_cpp.llama_log_set(errors_only, ctypes.c_void_p())


class Model:
    """A loaded file, and one context."""

    def __init__(self, arguments, path):
        self.arguments = arguments
        parameters = llama_cpp.llama_model_default_params()
        # By default it maps the file, and lays the weights out for AMX where it has it, which is quicker than without.
        self.model = llama_cpp.llama_model_load_from_file(os.fsencode(path), parameters)
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx = arguments.prompt + arguments.tokens
        parameters.n_batch = parameters.n_ubatch = arguments.prompt
        parameters.n_threads = parameters.n_threads_batch = arguments.threads
        # The quicker one for a prompt; a token takes as long without.
        parameters.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED
        self.context = llama_cpp.llama_init_from_model(self.model, parameters)
        self.memory = llama_cpp.llama_get_memory(self.context)
        ids = numpy.random.default_rng(1).integers(0, VOCABULARY, arguments.prompt + arguments.tokens)
        self.ids = (llama_cpp.llama_token * len(ids))(*ids.tolist())
        if arguments.stage == "decode":
            self.prefill()

    def decode(self, start, count):
        tokens = (llama_cpp.llama_token * count).from_buffer(self.ids, start * ctypes.sizeof(llama_cpp.llama_token))
        # Logits of the last of them.
        if llama_cpp.llama_decode(self.context, llama_cpp.llama_batch_get_one(tokens, count)) != 0:
            raise SystemExit("llama.cpp did not decode")
        llama_cpp.llama_synchronize(self.context)

    def prefill(self):
        llama_cpp.llama_memory_clear(self.memory, False)
        self.decode(0, self.arguments.prompt)

    def tokens(self):
        llama_cpp.llama_memory_seq_rm(self.memory, 0, self.arguments.prompt, -1)
        for index in range(self.arguments.tokens):
            self.decode(self.arguments.prompt + index, 1)

    def seconds(self):
        work, count = (self.prefill, 1) if self.arguments.stage == "prefill" else (self.tokens, self.arguments.tokens)
        start = time.perf_counter()
        work()
        return (time.perf_counter() - start) / count


def measure(arguments, folder):
    layers = arguments.layers
    paths = []
    for count in (layers, MORE * layers):
        # In a process of its own, whose memory is not the model's.
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            paths.append(pool.apply(model_file, (folder, arguments.language, count, arguments.dtype, arguments.threads)))
    few = Model(arguments, paths[0])
    times = [[few.seconds()]]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    many = Model(arguments, paths[1])
    times[0].append(many.seconds())
    times += [[few.seconds(), many.seconds()] for _ in range(arguments.repeats)]

    def whole(few, many):
        layer = (many - few) / ((MORE - 1) * layers)
        return few + (LANGUAGE[arguments.language][2] - layers) * layer

    later = [whole(*pair) for pair in times[1:]]
    system = llama_cpp.llama_print_system_info().decode()
    print(json.dumps({
        "stage": arguments.stage, "dtype": arguments.dtype, "first": whole(*times[0]),
        "later": whole(*(statistics.median(column) for column in zip(*times[1:]))), "range": [min(later), max(later)], "times": times,
        "peak_memory": peak, "llama-cpp-python": importlib.metadata.version("llama-cpp-python"),
        "instructions": re.findall(r"((?:AVX|AMX)\w*) = 1", system)}))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("stage", choices=["prefill", "decode"])
    parser.add_argument("dtype", choices=["q8_0", "q4_k_m"])
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--language", choices=LANGUAGE, default="7b")
    parser.add_argument("--prompt", type=int, default=640)
    parser.add_argument("--tokens", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cache", help="keep the model files in this folder")
    arguments = parser.parse_args()
    quiet()
    llama_cpp.llama_backend_init()
    if arguments.cache:
        Path(arguments.cache).mkdir(parents=True, exist_ok=True)
        measure(arguments, arguments.cache)
    else:
        with tempfile.TemporaryDirectory() as folder:
            measure(arguments, folder)


if __name__ == "__main__":
    main()
