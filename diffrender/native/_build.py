"""Compile the C++ kernels. Standard library only: setup.py runs this file before torch exists."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SOURCES = Path(__file__).parent / "src"
NAME = "_diffrender_native"
# One library for each instruction set; the loader asks the processor which it may use.
LEVELS = {"baseline": [], "avx2": ["-mavx2", "-mfma", "-mf16c"], "avx512": ["-march=x86-64-v4"]}
# Functions that ask the processor before they use more than their level has.
BEYOND = {("avx512", "blocksparse_bfloat16"): ["-mavx512bf16"]}
FLAGS = ["-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden", "-fno-math-errno"]
FLAGS += ["-falign-functions=64"]  # else a change in one function costs another some percent
# Same bits on every processor: no fused multiply-add unless written, no reordering of sums.
EXACT = ["-ffp-contract=off", "-fno-trapping-math"]
# Products are worth their fused multiply-adds: half the instructions, another last bit.
FUSED = ["-ffp-contract=fast", "-fno-trapping-math"]


class NoCompilerError(RuntimeError):
    """There is no usable C++ compiler; the message says what was tried."""


def library_name(level: str) -> str:
    """File name of the library for one instruction set on this system."""
    suffix = ".dylib" if sys.platform == "darwin" else ".so"
    return NAME + ("" if level == "baseline" else f"_{level}") + suffix


def libraries(folder: Path) -> list[Path]:
    """Compiled kernels found in `folder`, of any system."""
    return sorted(p for p in folder.glob(NAME + "*") if p.suffix in (".so", ".dylib", ".dll"))


def levels() -> list[str]:
    """Instruction sets worth building on this machine's architecture."""
    x86 = platform.machine().lower() in ("x86_64", "amd64") and not os.environ.get("ARCHFLAGS")
    return list(LEVELS) if x86 else ["baseline"]


def runnable_levels() -> list[str]:
    """Those of `levels()` that this very machine can run, all of them where it does not say."""
    needed = {
        "baseline": set(),
        "avx2": {"avx2", "fma", "f16c"},
        "avx512": {"f16c", "avx512f", "avx512dq", "avx512vl", "avx512bw"},
    }
    try:
        words = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("flags", 1)[1]
    except (OSError, IndexError):
        return levels()
    has = set(words.split("\n", 1)[0].split())
    return [level for level in levels() if needed[level] <= has]


def find_compiler() -> list[str]:
    """$CXX, or the first of g++, clang++, c++ on the PATH. Raises NoCompilerError."""
    if sys.platform == "win32":
        raise NoCompilerError("the native kernels are not built on Windows yet")
    named = os.environ.get("CXX", "").strip()
    if named:
        command = shlex.split(named)
        if shutil.which(command[0]) is None:
            raise NoCompilerError(f"CXX={named} is not an executable")
        return command
    for name in ("g++", "clang++", "c++"):
        if shutil.which(name):
            return [name]
    raise NoCompilerError("no C++ compiler: none of g++, clang++, c++ is on the PATH, CXX unset")


def rounding(source: Path) -> list[str]:
    """How multiplications and additions of one source file are rounded."""
    return FUSED if source.name.startswith("blocksparse") else EXACT


def instructions(level: str, source: Path) -> list[str]:
    """What one source file may use at a level."""
    return LEVELS[level] + BEYOND.get((level, source.stem), [])


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        message = done.stderr.strip()[-4000:]
        raise NoCompilerError(f"{shlex.join(command)} failed:\n{message}")


def build(target: Path, jobs: int | None = None, only: Collection[str] | None = None) -> list[Path]:
    """Compile every level, or `only` those named, into `target`; returns the libraries written.

    A level other than the baseline that does not compile is left out (an old compiler). Libraries
    of levels that are not built here are removed, for they would be out of date.
    """
    compiler = find_compiler()
    target.mkdir(parents=True, exist_ok=True)
    written = []
    sources = sorted(SOURCES.glob("*.cpp"))
    with (
        tempfile.TemporaryDirectory() as scratch,
        ThreadPoolExecutor(jobs or os.cpu_count()) as pool,
    ):
        for level in levels():
            if only is not None and level not in only:
                (target / library_name(level)).unlink(missing_ok=True)
                continue
            objects = [Path(scratch) / f"{source.stem}_{level}.o" for source in sources]
            commands = [
                [
                    *compiler,
                    *FLAGS,
                    *instructions(level, source),
                    *rounding(source),
                    "-c",
                    str(source),
                    "-o",
                    str(output),
                ]
                for source, output in zip(sources, objects, strict=True)
            ]
            library = target / library_name(level)
            partial = library.with_name(library.name + ".partial")
            try:
                list(pool.map(_run, commands))
                _run([*compiler, "-shared", "-pthread", *map(str, objects), "-o", str(partial)])
            except NoCompilerError:
                if level == "baseline":
                    raise
                library.unlink(missing_ok=True)
                continue
            os.replace(partial, library)
            written.append(library)
    return written
