"""How well a prior explains real meshes: `python -m diffrender.shape_priors.fit FOLDER`.

Every OBJ or PLY file of the folder is fitted; the volumetric overlaps go to a JSON file.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

import torch

from diffrender._files import writable_folder, write_text_atomic
from diffrender.errors import InputError
from diffrender.shape_priors.files import load_prior
from diffrender.shape_priors.mesh_files import check_solid, find_axes, read_mesh, to_object_frame
from diffrender.shape_priors.prior import ShapePrior
from diffrender.shape_priors.registration import FitSettings, fit_prior

__all__ = ["fit_folder"]


def fit_folder(
    prior: ShapePrior,
    folder: str | Path,
    scale: float = 1.0,
    axes: tuple[str, str] | None = None,
    settings: FitSettings | None = None,
) -> dict[str, object]:
    """Fit a prior to every mesh of a folder.

    Args:
        prior: to fit.
        folder: of .obj and .ply files of closed meshes.
        scale: metres per unit of the files.
        axes: forward and up axis of the files, for example ("+z", "-y"); if left out, what most
            of the meshes suggest.
        settings: see FitSettings.

    Returns:
        A JSON-ready record: mean, median and worst volumetric IoU, a row per mesh, and the
        meshes that could not be fitted with their reasons.

    Raises:
        InputError: no such folder, or not one mesh in it that can be fitted.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of meshes")
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in (".obj", ".ply"))
    rows: list[dict[str, object]] = []
    failed: list[dict[str, str]] = []
    meshes = []
    found: Counter[tuple[str, str]] = Counter()
    for path in paths:
        try:
            vertices, faces = read_mesh(path)
            check_solid(str(path), vertices)
            if axes is None:
                found[find_axes(vertices)] += 1
        except InputError as error:
            failed.append({"file": path.name, "reason": str(error)})
            continue
        meshes.append((path, vertices, faces))
    if axes is None and meshes:
        axes = found.most_common(1)[0][0]
    overlaps: list[float] = []
    for path, vertices, faces in meshes:
        assert axes is not None
        try:
            target = to_object_frame(vertices, *axes, scale)
            result = fit_prior(prior, target, faces, settings)
        except InputError as error:
            failed.append({"file": path.name, "reason": str(error)})
            continue
        overlaps.append(result.iou)
        rows.append(
            {
                "file": path.name,
                "iou": round(result.iou, 4),
                "size": [round(v, 3) for v in result.size.tolist()],
                "latent": [round(v, 3) for v in result.latent.tolist()],
                "distance": round(result.distance, 4),
            }
        )
    if not overlaps:
        reasons = "; ".join(item["reason"] for item in failed[:3]) or "it holds no .obj or .ply"
        raise InputError(f"{folder}: not one mesh could be fitted ({reasons})")
    ordered = torch.tensor(overlaps)
    return {
        "schema": 1,
        "prior": prior.name,
        "axes": axes,
        "scale": scale,
        "mean_iou": round(float(ordered.mean()), 4),
        "median_iou": round(float(ordered.median()), 4),
        "worst_iou": round(float(ordered.min()), 4),
        "rows": sorted(rows, key=lambda row: str(row["file"])),
        "failed": failed,
    }


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code (2 for an input that cannot be used)."""
    parser = argparse.ArgumentParser(
        prog="python -m diffrender.shape_priors.fit",
        description="Fit a shape prior to every mesh of a folder and report the overlaps.",
    )
    parser.add_argument("folder", help="folder of closed .obj or .ply meshes")
    parser.add_argument("--prior", default="car", help="name or file of the prior")
    parser.add_argument("--scale", type=float, default=1.0, help="metres per unit of the files")
    parser.add_argument("--forward", help="forward axis of the files, such as --forward=+z")
    parser.add_argument("--up", help="up axis of the files, such as --up=-y; found if left out")
    parser.add_argument("--mean-only", action="store_true", help="hold the latents at the mean")
    parser.add_argument("--json", type=Path, help="write the record here")
    options = parser.parse_args(arguments)
    settings = FitSettings(latent_weight=1e9) if options.mean_only else FitSettings()
    axes = (options.forward, options.up) if options.forward and options.up else None
    try:
        if axes is None and (options.forward or options.up):
            raise InputError("--forward and --up come together: give both or neither")
        if options.json is not None:
            writable_folder(options.json.parent)  # before the fits, which take long
        record = fit_folder(
            load_prior(options.prior), options.folder, options.scale, axes, settings
        )
        if options.json is not None:
            write_text_atomic(options.json, json.dumps(record, indent=1))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.filename is None:
            raise
        print(f"error: {error.filename}: {error.strerror or error}", file=sys.stderr)
        return 2
    rows, failed = record["rows"], record["failed"]
    assert isinstance(rows, list)
    assert isinstance(failed, list)
    print(
        f"{len(rows)} meshes, volumetric IoU: mean {record['mean_iou']}, "
        f"median {record['median_iou']}, worst {record['worst_iou']}"
    )
    for item in failed:
        print(f"not fitted: {item['file']}: {item['reason']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
