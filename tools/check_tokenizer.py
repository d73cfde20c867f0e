"""Cases for `tests/networks/tokenizer.rs` from transformers on CLIP's published merges, which the package open_clip_torch holds:

    pip download --no-deps --dest DIR open_clip_torch
    python tools/check_tokenizer.py DIR/open_clip_torch-*.whl DIR/cases
    DOWNHILL_TOKENIZER_CASES=DIR/cases/cases.json cargo nextest run --test networks --run-ignored only tokenizer

Every code point that is assigned in the Basic Multilingual Plane is tried beside letters and digits, and a sample of the others;
so are the layouts of published tokenizers: special tokens looked for before or after normalisation, by a map or by ids, another
padding, tokenizer.json. Nothing of it is kept in the repository: the vocabulary is large.
"""

import gzip
import json
import pathlib
import sys
import zipfile

from transformers import CLIPTokenizer

START, END = "<|startoftext|>", "<|endoftext|>"
LENGTH = 77
# As many of the published merges as CLIP's vocabulary of 49,408 has room for, after the line of the version.
MERGES = 49152 - 256 - 2

TEXTS = [
    "", " ", "a photo of a cat", "A  Photograph\tof an\n ASTRONAUT,   riding!!! a horse...",
    "it's we've they're I'm you'll he'd 's 't 'RE 'Ve don'T 's's'S 'ſ 'ſt K's", "café naïve Ångström Übermaß İstanbul ẞ ǅ",
    "cafe\u0301 e\u0301\u0301 A\u030a a\u0300b \u1e9e\u0130i\u0307", "日本語の猫と犬、東京タワー", "🐈\u200d⬛ 👩🏽\u200d🚀🚀 ❤️ 🇩🇪",
    "مرحبا بالعالم हिन्दी ไทย 한국어 한글", "!!! ! !a a! !!", f"{END} a {START}b <|ENDOFTEXT|>x{END} <|StartOfText|>", "<toy> a<TOY>b",
    "1234 5,678.90 ½ ² ① ⅷ ४५ ⅣⅣ٣", "under_score snake_case-kebab/slash\\back", "''''' \"quotes\" “curly” ‘s ’s it’s",
    "\u00a0nbsp\u2003em\u3000ideographic\u200bzero\u2028line\x85nel\x0bvt\x1cfs \x00 \x01\x7f\ufeff", "e=mc^2 (x+y)*z <tag> [b] {c} @#$%^&*",
    "word " * 100, "supercalifragilisticexpialidocious " * 12, "日本" * 60, "a, " * 40 + "END Of Text", "x" * 300, "\U0001d54f\U00020000𝒜𝓑",
    "ﬁ ﬀ Ⅳ ℌ Ω Å K ª º ʰ ˀ ˈ ̀", "\U0010ffff\ue000",
]
CODES = [*range(0xD800), *range(0xE000, 0x11000), *range(0x1F000, 0x1FB00), *range(0x11000, 0x1F000, 7), *range(0x20000, 0x32000, 37)]


def alphabet() -> list[str]:
    """The letters of bytes, in CLIP's order."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + at) for at in range(len(others))]


def token(content: str, normalized: bool, **others) -> dict:
    return {"content": content, "lstrip": False, "normalized": normalized, "rstrip": False, "single_word": False, **others}


def folders(wheel: str, root: pathlib.Path) -> list[pathlib.Path]:
    """Folders of tokenizers in the layouts that are published."""
    text = gzip.decompress(zipfile.ZipFile(wheel).read("open_clip/bpe_simple_vocab_16e6.txt.gz")).decode()
    merges = text.split("\n")[1:MERGES + 1]
    letters = alphabet()
    words = letters + [letter + "</w>" for letter in letters] + ["".join(merge.split()) for merge in merges] + [START, END]
    assert len(words) == 49408
    start, end = token(START, True, __type="AddedToken"), token(END, True, __type="AddedToken")
    published = {"add_prefix_space": False, "do_lower_case": True, "errors": "replace", "model_max_length": LENGTH,
                 "tokenizer_class": "CLIPTokenizer", "bos_token": start, "eos_token": end, "unk_token": end, "pad_token": END}
    special = {"bos_token": token(START, True), "eos_token": token(END, True), "unk_token": token(END, True)}
    by_id = {"0": token("!", False, special=True), "49406": token(START, True, special=True),
             "49407": token(END, False, special=True), "49408": token("<toy>", True, special=False)}
    named = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": "!"}
    layouts = {
        "sd1": (published, {**special, "pad_token": END}),
        "sd2": (published, {**special, "pad_token": "!"}),
        "by-id": ({"model_max_length": LENGTH, **named, "added_tokens_decoder": by_id}, None),
        "bare": ({}, None),
    }
    made = []
    for name, (config, special_map) in layouts.items():
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "vocab.json").write_text(json.dumps({word: at for at, word in enumerate(words)}))
        (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
        if special_map:
            (folder / "special_tokens_map.json").write_text(json.dumps(special_map))
        made.append(folder)
    CLIPTokenizer.from_pretrained(made[0]).save_pretrained(root / "whole")
    return [*made, root / "whole"]


def main(wheel: str, root: pathlib.Path) -> None:
    texts = TEXTS + [f"a{chr(code)}b 1{chr(code)}{chr(code)} " for code in CODES]
    cases = []
    for folder in folders(wheel, root):
        tokenizer = CLIPTokenizer.from_pretrained(folder)
        ids = tokenizer(texts, padding="max_length", max_length=LENGTH, truncation=True).input_ids
        cases.append({"folder": str(folder.resolve()), "length": LENGTH, "cases": list(zip(texts, ids))})
        print(folder, len(texts))
    (root / "cases.json").write_text(json.dumps(cases))


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]))
