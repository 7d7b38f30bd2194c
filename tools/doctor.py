"""`diffrender doctor`: what is here, what is not and why, and how to get it."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import platform
from typing import Annotated, Any

import typer

from diffrender.tools.bench_format import cpu_model
from diffrender.tools.console import guarded, out, print_json
from diffrender.tools.diagnosis import Finding, diagnose

__all__ = ["doctor"]


@guarded
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Versions, the back-ends that are there, why others are not, and how to get them.

    Exit code 0 if everything required works, 1 otherwise.
    """
    findings = diagnose()
    if as_json:
        record = {"schema": 1, "machine": _machine()}
        print_json(record | {"findings": [dataclasses.asdict(f) for f in findings]})
    else:
        _print(findings)
    if not all(f.present for f in findings if f.group == "required"):
        raise typer.Exit(1)


def _machine() -> dict[str, Any]:
    import torch

    return {
        "diffrender": importlib.metadata.version("diffrender"),
        "python": platform.python_version(),
        "os": platform.platform(),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
    }


_TITLES = {
    "required": "Required packages",
    "extra": "Optional packages",
    "back-end": "Back-ends",
    "asset": "Shipped files",
}


def _print(findings: list[Finding]) -> None:
    """Plain lines: they are read in a terminal and pasted into reports."""
    lines = [f"{key:<11}{'none' if value is None else value}" for key, value in _machine().items()]
    width = max(len(f.name) for f in findings)
    for group, title in _TITLES.items():
        lines += ["", title]
        for f in (f for f in findings if f.group == group):
            state = "yes" if f.present else "no "
            said = "  ".join(part for part in (f.version, f.reason) if part)
            lines.append(f"  {state}  {f.name:<{width}}  {said}".rstrip())
            if f.mend:
                lines.append(f"       {'':<{width}}  get it: {f.mend}")
    out().print("\n".join(lines), markup=False, soft_wrap=True)
