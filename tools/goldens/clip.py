"""A small CLIP model of random weights, its embeddings in float64, and the score as torchmetrics defines it.

Used by `tools/make_goldens.py`; has no command of its own. Writes `tests/golden/clip`, a folder of transformers, with
the tokenizer of `tests/golden/latent/sd1-like`.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torchmetrics.functional.multimodal.clip_score import _clip_score_update
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
from train_classifier import read_digits  # noqa: E402

SIDE = 28
CAPTIONS = ["a photograph of a seven", "two handwritten digits", "A cat, sitting; on 3 mats!"]


def model(vocabulary, end):
    torch.manual_seed(15)
    sizes = dict(num_hidden_layers=2, intermediate_size=24)
    config = CLIPConfig(
        text_config=dict(sizes, vocab_size=vocabulary, hidden_size=12, num_attention_heads=2, eos_token_id=end,
                         max_position_embeddings=77, hidden_act="gelu"),
        vision_config=dict(sizes, hidden_size=20, num_attention_heads=4, image_size=SIDE, patch_size=7),
        projection_dim=10,
    )
    net = CLIPModel(config).eval()
    for parameter in net.parameters():
        parameter.data = (torch.randn(parameter.shape, dtype=torch.float64) * 0.6).float().to(torch.float32)
    return net


def write(golden):
    folder = Path(golden) / "clip"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for file in (Path(golden) / "latent" / "sd1-like" / "tokenizer").iterdir():
        shutil.copy(file, folder / file.name)
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    net = model(len(tokenizer), tokenizer.eos_token_id)
    net.config.architectures = ["CLIPModel"]
    (folder / "config.json").write_text(json.dumps(net.config.to_dict(), indent=2, sort_keys=True) + "\n")
    save_file({name: value.contiguous() for name, value in net.state_dict().items()}, folder / "model.safetensors",
              metadata={"format": "pt"})
    processor = CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    (folder / "preprocessor_config.json").write_text(json.dumps({
        "do_center_crop": True, "do_convert_rgb": True, "do_normalize": True, "do_rescale": True, "do_resize": True,
        "crop_size": {"height": SIDE, "width": SIDE}, "image_mean": list(processor.image_mean),
        "image_processor_type": "CLIPImageProcessor", "image_std": list(processor.image_std), "resample": 3,
        "rescale_factor": 1 / 255, "size": {"shortest_edge": SIDE},
    }, indent=2) + "\n")
    pixels, _ = read_digits(ROOT / "data" / "digits")
    digits = ((pixels[:5, 0] + 1) * 127.5).round().to(torch.uint8)
    images = torch.stack([digits[at : at + 3] for at in range(3)])
    # A larger picture, of which the shorter side is resized and the middle cut out.
    large = torch.cat([digits[0].repeat(2, 2), digits[1].repeat(2, 1)], 1)[None].repeat(3, 1, 1)
    net = net.double()
    tokens = tokenizer(CAPTIONS, padding=True, return_tensors="pt")

    @torch.no_grad()
    def embedded(images):
        values = processor([image.permute(1, 2, 0).numpy() for image in images], return_tensors="pt")["pixel_values"]
        values = values.double()
        return net.visual_projection(net.vision_model(pixel_values=values).pooler_output)

    with torch.no_grad():
        text = net.text_projection(net.text_model(**tokens).pooler_output)
    of_images, of_large = embedded(images), embedded(large[None])
    normal = [rows / rows.norm(dim=-1, keepdim=True) for rows in (of_images, text)]
    each = 100 * (normal[0] * normal[1]).sum(-1)

    class Processor:
        """What torchmetrics asks of a processor."""

        def __call__(self, text=None, images=None, **_):
            if images is not None:
                arrays = [np.asarray(image.cpu()).transpose(1, 2, 0) for image in images]
                return {"pixel_values": processor(arrays, return_tensors="pt")["pixel_values"].double()}
            return tokenizer(text, padding=True, return_tensors="pt")

    class Features:
        """transformers 5 returns an object where torchmetrics 1.9 expects a tensor."""

        config = net.config

        def to(self, _):
            return self

        @torch.no_grad()
        def get_image_features(self, pixels):
            return net.get_image_features(pixel_values=pixels).pooler_output

        @torch.no_grad()
        def get_text_features(self, ids, mask):
            return net.get_text_features(input_ids=ids, attention_mask=mask).pooler_output

    scores, _ = _clip_score_update(list(images), CAPTIONS, Features(), Processor())
    assert torch.allclose(scores.double(), each, atol=1e-9), (scores, each)
    np.save(folder / "images.npy", of_images.numpy())
    np.save(folder / "large.npy", of_large.numpy())
    Image.fromarray(large.permute(1, 2, 0).numpy()).save(folder / "large.png")
    golden_json = {"captions": CAPTIONS, "each": each.tolist(), "mean": max(float(each.mean()), 0.0),
                   "torchmetrics": max(float(scores.mean()), 0.0)}
    (folder / "golden.json").write_text(json.dumps(golden_json, indent=1) + "\n")
    print((folder / "golden.json").read_text())
