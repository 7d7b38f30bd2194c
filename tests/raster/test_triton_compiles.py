"""Every Triton kernel compiles for NVIDIA GPUs; no device is needed for that.

The interpreter accepts more than the compiler does, so passing tests there is not enough. One
process renders in the interpreter and notes how each kernel is called, another compiles them.
"""

from __future__ import annotations

import ast
import importlib.util
import json
from pathlib import Path

import pytest
from python_runs import run_python

import diffrender.raster

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("triton") is None, reason="triton is not installed"
    ),
]

RECORD = """
import json, sys
import torch
from diffrender.raster import _triton

calls, launch = {}, _triton.launch
kinds = {torch.float32: "fp32", torch.float64: "fp64", torch.int32: "i32", torch.int64: "i64",
         torch.bool: "i1"}

def note(kernel, programs, *arguments, warps=4):
    signature, numbers = {}, {}
    for name, value in zip(kernel.arg_names, arguments, strict=True):
        kind = kernel.fn.__annotations__[name]
        signature[name] = "*" + kinds[value.dtype] if kind == "Pointer" else kind
        if kind == "constexpr":
            numbers[name] = value
    call = [kernel.fn.__module__, kernel.__name__, signature, numbers, warps]
    calls[json.dumps(call)] = call
    launch(kernel, programs, *arguments, warps=warps)

_triton.launch = note  # before the modules that import it

from diffrender.cameras import Camera
from diffrender.meshes import Mesh
from diffrender.raster import antialias, interpolate, rasterize, soft_silhouette

points = torch.tensor([[-1.0, -1, 2], [1, -1, 2], [0, 1, 2], [0, 0, 3]], requires_grad=True)
mesh = Mesh(points, torch.tensor([[0, 1, 2], [0, 3, 1], [1, 3, 2], [2, 3, 0]]))
intrinsics = torch.tensor([[9.0, 0, 6], [0, 9, 5], [0, 0, 1]])
camera = Camera.from_intrinsics(intrinsics, (10, 12), pixel_centres="half")
loss = torch.zeros(())
for layers in (1, 3):
    found = rasterize(mesh, camera, layers=layers, backend="triton")
    loss = loss + found.bary.square().sum() + found.depth.sum()
    limit = None if layers == 1 else layers
    soft = soft_silhouette(mesh, camera, faces_per_pixel=limit, backend="triton")
    loss = loss + soft.square().sum()
    for attributes in (points, points[mesh.faces]):
        image = interpolate(attributes, found, backend="triton")
        loss = loss + antialias(image, found, mesh, camera, backend="triton").square().sum()
loss.backward()
json.dump(list(calls.values()), open(sys.argv[1], "w"))
"""

COMPILE = """
import importlib, json, sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

for module, name, signature, numbers, warps in json.load(open(sys.argv[1])):
    kernel = getattr(importlib.import_module(module), name)
    source = ASTSource(fn=kernel, signature=signature, constexprs=numbers)
    for capability in (80, 90):
        made = triton.compile(source, target=GPUTarget("cuda", capability, 32),
                              options={"num_warps": warps, "enable_fp_fusion": False})
        assert made.asm["cubin"]
        print(name, made.asm["ptx"].count("fma.rn.f64"))
"""


def run(script: str, path: Path, interpreted: bool) -> str:
    cache, mode = str(path.parent / "cache"), "1" if interpreted else "0"
    environment = {"TRITON_CACHE_DIR": cache, "TRITON_INTERPRET": mode}
    return run_python("-c", script, path, environment=environment)


def launched() -> set[str]:
    """The kernels that the sources launch: the first argument of each call of `launch`."""
    folder = Path(diffrender.raster.__file__).parent
    nodes = [
        n for path in folder.glob("triton_*.py") for n in ast.walk(ast.parse(path.read_text()))
    ]
    calls = [n for n in nodes if isinstance(n, ast.Call) and ast.unparse(n.func) == "launch"]
    return {ast.unparse(call.args[0]) for call in calls}


def test_every_kernel_compiles(tmp_path: Path) -> None:
    calls = tmp_path / "calls.json"
    run(RECORD, calls, interpreted=True)
    called = {name for _, name, *_ in json.loads(calls.read_text())}
    assert called == launched()
    made = [line.split() for line in run(COMPILE, calls, interpreted=False).splitlines()]
    assert {name for name, _ in made} == called
    # Coverage is decided without fused multiply-add.
    for name in ("_set_up", "_draw", "_resolve"):
        counts = [int(count) for each, count in made if each == name]
        assert counts
        assert set(counts) == {0}
