"""The device that PyTorch computes on, held to float32 as downhill is.

Used by what `tools/compare_peers.py` starts and by `tools/compare_ideal.py`; has no command of its own.
"""

import sys

import torch


def chosen(name):
    """The device `cpu` or `cuda`; exits where PyTorch sees no GPU."""
    if name == "cuda":
        if not torch.cuda.is_available():
            sys.exit(f"error: PyTorch {torch.__version__} sees no CUDA device\n"
                     "hint: `nvidia-smi` says whether the driver does; leave out `--device cuda` for the processor")
        # A factor of TF32 has ten bits of fraction; float32 and downhill have 23.
        torch.set_float32_matmul_precision("highest")
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        # Measures cuDNN's algorithms at the first call of a shape and keeps the fastest.
        torch.backends.cudnn.benchmark = True
    return torch.device(name)


def wait(device):
    """Until all that was launched is done; on the processor it is done already."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def about(device):
    """What the figures depend on."""
    if device.type == "cuda":
        return {"GPU": torch.cuda.get_device_name(device), "cuDNN": torch.backends.cudnn.version(), "TF32": "off"}
    return {"threads": torch.get_num_threads(), "capability": torch.backends.cpu.get_cpu_capability()}
