"""Makes the tiny tokenizers of this folder and what the reference library says about them.

Needs PyPI sentencepiece==0.1.99 only. Run in this folder: `python make_models.py`. Training is deterministic.
Values: ids by SentencePieceProcessor.encode, text by SentencePieceProcessor.decode.
"""

import json
import os
import random

import sentencepiece as spm

WORDS = """the a what is in this image please output segmentation mask sure it result red blue square circle horse
umbrella knife person who would cut paper sit on chair near camera largest smallest left right of and or with for
can you segment show me where thing used to open bottle drink water 12 345 It's "so" (yes) no, maybe! how? café naïve"""

TEXTS = [
    "", " ", "  ", "\n", "\t", "a\tb", "line\nbreak\r\nend", "hello  world", "   three leading", "trailing   ",
    "What is the red square in this image? Please output segmentation mask.", "It's \"so\" (yes), 12345 6.7",
    "naïve café", "nai\u0308ve cafe\u0301", "日本語 テスト", "emoji 🙂!", "👩‍👩‍👧‍👦 family", "🇳🇱", "مرحبا", "\u200bzero\u200bwidth",
    "▁already ▁escaped", "a▁b", "</s>", "<s>", "<unk>", "<0x41>", "[SEG]", "<user> x <user>y<us", "<user><user>",
    "\u00a0nbsp\u3000wide ", "ﬁne ＡＢＣ ①②", "ẛ̣", "x\u0000y", "\u001fsep", "\ufffd", "qqqqqqqq", "zzz qqq zzz", "ABC xyz",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "segmentationsegmentationmask", "ÅÅ Å", "½ cup", "don’t “quote”", "𝒜𝓑",
]


def corpus():
    rng = random.Random(7)
    words = WORDS.split()
    return [" ".join(rng.choices(words, k=rng.randint(3, 12))) for _ in range(600)]


def train(name, **options):
    with open("corpus.txt", "w", encoding="utf-8") as file:
        file.write("\n".join(corpus()))
    spm.SentencePieceTrainer.train(
        input="corpus.txt", model_prefix=name, num_threads=1, minloglevel=2, hard_vocab_limit=False, **options
    )
    os.remove("corpus.txt")
    os.remove(f"{name}.vocab")


def record(name):
    model = spm.SentencePieceProcessor(model_file=f"{name}.model")
    rng = random.Random(3)
    cases = []
    for text in TEXTS:
        ids = model.encode(text)
        cases.append({"text": text, "ids": ids, "decoded": model.decode(ids)})
    loose = []
    for _ in range(60):
        ids = [rng.randrange(model.get_piece_size()) for _ in range(rng.randint(1, 12))]
        loose.append({"ids": ids, "decoded": model.decode(ids)})
    with open(f"{name}.json", "w", encoding="utf-8") as file:
        json.dump({"cases": cases, "loose_ids": loose}, file, ensure_ascii=True, indent=0)


# A character map of a few rules, so that the file stays small: ligature, full width, half, a combining pair, a blank.
with open("rules.tsv", "w", encoding="utf-8") as file:
    rules = [("ﬁ", "fi"), ("Ａ", "A"), ("½", "1/2"), ("e\u0301", "é"), ("\u3000", " "), ("\u200b", ""), ("a", "a"), ("①", " 1 ")]
    for old, new in rules:
        file.write(" ".join(f"{ord(c):X}" for c in old) + "\t" + " ".join(f"{ord(c):X}" for c in new) + "\n")

# As LLaMA's: BPE, identity, byte fallback, digits split, no whitespace removed.
train("bpe", model_type="bpe", vocab_size=420, byte_fallback=True, normalization_rule_name="identity",
      split_digits=True, remove_extra_whitespaces=False, add_dummy_prefix=True, unk_surface=" \u2047 ",
      character_coverage=1.0)
# BPE without fallback, with user-defined symbols and extra whitespace removed.
train("bpe_user", model_type="bpe", vocab_size=130, user_defined_symbols=["<user>", "<us"],
      normalization_rule_name="identity", unk_surface="?")
# Unigram with a character map.
train("unigram", model_type="unigram", vocab_size=150, normalization_rule_tsv="rules.tsv",
      user_defined_symbols=["<user>"])
# Unigram with byte fallback and no dummy prefix.
train("unigram_bytes", model_type="unigram", vocab_size=400, byte_fallback=True, add_dummy_prefix=False,
      normalization_rule_name="identity")
os.remove("rules.tsv")
for name in ["bpe", "bpe_user", "unigram", "unigram_bytes"]:
    record(name)
