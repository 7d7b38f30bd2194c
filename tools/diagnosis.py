"""Every package, back-end and shipped file: whether it can be used here, why not, how to get it."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from diffrender.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    import torch

__all__ = ["Finding", "diagnose"]


@dataclass(frozen=True)
class Finding:
    """One package, back-end or asset.

    Attributes:
        group: "required", "extra", "back-end" or "asset".
        name: as its users call it.
        present: whether it can be used here.
        version: its version or what was found, "" if nothing is known.
        reason: why it cannot be used, "" if it can.
        mend: how to get it, "" if it is there.
    """

    group: str
    name: str
    present: bool
    version: str = ""
    reason: str = ""
    mend: str = ""


# distribution -> module that is imported to see whether it works
_REQUIRED = {
    "torch": "torch",
    "numpy": "numpy",
    "opencv-python": "cv2",
    "kornia": "kornia",
    "torchvision": "torchvision",
    "timm": "timm",
    "trimesh": "trimesh",
    "safetensors": "safetensors.torch",
    "scipy": "scipy.optimize",
    "rich": "rich",
    "typer": "typer",
    "pillow": "PIL.Image",
    "matplotlib": "matplotlib",
}
# distribution -> (module, extra); extras that nothing calls yet are left out
_EXTRA = {
    "onnxruntime": ("onnxruntime", "onnx"),
    "transformers": ("transformers", "hub"),
    "huggingface_hub": ("huggingface_hub", "hub"),
    "pytorch3d": ("pytorch3d", "pytorch3d"),
    "ray": ("ray", "cluster"),
    "tensorboard": ("tensorboard", "train"),
    "rdkit": ("rdkit.Chem", "molecules"),
    "tblite": ("tblite.interface", "xtb"),
    "deodr": ("deodr", "bench"),
    "mitsuba": ("mitsuba", "bench"),
    "moderngl": ("moderngl", "bench"),
    "sparse-dot-mkl": ("sparse_dot_mkl", "bench"),
    "torch-geometric": ("torch_geometric", "bench"),
}
_PRIORS = ("car", "car-autoencoder", "pedestrian", "cyclist", "free")

_MEND_BACK_END = {
    "native": "install a C++17 compiler (apt install g++), then reinstall diffrender",
    "pytorch3d": "build PyTorch3D from source for your torch",
    "triton": "a CUDA device and a CUDA build of torch",
}


def diagnose() -> list[Finding]:
    """Look at every package, back-end and asset. Imports them: takes some seconds."""
    found = [_package("required", name, module, "") for name, module in _REQUIRED.items()]
    found += [_package("extra", name, *where) for name, where in _EXTRA.items()]
    return found + _back_ends() + _assets()


def _package(group: str, name: str, module: str, extra: str) -> Finding:
    mend = f"pip install 'diffrender[{extra}]'" if extra else f"pip install {name}"
    if name == "pytorch3d":
        mend = "build it from source for your torch (the registry has no wheel for it)"
    version, reason = _version(name), _import_error(module)
    if reason and not version:
        return Finding(group, name, False, "", "not installed", mend)
    if reason:
        return Finding(group, name, False, version, reason, f"reinstall: {mend}")
    return Finding(group, name, True, version + _torchvision_note(name))


def _version(name: str) -> str:
    # OpenCV comes under several names; any of them will do.
    for candidate in (name, f"{name}-headless") if name == "opencv-python" else (name,):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(candidate)
    return ""


def _import_error(module: str) -> str:
    """Import a module; returns the error on one line, or "" if it works."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if module in ("timm", "torchvision"):
                from diffrender._torchvision import ensure_torchvision

                ensure_torchvision()
            importlib.import_module(module)
    # A broken binary package may raise anything at import; that is what this command reports.
    except Exception as error:
        return " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return ""


def _torchvision_note(name: str) -> str:
    if name != "torchvision":
        return ""
    from diffrender._torchvision import ensure_torchvision

    mended = ensure_torchvision() == "mended"
    return " (its compiled operators do not load; not needed)" if mended else ""


def _back_ends() -> list[Finding]:
    from diffrender import blocksparse, raster
    from diffrender.native import instruction_set

    found = []
    for before, backends in (("", raster.backends()), ("block-sparse ", blocksparse.backends())):
        for name, reason in backends.items():
            version = (instruction_set() or "") if name == "native" else ""
            mend = _mend_back_end(name, reason)
            record = (before + name, reason is None, version, reason or "", mend)
            found.append(Finding("back-end", *record))
    return [*found, _cuda()]


def _mend_back_end(name: str, reason: str | None) -> str:
    if reason is None:
        return ""
    if name == "native" and os.environ.get("DIFFRENDER_NATIVE") == "off":
        return "unset DIFFRENDER_NATIVE"  # a compiler would change nothing
    return _MEND_BACK_END.get(name, "")


def _cuda() -> Finding:
    import torch

    if torch.cuda.is_available():
        return Finding("back-end", "cuda device", True, torch.cuda.get_device_name(0))
    if torch.version.cuda is None:
        mend = "install a CUDA build of torch"
        return Finding("back-end", "cuda device", False, "", "this torch is a CPU build", mend)
    reason = f"torch for CUDA {torch.version.cuda} finds no usable device"
    return Finding("back-end", "cuda device", False, "", reason, "check the driver: nvidia-smi")


def _assets() -> list[Finding]:
    """The shipped networks, priors and sample, loaded as a user would."""
    return [
        _asset("depth network dpt-timm", _load_network),
        _asset("segmenter street", _load_street),
        *(_asset(f"shape prior {name}", partial(_load_prior, name)) for name in _PRIORS),
        _asset("predictor", _load_predictor),
        _asset("heading network", _load_heading),
        _asset("mesh denoiser", _load_denoiser),
        _asset("mesh refiner", _load_refiner),
        _asset("sample of demo", _load_sample),
    ]


def _asset(name: str, load: Callable[[], str]) -> Finding:
    try:
        return Finding("asset", name, True, load())
    except (InputError, MissingExtraError, OSError) as error:  # OSError: the file is not there
        return Finding("asset", name, False, "", str(error), "reinstall diffrender")


def _load_network() -> str:
    from diffrender.depth import create_depth

    network = create_depth()
    return f"weights: {network.card.weights_licence}"


def _load_street() -> str:
    from diffrender.instances.street import shipped_street

    return _weights(shipped_street())


def _load_prior(name: str) -> str:
    from diffrender.shape_priors import load_prior

    prior = load_prior(name)
    return f"{prior.latent_size} latents, {len(prior.faces)} faces"


def _load_predictor() -> str:
    from diffrender.predict import load_predictor, shipped_predictor

    net = load_predictor(shipped_predictor())
    return f"{net.config.hypotheses} headings, {_weights(net)}"


def _load_heading() -> str:
    from diffrender.heading import shipped_heading

    return _weights(shipped_heading())


def _load_denoiser() -> str:
    from diffrender.graph.meshes import load_denoiser

    return _weights(load_denoiser())


def _load_refiner() -> str:
    from diffrender.graph.meshes import load_refiner

    return _weights(load_refiner())


def _weights(net: torch.nn.Module) -> str:
    return f"{sum(parameter.numel() for parameter in net.parameters()) / 1e6:.2f} million weights"


def _load_sample() -> str:
    from diffrender.datasets import load_camera_file, load_labels, sample_folder
    from diffrender.depth import read_depth
    from diffrender.instances.reading import read_id_image, read_image

    folder = sample_folder()
    image = read_image(folder / "image.jpg")
    load_camera_file(folder / "calib.txt")
    read_id_image(folder / "masks.png")
    read_depth(folder / "depth.png", 256.0)
    labels = load_labels(folder / "label.txt")
    return f"{image.shape[1]} x {image.shape[0]}, {len(labels)} objects"
