"""Records what the slow LLaMA tokenizer does with added tokens, on top of bpe.model of this folder.

Needs PyPI transformers==4.31.0, sentencepiece==0.1.99, protobuf. Run in this folder after make_models.py.
"""

import json
import os
import random
import shutil
import tempfile

from transformers import LlamaTokenizer

TOKEN = {"__type": "AddedToken", "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
BASE = 420


def attributed(content, **flags):
    return {**{k: v for k, v in TOKEN.items() if k != "__type"}, "content": content, **flags}


FOLDERS = {
    "legacy": {
        "tokenizer_config.json": {"tokenizer_class": "LlamaTokenizer", "legacy": True, "clean_up_tokenization_spaces": False},
        "special_tokens_map.json": {"bos_token": attributed("<s>"), "eos_token": attributed("</s>"),
                                    "unk_token": attributed("<unk>"), "pad_token": "<unk>"},
        "added_tokens.json": {"[SEG]": 0, "<im_start>": 1, "<im_end>": 2},
    },
    "not_legacy": {
        "tokenizer_config.json": {"tokenizer_class": "LlamaTokenizer", "legacy": False, "clean_up_tokenization_spaces": True},
        "added_tokens.json": {"[SEG]": 0, "<im_start>": 1, "<im_end>": 2},
    },
    "bare_strings": {
        "tokenizer_config.json": {"tokenizer_class": "LlamaTokenizer", "legacy": True, "add_eos_token": True},
        "special_tokens_map.json": {"bos_token": "<s>", "eos_token": attributed("</s>", rstrip=True), "unk_token": "<unk>",
                                    "pad_token": "[PAD]"},
        "added_tokens.json": {"[PAD]": 0, "[SEG]": 1, "[SEG][SEG]": 2, "<im_start>": 3, "<im_end>": 4},
    },
}
PARTS = ["[SEG]", "<im_start>", "<im_end>", "</s>", "<s>", "<unk>", "[PAD]", " ", "  ", "\n", "\t", "\x1c", "\u00a0", "▁",
         "red", "the", ".", ",", "?", "Sure, it is", " what is", "USER: ", " ASSISTANT:", "é", "🙂", "日", "n't", "'s", "[SE", "<"]


def main():
    rng = random.Random(11)
    texts = ["", "[SEG]", "[SEG].", "Sure, it is [SEG].</s>USER: x", " [SEG] ", "[SEG][SEG]", "<im_start><im_end>\nWhat"]
    texts += ["".join(rng.choices(PARTS, k=rng.randint(1, 9))) for _ in range(90)]
    recorded = {}
    for name, files in FOLDERS.items():
        files["added_tokens.json"] = {token: BASE + i for token, i in files["added_tokens.json"].items()}
        folder = tempfile.mkdtemp()
        shutil.copy("bpe.model", os.path.join(folder, "tokenizer.model"))
        for file, content in files.items():
            with open(os.path.join(folder, file), "w", encoding="utf-8") as handle:
                json.dump(content, handle)
        tokenizer = LlamaTokenizer.from_pretrained(folder)
        assert tokenizer.vocab_size == BASE
        cases = []
        for text in texts:
            ids = tokenizer(text).input_ids
            cases.append({"text": text, "ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=True),
                          "decoded_keep": tokenizer.decode(ids)})
        recorded[name] = {"files": files, "cases": cases}
        shutil.rmtree(folder)
    with open("slow.json", "w", encoding="utf-8") as handle:
        json.dump(recorded, handle, ensure_ascii=True, indent=0)


main()
