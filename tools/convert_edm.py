"""Convert a network of NVlabs' edm (a `network-snapshot-*.pkl` or a published `edm-*.pkl`) to a folder for downhill.

    git clone https://github.com/NVlabs/edm
    python tools/convert_edm.py edm-cifar10-32x32-uncond-vp.pkl cifar10/ --code edm
    downhill sample cifar10/ --steps 18

Such a file is a pickle of a whole network with its source code in it: opening it runs that code, so take only files
that you trust. `--code` is the checkout whose `torch_utils` and `dnnlib` the pickle needs. The folder holds
`config.json` (the arguments of the constructor), the weights as safetensors, and `scheduler_config.json` (the settings
of `edm_sampler`).
"""

import argparse
import json
import math
import pickle
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

WEIGHTS = "diffusion_pytorch_model.safetensors"
# The range of noise of `edm_sampler`, within that of the network.
SIGMAS = (0.002, 80.0)


def arguments(network):
    """The arguments that the constructor was called with. downhill has its defaults for the others."""
    if network.init_args:
        raise SystemExit(f"the network was made with arguments without names: {network.init_args}")
    return dict(network.init_kwargs)


def plain(value):
    """A value as JSON has it: null for an infinity, which is a range without an end."""
    if isinstance(value, float) and math.isinf(value):
        return None
    return list(value) if isinstance(value, tuple) else value


def weights(network):
    """The tensors of the network, without the filters of changes of resolution, which the configuration gives."""
    return {name: tensor.contiguous().clone() for name, tensor in network.state_dict().items()
            if not name.endswith(".resample_filter")}


def convert(network, folder, dtype=None):
    """Write the folder of an `EDMPrecond`."""
    name = type(network).__name__
    if name != "EDMPrecond":
        raise SystemExit(f"{name} is not EDMPrecond: networks with the preconditioning of VP, VE and iDDPM are not "
                         "supported")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = {"_class_name": name, **{key: plain(value) for key, value in arguments(network).items()}}
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    tensors = {key: tensor if dtype is None else tensor.to(dtype) for key, tensor in weights(network).items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / WEIGHTS).chmod(0o644)
    scheduler = {
        "_class_name": "edm_sampler",
        "sigma_data": float(network.sigma_data),
        "sigma_min": max(float(network.sigma_min), SIGMAS[0]),
        "sigma_max": min(float(network.sigma_max), SIGMAS[1]),
        "rho": 7.0,
        "S_churn": 0.0,
        "S_min": 0.0,
        "S_max": None,
        "S_noise": 1.0,
    }
    (folder / "scheduler_config.json").write_text(json.dumps(scheduler, indent=2) + "\n")


def load(file):
    """The averaged network in a pickle, or the pickle itself where it is one network. Runs the code in the file."""
    with open(file, "rb") as stream:
        content = pickle.load(stream)
    return content["ema"] if isinstance(content, dict) else content


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pickle", help="the file; its code is run")
    parser.add_argument("folder", help="the folder to write")
    parser.add_argument("--code", required=True, metavar="DIR", help="a checkout of https://github.com/NVlabs/edm")
    parser.add_argument("--float16", action="store_true", help="store the weights as float16")
    given = parser.parse_args()
    sys.path.insert(0, given.code)
    convert(load(given.pickle), given.folder, torch.float16 if given.float16 else None)
    print(f"wrote {given.folder}")
