"""`diffrender bench catalogue`: claims, basins of attraction and cost of every technique.

One JSON a technique is kept in --work DIR. A finished file is gone on from and not measured again:
delete it to measure that technique anew, and leave the others as they are.
"""

from __future__ import annotations

from pathlib import Path

from diffrender.catalogue import find_technique, list_techniques
from diffrender.catalogue.evaluate import (
    BasinSettings,
    CostSettings,
    Measured,
    Plan,
    bias_of,
    levels_of,
    load_measured,
    measure,
)
from diffrender.catalogue.evaluate.gradients import THRESHOLDS
from diffrender.errors import InputError
from diffrender.tools.bench_choices import TechniqueChoice
from diffrender.tools.bench_format import Report, Row, Target, machine
from diffrender.tools.console import note, warn

__all__ = ["bench_catalogue", "rows_of", "targets_of"]

_WORK = Path("out") / "catalogue"
# What can be measured within 50 s.
_QUICK = ("pixel-pair-antialiasing",)
_QUICK_PLAN = Plan(
    size=(24, 32),
    seconds_per_claim=3.0,
    basin=BasinSettings(size=(36, 48), yaw_errors=(10, 30), shift_errors=(0.1, 0.3), trials=1),
    cost=CostSettings(heights=(32, 64), subdivisions=(2, 3), repeats=3),
)


def bench_catalogue(*, quick: bool, techniques: TechniqueChoice) -> Report:
    """Measure what is missing, and report everything that is there.

    A technique that fails is a warning and a target that is not met; the others go on.
    """
    if techniques.reconstruct:
        from diffrender.tools.bench_catalogue_reconstruct import bench_reconstruct

        return bench_reconstruct(quick=quick, techniques=techniques)
    names = techniques.names or (_QUICK if quick else tuple(list_techniques()))
    for name in names:
        find_technique(name)  # a wrong name is refused before anything is measured
    folder = techniques.work or _WORK / ("quick" if quick else "full")
    folder.mkdir(parents=True, exist_ok=True)
    plan = _QUICK_PLAN if quick else Plan()
    rows, targets = [], []
    for name in names:
        try:
            measured = measure(name, folder, plan, machine(), note().print)
        except (RuntimeError, MemoryError, InputError) as error:
            warn(f"{name}: {error}")
            targets.append(Target(f"{name} is measured", str(error)[:200], None, False))
            path = folder / f"{name}.json"
            if not path.is_file():
                continue
            measured = load_measured(path)
        rows += rows_of(measured)
        targets += targets_of(measured)
    return Report(rows, targets)


def rows_of(measured: Measured) -> list[Row]:
    """The figures of one technique."""
    name, rows = measured.technique, []
    for claim in measured.claims or ():
        for move in claim.moves:
            for region in ("interior", "silhouette"):
                what = f"{move.move}, {region}, against {move.kind}"
                rows.append(Row(name, f"{what}: cosine", move.cosines[region], "cosine"))
                rows.append(Row(name, f"{what}: sign agrees", move.signs[region], "share"))
    bias = bias_of(list(measured.trials or ()))
    if bias is not None:
        what = "pose from the truth on a sharp picture"
        rows.append(Row(name, f"{what}: turned", bias.degrees, "degrees"))
        rows.append(Row(name, f"{what}: shifted", bias.shift, "share of length"))
    for level in levels_of(list(measured.trials or ())):
        error = (
            f"{level.error:g} degrees" if level.kind == "yaw" else f"{level.error:.0%} of length"
        )
        what = f"pose from {error}, recovered of {level.trials}"
        rows.append(Row(name, what, level.rate, "share"))
    for cell in measured.cells or ():
        size = f"{cell.value} rows" if cell.against == "height" else f"{cell.value} faces"
        both = 1e3 * (cell.forward + cell.backward)
        rows.append(Row(name, f"{size}: forward", 1e3 * cell.forward, "ms"))
        rows.append(Row(name, f"{size}: forward + backward", both, "ms", 1e3 * cell.spread))
        rows.append(Row(name, f"{size}: peak of tensors", cell.memory / 2**20, "MiB"))
    return rows


def targets_of(measured: Measured) -> list[Target]:
    """The claims of one technique, as goals."""
    found = []
    for claim in measured.claims or ():
        least = THRESHOLDS[claim.exactness]
        found.append(
            Target(
                f"{measured.technique}: {claim.parameter}, {claim.where}, {claim.exactness}",
                f"cosine >= {least.cosine}, sign >= {least.sign}",
                claim.cosine,
                claim.holds,
            )
        )
    return found
