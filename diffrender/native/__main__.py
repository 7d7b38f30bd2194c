"""`python -m diffrender.native`: compile the kernels in place, for this machine."""

from __future__ import annotations

from pathlib import Path

from diffrender.native._build import build, runnable_levels

if __name__ == "__main__":
    for library in build(Path(__file__).parent, only=runnable_levels()):
        print(library)
