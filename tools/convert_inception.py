"""Convert the weights of InceptionV3 of pytorch-fid or torch-fidelity to one safetensors for downhill.

    python tools/convert_inception.py pt_inception-2015-12-05-6726825d.pth inception.safetensors
    python tools/convert_inception.py weights-inception-2015-12-05-6726825d.pth inception.safetensors
    downhill inspect frechet images/ --features inception.safetensors --against statistics.npz

Both files hold TensorFlow's weights of 2015 under the same names. The tensors are copied as they are; only what no
feature needs is left out: the class layer and the counts of batches. downhill merges each convolution with the
normalisation behind it as it reads them, and reads the `.pth` files too; the safetensors is smaller, and its numbers
can be compared by any tool.
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file

# The layers of the network, as both packages call them, and the tensors of each.
LAYERS = 94
PARTS = ("conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")


def convert(state):
    """The tensors that features need, of a state dict."""
    if any(name.startswith("AuxLogits.") for name in state) or state.get("fc.bias", torch.empty(1008)).numel() != 1008:
        raise SystemExit("these are torchvision's weights, whose features are not those of the Frechet distance")
    kept = {name: value.float().contiguous() for name, value in state.items() if name.endswith(PARTS)}
    if len(kept) != LAYERS * len(PARTS):
        raise SystemExit(f"{len(kept)} tensors of convolutions and normalisations, expected {LAYERS * len(PARTS)}")
    return kept


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path, help="the .pth of pytorch-fid or torch-fidelity")
    parser.add_argument("output", type=Path, help="the safetensors to write")
    arguments = parser.parse_args()
    tensors = convert(torch.load(arguments.weights, map_location="cpu", weights_only=True))
    save_file(tensors, arguments.output, metadata={"format": "pt"})
    arguments.output.chmod(0o644)
    print(f"{arguments.output}: {sum(value.numel() for value in tensors.values())} numbers in {len(tensors)} tensors")


if __name__ == "__main__":
    main()
