"""Records what the reference library says about trained.model of this folder, which `train_bpe` made (tests/text_trainer.rs).

Needs PyPI sentencepiece==0.1.99 only. Run in this folder.
"""

import json

import sentencepiece as spm

with open("trained.json", encoding="utf-8") as file:
    texts = [case["text"] for case in json.load(file)["cases"]]
model = spm.SentencePieceProcessor(model_file="trained.model")
cases = [{"text": text, "ids": model.encode(text), "decoded": model.decode(model.encode(text))} for text in texts]
with open("trained.json", "w", encoding="utf-8") as file:
    json.dump({"size": model.vocab_size(), "cases": cases}, file, ensure_ascii=False, indent=0)
