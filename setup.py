"""Compiles the native kernels; everything else about the package stands in setup.cfg.

The kernels know nothing of Python or torch, so a wheel that holds them serves every Python 3 on
its platform (py3-none-PLATFORM). Without a C++ compiler the package installs all the same, runs on
plain torch, and says why (py3-none-any).
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent


def _build_module():
    """diffrender/native/_build.py without importing diffrender, which needs torch."""
    path = ROOT / "diffrender" / "native" / "_build.py"
    spec = importlib.util.spec_from_file_location("_diffrender_build", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class BuildWithKernels(build_py):
    """build_py, then the kernels: in the tree for an editable install, else in the build."""

    def run(self):
        super().run()
        module = _build_module()
        here = ROOT / "diffrender" / "native"
        target = here if self.editable_mode else Path(self.build_lib, "diffrender", "native")
        try:
            only = module.runnable_levels() if self.editable_mode else None
            written = module.build(target, only=only)
        except module.NoCompilerError as error:
            written = []
            print(f"diffrender: no native kernels, plain torch will be used: {error}", flush=True)
            print(f"diffrender: no native kernels: {error}", file=sys.stderr, flush=True)
        if not self.editable_mode:  # never ship a library left over in the working tree
            for found in module.libraries(target):
                if found not in written:
                    found.unlink()
        self.distribution.has_ext_modules = lambda: bool(written)


class WheelForEveryPython(bdist_wheel):
    """Tags the wheel by what is inside: a platform with kernels, any platform without."""

    def run(self):
        self.run_command("build")
        self.root_is_pure = not self.distribution.has_ext_modules()
        super().run()

    def get_tag(self):
        platform = super().get_tag()[2]
        return "py3", "none", platform


setup(cmdclass={"build_py": BuildWithKernels, "bdist_wheel": WheelForEveryPython})
