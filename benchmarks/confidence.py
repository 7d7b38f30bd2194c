"""Calibrate the confidence on synthetic streets, and show its reliability on other ones.

    python benchmarks/streets.py rows fit.jsonl --seed 7 --scenes 60 --depth mixed
    python benchmarks/streets.py rows shown.jsonl --seed 1 --scenes 60 --depth mixed
    python benchmarks/confidence.py fit.jsonl shown.jsonl --json FILE --picture FILE.png

A logistic regression is fitted on the first file, whose constants go to
diffrender/reconstruct/confidence.py; its reliability is drawn on the second, which it never saw.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from diffrender._files import atomic_path, write_text_atomic
from diffrender.reconstruct.confidence import Agreement, Calibration, probability

RIGHT = 0.7  # 3D IoU
PRECISIONS = (0.3, 1.0, 3.0, 10.0, 30.0)  # of the prior on the weights


def read(path: Path) -> tuple[list[Agreement], np.ndarray, np.ndarray]:
    """Agreements, whether each car is right, and which scene it is in."""
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    cars = [row for row in found if row["name"] is not None and row["error"] is not None]
    right = np.array([row["error"]["iou"] >= RIGHT for row in cars], dtype=float)
    if not cars:
        raise SystemExit(
            f"{path} holds no car with an error; expected rows of streets.py with some"
        )
    scenes = np.array([row["scene"] for row in cars])
    return [Agreement(**row["agreement"]) for row in cars], right, scenes


def fit(agreements: list[Agreement], right: np.ndarray, scenes: np.ndarray) -> Calibration:
    """Logistic regression with a normal prior on the weights.

    How narrow the prior is, and by how much the log odds are stretched or shrunk in the end, follow
    from scenes left out one at a time: a fit is always surer of the cars that it was fitted on.
    """
    features = np.stack([a.features() for a in agreements])
    mean, spread = features.mean(0), features.std(0) + 1e-6
    design = np.concatenate([(features - mean) / spread, np.ones((len(features), 1))], axis=1)
    held = {}
    for precision in PRECISIONS:
        odds = np.zeros(len(right))
        for scene in np.unique(scenes):
            out = scenes == scene
            odds[out] = design[out] @ newton(design[~out], right[~out], precision)
        held[precision] = odds
    best = min(PRECISIONS, key=lambda precision: log_loss(held[precision], right))
    stretched = np.stack([held[best], np.ones(len(right))], axis=1)
    slope, shift = newton(stretched, right, 1e-3)
    weights = slope * newton(design, right, best)
    weights[-1] += shift

    def rounded(values: np.ndarray) -> tuple[float, ...]:
        return tuple(round(float(v), 3) for v in values)

    print(f"precision of the prior {best:g}, log odds times {slope:.2f} plus {shift:.2f}")
    return Calibration(
        round(float(weights[-1]), 3), rounded(weights[:-1]), rounded(mean), rounded(spread)
    )


def newton(design: np.ndarray, right: np.ndarray, precision: float) -> np.ndarray:
    """Weights of a logistic regression; the last one, of the constant, has no prior."""
    weights = np.zeros(design.shape[1])
    prior = np.full(design.shape[1], precision)
    prior[-1] = 1e-6
    for _ in range(50):
        chance = 1 / (1 + np.exp(-(design @ weights)))
        gradient = design.T @ (chance - right) + prior * weights
        curved = (design * (chance * (1 - chance))[:, None]).T @ design + np.diag(prior)
        step = np.linalg.solve(curved, gradient)
        weights = weights - step / max(1.0, float(np.abs(step).max()))
    return weights


def log_loss(odds: np.ndarray, right: np.ndarray) -> float:
    return float(np.mean(np.logaddexp(0, odds) - right * odds))


def reliability(chance: np.ndarray, right: np.ndarray, bins: int = 8) -> dict[str, Any]:
    """Mean chance and share right in bins of equally many cars, and what sums them up."""
    groups = np.array_split(np.argsort(chance, kind="stable"), bins)
    table = [
        {"chance": float(chance[g].mean()), "right": float(right[g].mean()), "cars": len(g)}
        for g in groups if len(g)
    ]  # fmt: skip
    error = sum(abs(b["chance"] - b["right"]) * b["cars"] for b in table) / len(chance)
    ranks = np.argsort(np.argsort(chance)) + 1
    hits, misses = right.sum(), len(right) - right.sum()
    area = (ranks[right > 0].sum() - hits * (hits + 1) / 2) / max(hits * misses, 1)
    return {
        "cars": len(right), "right": float(right.mean()), "bins": table,
        "expected calibration error": error, "area under ROC": float(area),
        "Brier score": float(((chance - right) ** 2).mean()),
        "Brier score of the mean": float(right.mean() * (1 - right.mean())),
    }  # fmt: skip


def picture(path: Path, shown: dict[str, dict[str, Any]]) -> None:
    """Reliability diagram of both sets."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(5, 5))
    axis.plot([0, 1], [0, 1], color="#999999", linewidth=1)
    for (name, report), colour in zip(shown.items(), ("#9fb8d0", "#1f6fb4"), strict=True):
        x = [b["chance"] for b in report["bins"]]
        y = [b["right"] for b in report["bins"]]
        error = report["expected calibration error"]
        label = f"{name}: {report['cars']} cars, calibration error {error:.3f}"
        axis.plot(x, y, marker="o", color=colour, label=label)
    axis.set(
        xlabel="confidence", ylabel=f"share with 3D IoU ≥ {RIGHT}", xlim=(0, 1), ylim=(0, 1.02)
    )
    axis.legend(frameon=False, fontsize=8, loc="lower right")
    axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)
    pyplot.close(figure)


def main() -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("fitted", type=Path)
    parser.add_argument("shown", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path)
    asked = parser.parse_args()
    found = fit(*read(asked.fitted))
    reports = {}
    for name, path in (("fitted on", asked.fitted), ("other streets", asked.shown)):
        agreements, right, _ = read(path)
        chance = np.array([probability(a, found) for a in agreements])
        reports[name] = reliability(chance, right)
    text = json.dumps({"calibration": dataclasses.asdict(found), "reliability": reports}, indent=1)
    print(text)
    if asked.json:
        write_text_atomic(asked.json, text + "\n")
    if asked.picture:
        picture(asked.picture, reports)


if __name__ == "__main__":
    main()
