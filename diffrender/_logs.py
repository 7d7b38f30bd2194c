"""Logs of a training run: a CSV that is always whole, and TensorBoard where it is wanted."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from diffrender._files import write_text_atomic
from diffrender.errors import require

__all__ = ["Board", "write_csv"]


def write_csv(path: Path, rows: list[dict[str, float]]) -> None:
    """Rows with the same names as a CSV file, replaced as a whole."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text_atomic(path, text.getvalue())


class Board:
    """TensorBoard events of a run; those after `step` that a killed run left are hidden.

    Raises:
        MissingExtraError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path, step: int) -> None:
        require("tensorboard", "train")
        writer: Any = require("torch.utils.tensorboard", "train").SummaryWriter
        self._writer = writer(str(folder), purge_step=step + 1)

    def write(self, row: dict[str, float]) -> None:
        """One scalar per name but "step"."""
        for name, value in row.items():
            if name != "step":
                self._writer.add_scalar(name, value, int(row["step"]))
        self._writer.flush()

    def close(self) -> None:
        """Flush and close the file."""
        self._writer.close()
