"""`diffrender bench molecules`: GPS++, what its parts are worth, PyG's layers; one budget."""

from __future__ import annotations

import re
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from diffrender.errors import InputError, MissingExtraError
from diffrender.tools.bench_choices import MoleculeRuns as MoleculeRuns
from diffrender.tools.bench_format import Report, Row, Target, spread
from diffrender.tools.bench_molecules_cases import CASES, OURS, SIZES, Outcome, run_case
from diffrender.tools.console import note

if TYPE_CHECKING:
    from diffrender.graph import TrainingData

__all__ = ["MoleculeRuns", "bench_molecules", "report_of"]

LITTLE = 0.05  # attention adds little: the error without it is within this share


def bench_molecules(*, quick: bool, runs: MoleculeRuns) -> Report:
    """Every case with every seed, as far as the limit allows; first one seed of all.

    `quick` grows 60 molecules and trains tiny networks on them: a check that all of it runs.

    Raises:
        InputError: no data, or a size that is not offered.
        MissingExtraError: RDKit is not installed. Without PyG its rows are left out.
    """
    if runs.size not in SIZES:
        raise InputError(f"--size is '{runs.size}', expected one of: {', '.join(SIZES)}")
    with tempfile.TemporaryDirectory() as temporary:
        work = runs.work or Path(temporary)
        if quick:
            if runs.data is not None or runs.work is not None or runs.limit is not None:
                raise InputError(
                    "--quick makes its own molecules: leave out --data, --work and --limit"
                )
            return _quick(Path(temporary))
        if runs.data is None:
            raise InputError(
                "give the molecules with --data DIR; `diffrender synthetic molecules --out DIR` "
                "makes some"
            )
        return _run(runs, runs.data, work, batch=64, every=20_000)


def _quick(folder: Path) -> Report:
    from diffrender.graph.molecules import GrowSettings, SyntheticMolecules, write_molecules

    small = SyntheticMolecules(60, grow=GrowSettings(heavy_atoms=(4, 6)))
    write_molecules(folder / "data", small)
    runs = MoleculeRuns(graphs=480, size="tiny")
    return _run(runs, folder / "data", folder / "work", batch=16, every=480)


def _run(runs: MoleculeRuns, source: Path, work: Path, *, batch: int, every: int) -> Report:
    from diffrender.graph import GraphsSeen, GraphTrainSettings
    from diffrender.graph.molecules import PcqmFolder, PrepareSettings, molecule_data

    until = None if runs.limit is None else time.monotonic() + 60 * runs.limit
    data, failures = molecule_data(PcqmFolder(source), work / "graphs", PrepareSettings())
    if failures:
        note().print(f"{len(failures)} rows without a graph or a conformer", markup=False)
    outcomes: list[Outcome] = []
    absent: dict[str, str] = {}
    for seed in range(runs.seeds):
        for case in CASES:
            name = re.sub(r"[^A-Za-z0-9+]+", "-", f"{case} {runs.size} {runs.graphs} seed {seed}")
            settings = GraphTrainSettings(
                GraphsSeen(runs.graphs), batch=batch, every=every, seed=seed
            )
            try:
                outcome = run_case(case, runs.size, data, settings, work / "runs" / name, until)
            except MissingExtraError as error:  # a peer that is not installed
                absent[case] = str(error)
                continue
            if outcome is None:
                note().print(f"not finished: {case}, seed {seed}", markup=False)
                continue
            outcomes.append(outcome)
            note().print(
                f"{case}, seed {seed}: {outcome.error:.4f} eV, {outcome.seconds:.0f} s",
                markup=False,
            )
    report = report_of(outcomes, _median_error(data), f"{runs.size} networks, {runs.graphs} graphs")
    for case, reason in absent.items():
        report.leave_out(case, reason)
    return report


def report_of(outcomes: list[Outcome], floor: float, case: str) -> Report:
    """Rows and goals out of finished runs.

    Args:
        floor: error in eV of always predicting the median label of what was learned from.
        case: what the budget was.
    """
    errors = {name: [o.error for o in outcomes if o.case == name] for name in CASES}
    whole = f"{case}, held-out scaffolds"
    rows = [Row(whole, "median label", floor, "eV")]
    ours = statistics.median(errors[OURS]) if errors[OURS] else None
    for name in CASES:
        some = [o for o in outcomes if o.case == name]
        if not some:
            continue
        seeds = ", ".join(str(o.seed) for o in some)
        operation = f"{name}, {some[0].parameters} parameters, seeds {seeds}"
        middle = statistics.median(errors[name])
        wide = spread(errors[name]) if len(some) > 1 else None
        ratio = None if ours is None else middle / ours
        rows.append(Row(whole, operation, middle, "eV", wide, OURS, ratio))
        learned = statistics.median(o.train_error for o in some)
        rows.append(Row(f"{case}, learned molecules", operation, learned, "eV"))
        rate = statistics.median(o.graphs / o.seconds for o in some)
        threads = f"{some[0].threads} threads, {some[0].cpu}"
        rows.append(Row(f"training, {threads}", operation, rate, "graphs/s of processor time"))
    return Report(rows, _targets(outcomes))


def _targets(outcomes: list[Outcome]) -> list[Target]:
    """The published orderings, seed by seed; a goal is met only if it holds for every seed."""
    found = {(o.case, o.seed): o.error for o in outcomes}

    def ratios(other: str) -> list[float]:
        """Error of ours as a share of the other's, for the seeds that both have."""
        pairs = [(error, found.get((other, s))) for (c, s), error in found.items() if c == OURS]
        return [error / against for error, against in pairs if against is not None]

    def goal(name: str, text: str, other: str, low: float, high: float) -> Target:
        values = ratios(other)
        met = bool(values) and all(low < value < high for value in values)
        return Target(name, text, statistics.median(values) if values else None, met)

    below = "error of GPS++ in errors of the other, each seed: < 1"
    return [
        goal("3D in training helps", below, "GPS++ without 3D", 0, 1),
        goal("denoising helps", below, "GPS++ without denoising", 0, 1),
        goal(
            "attention adds little",
            f"the same with no attention in the other: within {LITTLE:.0%} of 1",
            "GPS++ without attention",
            1 - LITTLE,
            1 + LITTLE,
        ),
        goal("better than PyG's GPSConv", below, "PyG GPSConv", 0, 1),
        goal("better than PyG's GINE", below, "PyG GINE", 0, 1),
    ]


def _median_error(data: TrainingData) -> float:
    """Error in eV of the best constant."""
    middle = data.labels(data.train).median()
    return float((data.labels(data.valid) - middle).abs().mean())
