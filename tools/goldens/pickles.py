"""Small checkpoints written by torch, and the same tensors as safetensors: tests/golden/pickle/.

    python -m tools.goldens.pickles
"""

import collections
import io
import sys
import zipfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

HERE = Path(__file__).resolve().parents[2] / "tests" / "golden" / "pickle"


def tensors():
    """Every layout of a tensor in a storage: whole, a part, transposed, strided, repeated, shared, empty, a scalar."""
    generator = torch.Generator().manual_seed(7)
    base = torch.randn(4, 6, generator=generator)
    state = collections.OrderedDict()
    state["whole"] = base
    state["part"] = base[1:3]
    state["transposed"] = base.t()
    state["strided"] = base[::2, 1::3]
    state["kernel"] = torch.randn(2, 3, 3, 3, generator=generator).to(memory_format=torch.channels_last)
    state["repeated"] = torch.randn(1, 3, generator=generator).expand(4, 3)
    state["shared"] = base.view(24)[5:11]
    state["half"] = base.half()
    state["brain"] = base.bfloat16().t()
    state["double"] = base.double()
    state["parameter"] = torch.nn.Parameter(base[3].clone())
    state["scalar"] = torch.tensor(0.25)
    state["empty"] = torch.zeros(0, 5)
    return state


def others():
    """Tensors that are not weights, and that a state dict may hold."""
    return {"steps": torch.tensor([3, 4]), "mask": torch.tensor([True, False])}


def with_order(path, source, order):
    """The archive `source` as a machine with the other order of bytes writes it."""
    sizes = {}
    state = torch.load(source, weights_only=True)
    for tensor in state.values():
        sizes[tensor.untyped_storage().data_ptr()] = tensor.element_size()
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as new:
        for item in old.infolist():
            data = old.read(item)
            if item.filename.endswith("byteorder"):
                data = order
            elif "/data/" in item.filename:
                data = b"".join(data[i : i + 4][::-1] for i in range(0, len(data), 4))
            new.writestr(item.filename, data)


def main():
    HERE.mkdir(parents=True, exist_ok=True)
    state = tensors()
    save_file({name: tensor.detach().contiguous().clone() for name, tensor in state.items()}, HERE / "expected.safetensors")
    torch.save(state | others(), HERE / "zip.pt")
    torch.save(state | others(), HERE / "legacy.pt", _use_new_zipfile_serialization=False)
    torch.save(state, HERE / "protocol5.pt", pickle_protocol=5)
    floats = {name: tensor for name, tensor in state.items() if tensor.dtype == torch.float32 and name != "scalar"}
    buffer = io.BytesIO()
    torch.save(floats, buffer)
    buffer.seek(0)
    with_order(HERE / "big_endian.pt", buffer, b"big")

    # As ermongroup/ddim writes them: model, optimiser, epoch, step, averaged weights; names as of DataParallel.
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    parallel = {f"module.{name}": value for name, value in model.state_dict().items()}
    average = {name: torch.full_like(value, 0.5) for name, value in parallel.items()}
    torch.save([parallel, optimizer.state_dict(), 3, 70, average], HERE / "ermongroup.ckpt")
    torch.save({"epoch": 3, "loss": torch.tensor(0.5), "optimizer": optimizer.state_dict(),
                "state_dict": {"weight": torch.full((2, 3), 2.0)}}, HERE / "nested.ckpt")

    # The network of tests/bad/sound as diffusers wrote it before safetensors.
    sound = HERE.parents[1] / "bad" / "sound"
    old = HERE / "only-bin"
    old.mkdir(exist_ok=True)
    for name in ["config.json", "scheduler_config.json"]:
        (old / name).write_bytes((sound / name).read_bytes())
    torch.save(load_file(sound / "diffusion_pytorch_model.safetensors"), old / "diffusion_pytorch_model.bin")
    print(sys.version.split()[0], torch.__version__)


if __name__ == "__main__":
    main()
