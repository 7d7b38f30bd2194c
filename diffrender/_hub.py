"""Models of the Hugging Face hub: where they are, under which licence, and what offline means."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from diffrender.errors import InputError, require

__all__ = [
    "HubModel",
    "check_licence",
    "download_card",
    "find_model",
    "first_line",
    "is_non_commercial",
    "read_licence",
    "unreachable",
]


@dataclass(frozen=True)
class HubModel:
    """Attributes:
    source: a folder, or a name such as OWNER/MODEL.
    local: whether it is a folder.
    licence: of the model card, or "" where it states none.
    """

    source: str
    local: bool
    licence: str


def find_model(
    weights: str | Path | None, what: str, example: str, *, allowed: bool, settings: str
) -> HubModel:
    """The model with its licence checked.

    Args:
        what: how messages call it, such as "the depth network 'hub'".
        allowed: whether a licence that forbids commercial use, or none, is accepted.
        settings: how that is said in Python, for the message.

    Raises:
        InputError: no name, neither a folder nor a name, a licence that is not accepted, or a
            hub that cannot be reached (with the command that mends it).
        MissingExtraError: huggingface_hub is not installed.
    """
    if weights is None:
        raise InputError(f"{what} needs weights=NAME or FOLDER, for instance weights='{example}'")
    source = str(weights)
    local = Path(source).is_dir()
    if not local and not re.fullmatch(r"[\w.-]+/[\w.-]+", source):
        raise InputError(f"weights is {source!r}: neither a folder nor a name like OWNER/MODEL")
    require("transformers", "hub")
    licence = read_licence(Path(source) if local else download_card(source, None))
    check_licence(source, licence, local=local, allowed=allowed, settings=settings)
    return HubModel(source, local, licence)


def read_licence(folder: Path) -> str:
    """The `license` of the model card (README.md) in a folder, or "" where it states none."""
    card = folder / "README.md"
    if not card.is_file():
        return ""
    text = card.read_text(encoding="utf-8", errors="replace")[:65536]
    front = re.match(r"---\s*\n(.*?)\n---", text, re.DOTALL)
    found = re.search(r"^license:\s*(\S+)", front.group(1), re.MULTILINE) if front else None
    return found.group(1).strip("'\"").lower() if found else ""


def is_non_commercial(licence: str) -> bool:
    """Whether a licence identifier forbids commercial use (cc-by-nc-4.0, ...-research, ...)."""
    words = re.split(r"[^a-z]+", licence.lower())
    return any(word in ("nc", "noncommercial", "research") for word in words) or (
        "non-commercial" in licence.lower()
    )


def check_licence(source: str, licence: str, *, local: bool, allowed: bool, settings: str) -> None:
    """Raise InputError where commercial use is not known to be permitted and not waived."""
    # A folder without a card was put there by the user, who has read the terms elsewhere.
    unknown = licence in ("", "other", "unknown") and not local
    if allowed or not (unknown or is_non_commercial(licence)):
        return
    what = f"the licence '{licence}'" if licence else "no stated licence"
    raise InputError(
        f"{source} has {what}, which is not known to permit commercial use; to run it all the same "
        f"pass {settings}"
    )


def download_card(source: str, revision: str | None) -> Path:
    """Folder of the model card, fetched or from the cache.

    Raises:
        InputError: the hub cannot be reached, or has no such model.
    """
    hub = require("huggingface_hub", "hub")
    try:
        return Path(hub.hf_hub_download(source, "README.md", revision=revision)).parent
    except Exception as error:  # offline, a wrong name and a gated model raise unrelated types
        raise unreachable(source, error) from error


def unreachable(source: str, error: Exception) -> InputError:
    """The error of a hub that cannot be reached, with the way round it."""
    return InputError(
        f"{source} could not be fetched from the hub ({first_line(error)}); without a network, "
        f"download config.json, preprocessor_config.json and model.safetensors of {source} on "
        f"another machine (hf download {source} --local-dir FOLDER) and pass weights=FOLDER"
    )


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its type."""
    return str(error).strip().split("\n")[0] or type(error).__name__
