"""Bring labels and results together: which frames, what is missing, the rows of both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from diffrender.errors import InputError
from diffrender.evaluate.frame_files import FrameFiles
from diffrender.evaluate.kitti_case import Scene
from diffrender.evaluate.kitti_report import InputFacts
from diffrender.evaluate.kitti_rows import parse_files
from diffrender.evaluate.pair_overlaps import pair_overlaps

__all__ = ["load_scene"]

LABEL_COLUMNS = (15, 16)  # labels made from detections may keep their score; it is not used
RESULT_COLUMNS = (16, 16)


def load_scene(
    labels: FrameFiles,
    results: FrameFiles,
    frames: Sequence[str] | None,
    strict: bool,
    wrong_rows: Literal["fail", "drop"],
    backend: str,
) -> tuple[Scene, InputFacts]:
    """Parse both, measure their overlaps, and say what was there.

    Raises:
        InputError: see `kitti_average_precision`.
    """
    names, missing, extra = _choose(labels, results, frames)
    if strict and missing:
        raise InputError(
            f"{results.source}: {len(missing)} frames have no result file, the first is "
            f"{missing[0]}.txt; write an empty file for a frame without detections"
        )
    if strict and extra:
        raise InputError(
            f"{labels.source}: {len(extra)} result files have no label, the first is {extra[0]}.txt"
        )
    truths = parse_files(labels, names, LABEL_COLUMNS, wrong_rows, backend)
    founds = parse_files(results, names, RESULT_COLUMNS, wrong_rows, backend)
    scene = Scene(tuple(names), truths, founds, pair_overlaps(truths, founds, backend), backend)
    return scene, InputFacts(
        labels.source,
        results.source,
        len(names),
        tuple(missing),
        tuple(extra),
        int((np.diff(founds.starts) == 0).sum()) - len(missing),
        len(truths.kind),
        len(founds.kind),
        (*truths.wrong, *founds.wrong),
    )


def _choose(
    labels: FrameFiles, results: FrameFiles, frames: Sequence[str] | None
) -> tuple[list[str], list[str], list[str]]:
    """Frames to evaluate, those without a result file, and results without a label."""
    labelled, detected = set(labels.names), set(results.names)
    if frames is None:
        names = [name for name in results.names if name in labelled]
        if not names:
            raise InputError(
                f"no result file has a label of its name: {results.source} has "
                f"{results.names[0]}.txt, {labels.source} has {labels.names[0]}.txt"
                if results.names and labels.names
                else f"{results.source} and {labels.source} share no frame"
            )
        return names, [], [name for name in results.names if name not in labelled]
    names = list(frames)
    if not names or len(set(names)) < len(names):
        raise InputError("the list of frames is empty or names a frame twice")
    unlabelled = [name for name in names if name not in labelled]
    if unlabelled:
        raise InputError(
            f"{labels.source}: {len(unlabelled)} of the {len(names)} frames asked for have no "
            f"label file, the first is {unlabelled[0]}.txt"
        )
    missing = [name for name in names if name not in detected]
    if len(missing) == len(names):
        raise InputError(
            f"{results.source} has none of the {len(names)} frames asked for; it has "
            f"{len(results.names)} files"
            + (f", the first is {results.names[0]}.txt" if results.names else "")
        )
    return names, missing, []
