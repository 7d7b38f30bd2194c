"""Auto-encoder priors on disk: the tensors of a ShapePrior, and those of its networks."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor, nn

from diffrender._tensors import json_of
from diffrender.blocksparse import SparsityConfig
from diffrender.errors import InputError
from diffrender.shape_priors.decoder import DecoderSettings, ShapeDecoder
from diffrender.shape_priors.neural import NeuralPrior
from diffrender.shape_priors.point_encoder import PointEncoder
from diffrender.shape_priors.prior import ShapePrior
from diffrender.shape_priors.texture_decoder import TextureDecoder, TextureSettings

__all__ = ["PARTS", "neural_header", "neural_tensors", "read_networks"]

VERSION = 1
PARTS = ("decoder", "encoder", "texture")
_WIDEST, _DEEPEST = 8192, 16
_INTEGERS = ("texture.source",)
_PATTERN = ("row_offsets", "column_indices")


def neural_header(prior: NeuralPrior) -> str:
    """What the networks are, as JSON for the file's header."""
    assert prior.decoder is not None
    record: dict[str, Any] = {
        "version": VERSION,
        "decoder": _sizes(prior.decoder.settings),
        "encoder": None if prior.encoder is None else {"width": prior.encoder.width},
        "texture": None,
    }
    if prior.texture is not None:
        own = prior.texture.settings
        record["texture"] = _sizes(own) | {
            "latent_size": own.latent_size,
            "resolution": own.resolution,
        }
    return json.dumps(record, sort_keys=True)


def neural_tensors(prior: NeuralPrior) -> dict[str, Tensor]:
    """Tensors of the networks by "part.name", and "mirror"; floats in single precision."""
    assert prior.mirror is not None
    tensors = {"mirror": prior.mirror.to("cpu", torch.int32)}
    for part in PARTS:
        module = getattr(prior, part)
        if module is not None:
            for name, value in module.state_dict().items():
                kind = torch.float32 if value.is_floating_point() else torch.int32
                tensors[f"{part}.{name}"] = value.detach().to("cpu", kind).contiguous()
    return tensors


def read_networks(base: ShapePrior, text: str, tensors: dict[str, Tensor]) -> NeuralPrior:
    """A prior from its linear part, the header and the tensors that neural_tensors gave.

    Nothing is allocated that the file does not hold: sizes in the header are compared with the
    tensors' before a network is built.

    Raises:
        InputError: what is not sound.
    """
    header = _header(text)
    if "mirror" not in tensors:
        raise InputError("tensors missing: ['mirror']")
    mirror = tensors["mirror"].long()
    decoder_settings = DecoderSettings(**_network_sizes("decoder", header["decoder"]))
    own = {p: _of_part(tensors, p) for p in PARTS}
    unknown = sorted(
        n for n in tensors if n != "mirror" and not n.startswith(tuple(f"{p}." for p in PARTS))
    )
    if unknown:
        raise InputError(f"unknown tensors: {unknown}")
    _check_width("decoder", own["decoder"], decoder_settings.width)
    decoder = ShapeDecoder(base.mean, base.basis, mirror, decoder_settings)
    _load("decoder", decoder, own["decoder"])
    encoder = texture = None
    if header["encoder"] is not None:
        width = _whole("encoder", header["encoder"], "width", _WIDEST)
        _check_width("encoder", own["encoder"], width, "point.4.weight")
        encoder = PointEncoder(base.latent_size, width)
        _load("encoder", encoder, own["encoder"])
    if header["texture"] is not None:
        record = dict(header["texture"])
        latents = _whole("texture", record, "latent_size", 64)
        side = _whole("texture", record, "resolution", 512)
        sizes = _network_sizes("texture", {k: record.get(k) for k in _SIZES})
        settings = TextureSettings(latent_size=latents, resolution=side, **sizes)
        _check_width("texture", own["texture"], settings.width)
        if "source" not in own["texture"]:
            raise InputError("tensors missing: ['texture.source']")
        texture = TextureDecoder(own["texture"]["source"].long(), settings)
        _load("texture", texture, own["texture"])
    fields = {name: getattr(base, name) for name in ShapePrior.__dataclass_fields__}
    return NeuralPrior(**fields, mirror=mirror, decoder=decoder, encoder=encoder, texture=texture)


_SIZES = ("width", "hidden", "sparsity")


def _sizes(settings: DecoderSettings | TextureSettings) -> dict[str, Any]:
    sparsity = settings.sparsity
    record = None
    if sparsity is not None:  # the back-end is the reader's choice
        record = {
            "density": sparsity.density,
            "block_size": list(sparsity.block_shape),
            "mode": sparsity.mode,
        }
    return {"width": settings.width, "hidden": settings.hidden, "sparsity": record}


def _header(text: str) -> dict[str, Any]:
    try:
        raw = json_of(text)
    except ValueError as error:
        raise InputError(f"the networks' header is not JSON ({error})") from error
    keys = {"version", *PARTS}
    if not isinstance(raw, dict) or set(raw) != keys:
        raise InputError(f"the networks' header must hold exactly {', '.join(sorted(keys))}")
    if raw["version"] != VERSION:
        raise InputError(f"networks of version {raw['version']}, expected {VERSION}")
    for part in PARTS:
        fits = isinstance(raw[part], dict) or (raw[part] is None and part != "decoder")
        if not fits:
            raise InputError(f"header field '{part}' is not a record")
    return raw


def _network_sizes(part: str, record: dict[str, Any]) -> dict[str, Any]:
    if set(record) != set(_SIZES):
        raise InputError(f"header field '{part}' must hold exactly {', '.join(_SIZES)}")
    sparsity = record["sparsity"]
    if sparsity is not None:
        kinds = {"density": float | int, "block_size": list, "mode": str}
        sound = isinstance(sparsity, dict) and set(sparsity) == set(kinds)
        if not sound or not all(isinstance(sparsity[k], kind) for k, kind in kinds.items()):
            raise InputError(f"header field '{part}' has a sparsity of unknown form")
        block = sparsity["block_size"]
        if len(block) != 2 or not all(isinstance(side, int) for side in block):
            raise InputError(f"header field '{part}' has blocks of {block}, expected two sides")
        sparsity = SparsityConfig(
            float(sparsity["density"]), (block[0], block[1]), sparsity["mode"]
        )
    return {
        "width": _whole(part, record, "width", _WIDEST),
        "hidden": _whole(part, record, "hidden", _DEEPEST),
        "sparsity": sparsity,
    }


def _whole(part: str, record: dict[str, Any], name: str, most: int) -> int:
    value = record.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise InputError(f"header field '{part}' has a {name} of {value!r}, expected 1 to {most}")
    return value


def _of_part(tensors: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    return {n.removeprefix(f"{part}."): t for n, t in tensors.items() if n.startswith(f"{part}.")}


def _check_width(
    part: str, tensors: dict[str, Tensor], width: int, name: str = "network.0.weight"
) -> None:
    if name not in tensors or tensors[name].dim() != 2 or len(tensors[name]) != width:
        raise InputError(f"tensor '{part}.{name}' does not have the width {width} of the header")


def _load(part: str, module: nn.Module, tensors: dict[str, Tensor]) -> None:
    for name, value in module.state_dict().items():
        got = tensors.get(name)
        if got is None:
            raise InputError(f"tensors missing: ['{part}.{name}']")
        if name.endswith(_PATTERN):  # checked by the layer, which wants the values of the pattern
            continue
        if name.endswith(".values") and got.dim() == 3:
            blocks = len(tensors.get(name.removesuffix("values") + "column_indices", got))
            if got.shape[1:] != value.shape[1:] or len(got) < blocks:
                raise InputError(f"tensor '{part}.{name}' does not fit its pattern")
            continue
        if got.shape != value.shape:
            raise InputError(
                f"tensor '{part}.{name}' has shape {tuple(got.shape)}, expected "
                f"{tuple(value.shape)}"
            )
    try:
        module.load_state_dict(tensors)
    except (RuntimeError, InputError) as error:
        raise InputError(f"the tensors of '{part}' do not fit: {str(error)[:200]}") from error
    module.requires_grad_(False).eval()
