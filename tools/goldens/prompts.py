"""Embeddings of weighted and long prompts, and of learned tokens, in float64.

Used by `tools/make_goldens.py`; has no command of its own. The encoder is that of `tests/golden/latent/sd1-like`; the
tokens are transformers'. The rule of weights is that of AUTOMATIC1111's web UI (`prompt_parser.parse_prompt_attention`
and its multiplication that restores the mean), written here again from its description: brackets become segments with
weights, each segment has its own tokens, chunks of 75 tokens have their own start and end, the embeddings of a chunk
are multiplied by the weights of its tokens and then by the ratio of the means before and after.

Writes `tests/golden/prompts`: `cases.json`, and an array for each case.
"""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import CLIPTextModel, CLIPTokenizer

BASE = "latent/sd1-like"
ROOM = 75
PIECES = re.compile(
    r"\\[()\[\]\\]|[()\[\]\\]|:\s*[+-]?[.\d]+\s*\)|:|[^\\()\[\]:]+", re.DOTALL)

LONG = "a portrait of a woman reading a letter on a hill under a large blue sky, " * 5
# name: texts, weights, long
CASES = {
    "weights": (["a (red:1.4) house", "a [small] ((house)) by the sea", "", r"a \(plain\) house: (x"], True, False),
    "long": ([LONG, "a cat"], False, True),
    "long-weights": (["(" + LONG + ":1.2) a (lighthouse:0.6) at night", "blurry, (low quality:1.5)"], True, True),
}


def segments(prompt):
    """Pairs of text and weight."""
    found, opened = [], []
    close = lambda kind: next((at for at in range(len(opened) - 1, -1, -1) if opened[at][0] == kind), None)

    def scale(kind, factor):
        at = close(kind)
        if at is None:
            return False
        _, first = opened.pop(at)
        for entry in found[first:]:
            entry[1] *= factor
        return True

    for piece in PIECES.findall(prompt):
        if piece in "([" and len(piece) == 1:
            opened.append((piece, len(found)))
            continue
        if piece[0] == ":" and piece[-1] == ")" and scale("(", float(piece[1:-1])):
            continue
        if piece == ")" and scale("(", 1.1):
            continue
        if piece == "]" and scale("[", 1 / 1.1):
            continue
        text = piece[1:] if len(piece) == 2 and piece[0] == "\\" else piece
        found.append([text, 1.0])
    for kind, factor in (("(", 1.1), ("[", 1 / 1.1)):
        while close(kind) is not None:
            scale(kind, factor)
    merged = []
    for text, weight in found:
        if merged and merged[-1][1] == weight:
            merged[-1][0] += text
        else:
            merged.append([text, weight])
    return merged or [["", 1.0]]


def passages(tokenizer, texts, weighted, long):
    """The chunks of each text, as many for all: ids and weights."""
    start, end, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
    all_chunks = []
    for text in texts:
        tokens = []
        for part, weight in segments(text) if weighted else [(text, 1.0)]:
            tokens += [(token, weight) for token in tokenizer(part, add_special_tokens=False).input_ids]
        chunks = [tokens[at : at + ROOM] for at in range(0, len(tokens), ROOM)] or [[]]
        all_chunks.append(chunks if long else chunks[:1])
    most = max(map(len, all_chunks))

    def framed(chunk):
        ids, weights = [start] + [token for token, _ in chunk] + [end], [1.0] + [weight for _, weight in chunk] + [1.0]
        return ids + [pad] * (ROOM + 2 - len(ids)), weights + [1.0] * (ROOM + 2 - len(weights))

    return [[framed(chunk) for chunk in chunks + [[]] * (most - len(chunks))] for chunks in all_chunks]


@torch.no_grad()
def embed(encoder, chunks):
    parts = []
    for ids, weights in chunks:
        z = encoder(torch.tensor([ids])).last_hidden_state[0]
        if any(weight != 1.0 for weight in weights):
            before = z.mean()
            z = z * torch.tensor(weights, dtype=torch.float64)[:, None]
            z = z * (before / z.mean())
        parts.append(z)
    return torch.cat(parts)


def write_learned(root, golden):
    """Textual inversion: two files with learned tokens, and embeddings of texts with them by diffusers' own loader."""
    from diffusers import StableDiffusionPipeline

    generator = torch.Generator().manual_seed(5)
    draw = lambda *shape: 0.5 * torch.randn(shape, generator=generator)
    vectors = draw(3, 16)
    save_file({"emb_params": vectors}, root / "toy-style.safetensors")
    # As AUTOMATIC1111's web UI saves it, with the token's number as a tensor, as the original code has it.
    torch.save({"string_to_token": {"*": torch.tensor(265)}, "string_to_param": {"*": torch.nn.Parameter(vectors)},
                "name": "toy", "step": 500, "sd_checkpoint": None, "sd_checkpoint_name": None},
               root / "toy-web-ui.pt")
    save_file({"<cat-toy>": draw(16)}, root / "learned_embeds.safetensors")
    pipe = StableDiffusionPipeline.from_pretrained(
        golden / BASE, torch_dtype=torch.float32, safety_checker=None, feature_extractor=None)
    pipe.load_textual_inversion(str(root), weight_name="toy-style.safetensors", token="toy-style")
    pipe.load_textual_inversion(str(root), weight_name="learned_embeds.safetensors")
    texts = ["a <cat-toy> in toy-style, the toy-style", "a cat", "<cat-toy>"]
    texts_with_all = [pipe.maybe_convert_prompt(text, pipe.tokenizer) for text in texts]
    ids = pipe.tokenizer(texts_with_all, padding="max_length", max_length=ROOM + 2, truncation=True).input_ids
    encoder = pipe.text_encoder.double().eval()
    with torch.no_grad():
        embeddings = encoder(torch.tensor(ids)).last_hidden_state
    np.save(root / "learned.npy", embeddings.numpy().astype(np.float32))
    return {"texts": texts, "files": [["toy-style.safetensors", "toy-style"], ["learned_embeds.safetensors", None]]}


def write_all(golden):
    root = golden / "prompts"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    tokenizer = CLIPTokenizer.from_pretrained(golden / BASE / "tokenizer")
    encoder = CLIPTextModel.from_pretrained(golden / BASE / "text_encoder", dtype=torch.float32).double().eval()
    about = {}
    for name, (texts, weighted, long) in CASES.items():
        chunks = passages(tokenizer, texts, weighted, long)
        np.save(root / f"{name}.npy", torch.stack([embed(encoder, of_text) for of_text in chunks]).numpy().astype(np.float32))
        about[name] = {
            "texts": texts, "weights": weighted, "long": long,
            "tokens": [[ids for ids, _ in of_text] for of_text in chunks],
            "segments": [segments(text) for text in texts] if weighted else None,
        }
    about["learned"] = write_learned(root, golden)
    (root / "cases.json").write_text(json.dumps(about) + "\n")
