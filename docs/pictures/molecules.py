"""Draws docs/images/molecules.png: `python docs/pictures/molecules.py FOLDER`, a grown set."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from rdkit import Chem
from rdkit.Chem import Draw

from diffrender.graph.molecules import PcqmFolder

TARGET = Path(__file__).parents[1] / "images" / "molecules.png"


def main(folder: str) -> None:
    """Eighteen molecules at equal steps of the table, and its labels against each other."""
    source = PcqmFolder(Path(folder))
    xtb = list(source.rows(conformers=False))
    huckel = [row.label for row in source.rows("homolumogap_huckel", conformers=False)]
    shown = xtb[:: len(xtb) // 18][:18]
    grid = Draw.MolsToGridImage(
        [Chem.MolFromSmiles(row.smiles) for row in shown],
        molsPerRow=6,
        subImgSize=(210, 180),
        legends=[f"{row.label:.2f} eV" for row in shown],
    )
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(13.5, 4.6), width_ratios=(2.2, 1), layout="constrained"
    )
    left.imshow(np.asarray(grid))
    left.set_axis_off()
    left.set_title("grown molecules and their GFN2-xTB gaps")
    gaps = np.array([row.label for row in xtb])
    right.hexbin(gaps, huckel, gridsize=45, bins="log", cmap="viridis", extent=(0, 17, 0, 17))
    right.plot((0, 17), (0, 17), color="0.5", linewidth=0.8)
    right.set(xlabel="GFN2-xTB gap, eV", ylabel="extended Hückel gap, eV", aspect="equal")
    right.set_title(f"{len(gaps)} molecules, correlation {np.corrcoef(gaps, huckel)[0, 1]:.2f}")
    figure.savefig(TARGET, dpi=90)


if __name__ == "__main__":
    main(sys.argv[1])
