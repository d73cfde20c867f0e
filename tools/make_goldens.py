"""Make the reference data under `tests/golden` with diffusers and torch.

    python tools/make_goldens.py                     # all that is committed, into tests/golden
    python tools/make_goldens.py --only unet         # one part; `--help` lists them
    python tools/make_goldens.py --edm DIR           # the networks of NVlabs/edm, by the code in the checkout DIR
    python tools/make_goldens.py --stable-diffusion DIR   # Stable Diffusion 1.5 with random weights, not committed
    python tools/make_goldens.py --stable-diffusion-xl DIR   # the same of SDXL
    python tools/make_goldens.py --cifar10 DIR       # a full-size network, not committed; also --celeba64, --celebahq

Every part is seeded; versions are pinned in `tools/requirements.txt`. What the files mean is told in
`tests/golden/README.md`.
"""

import argparse
from pathlib import Path

import torch
from diffusers.utils import logging

from goldens import (
    adjoints,
    autoencoders,
    chains,
    clip,
    conditioned,
    dit,
    edm,
    guidance,
    inception,
    inpainting,
    latent,
    lora,
    one_step,
    pictures,
    prompts,
    quality,
    single_files,
    spectra,
    stable_diffusion,
    stable_diffusion_xl,
    tables,
    tangents,
    text_models,
    tiny,
    trajectories,
    trajectories_edges,
    trajectories_more,
    unets,
)

GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "golden"
PARTS = {
    "unet": lambda: unets.write_all(GOLDEN / "unet"),
    "conditioned": lambda: conditioned.write_all(GOLDEN / "conditioned"),
    "autoencoder": lambda: autoencoders.write_all(GOLDEN / "autoencoder"),
    "tiny": lambda: tiny.write_all(GOLDEN / "tiny"),
    "latent": lambda: latent.write_all(GOLDEN / "latent"),
    "single-files": lambda: single_files.write_all(GOLDEN),  # reads the folders of `latent`
    "text-models": lambda: text_models.write_all(GOLDEN / "latent"),
    "lora": lambda: lora.write_all(GOLDEN),  # on top of `latent`
    "prompts": lambda: prompts.write_all(GOLDEN),  # on top of `latent`
    "tangent": lambda: tangents.write_all(GOLDEN),
    "adjoint": lambda: adjoints.write_all(GOLDEN),  # of the networks of other parts
    "trajectory": lambda: trajectories.write_all(GOLDEN),  # removes the folder, so that the next part has to follow
    "trajectory-more": lambda: trajectories_more.write_all(GOLDEN),
    "trajectory-edges": lambda: trajectories_edges.write_all(GOLDEN),
    "one-step": lambda: one_step.write_all(GOLDEN),
    "tables": lambda: tables.write_all(GOLDEN),
    "inpaint": lambda: inpainting.write_all(GOLDEN),
    "pictures": pictures.main,
    "dit": lambda: dit.write_all(GOLDEN),
    "guidance": lambda: guidance.write_all(GOLDEN),  # on top of `dit`
    "chains": lambda: chains.write_all(GOLDEN / "chains"),
    "quality": lambda: quality.write(GOLDEN),
    "inception": lambda: inception.write(GOLDEN),
    "clip": lambda: clip.write(GOLDEN),  # with the tokenizer of `latent`
    "spectra": lambda: spectra.write_all(GOLDEN / "spectra"),
}


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=PARTS, help="make one part")
    for name in unets.PUBLISHED:
        parser.add_argument(f"--{name}", metavar="DIR", help=f"write the topology of {name} there, and nothing else")
    parser.add_argument("--edm", metavar="DIR", help="write what a checkout of NVlabs/edm gives, and nothing else")
    parser.add_argument("--stable-diffusion", metavar="DIR", help="write Stable Diffusion 1.5 there, and nothing else")
    parser.add_argument("--tokens", metavar="WHEEL", help="write tokens by CLIP's vocabulary, which the wheel of open_clip_torch "
                        "holds, and nothing else")
    parser.add_argument("--stable-diffusion-xl", metavar="DIR", help="write Stable Diffusion XL there, and nothing else")
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse_arguments()
    logging.set_verbosity_error()
    if arguments.stable_diffusion:
        stable_diffusion.write(arguments.stable_diffusion)
        raise SystemExit
    if arguments.tokens:
        single_files.write_tokens(GOLDEN, arguments.tokens)
        raise SystemExit
    if arguments.stable_diffusion_xl:
        stable_diffusion_xl.write(arguments.stable_diffusion_xl)
        raise SystemExit
    torch.set_num_threads(1)  # these networks are too small to share
    if arguments.edm:
        edm.write_all(GOLDEN, arguments.edm)
        raise SystemExit
    full_size = {name: getattr(arguments, name) for name in unets.PUBLISHED if getattr(arguments, name)}
    for name, folder in full_size.items():
        unets.write_published(name, folder)
    for part, make in PARTS.items():
        if not full_size and arguments.only in (None, part):
            make()
