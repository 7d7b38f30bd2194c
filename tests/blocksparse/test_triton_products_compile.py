"""The Triton products compile for NVIDIA GPUs, which needs no device, and use their tensor cores.

The interpreter accepts more than the compiler does, so passing tests there is not enough. One
process notes how each kernel is called, another compiles them.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from python_runs import run_python

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("triton") is None, reason="triton is not installed"
    ),
]

RECORD = """
import itertools, json, sys
import torch
from diffrender.blocksparse import BlockPattern, triton_products

kinds = {torch.float32: "fp32", torch.float64: "fp64", torch.bfloat16: "bf16",
         torch.float16: "fp16", torch.int32: "i32"}
calls = {}

def note(kernel, programs, *arguments, warps=4):
    signature, numbers = {}, {}
    for name, value in zip(kernel.arg_names, arguments, strict=True):
        kind = kernel.fn.__annotations__[name]
        signature[name] = "*" + kinds[value.dtype] if kind == "Pointer" else kind
        if kind == "constexpr":
            numbers[name] = {"type": str(value)} if name == "TOTAL" else int(value)
    if "WIDEN" in numbers:
        numbers["WIDEN"] = 0  # 1 in the interpreter alone
    call = [kernel.__name__, signature, numbers, warps]
    calls[json.dumps(call)] = call

triton_products.launch = note
generator = torch.Generator().manual_seed(0)
cases = [(side, torch.bfloat16) for side in (1, 4, 16, 64)]
cases += [(16, torch.float16), (16, torch.float32), (8, torch.float64)]
for side, dtype in cases:
    pattern = BlockPattern.random((256, 256), side, 0.3, generator=generator)
    values, x = torch.ones(pattern.values_shape, dtype=dtype), torch.ones(256, 256, dtype=dtype)
    for last in (False, True):
        triton_products.block_outer(pattern, x, x, features_last=last)
        for transpose in (False, True):
            triton_products.multiply(pattern, values, x, transpose=transpose, features_last=last)
json.dump(list(calls.values()), open(sys.argv[1], "w"))
"""

COMPILE = """
import json, sys
import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from diffrender.blocksparse import triton_multiply, triton_outer

for name, signature, numbers, warps in json.load(open(sys.argv[1])):
    kernel = getattr(triton_outer if name.startswith("outer") else triton_multiply, name)
    numbers["TOTAL"] = {"fp32": tl.float32, "fp64": tl.float64}[numbers["TOTAL"]["type"]]
    whole = [i for i, kind in enumerate(signature.values()) if kind != "constexpr"]
    aligned = {(i,): [["tt.divisibility", 16]] for i in whole}
    source = ASTSource(fn=kernel, signature=signature, constexprs=numbers, attrs=aligned)
    for capability in (80, 90):
        made = triton.compile(source, target=GPUTarget("cuda", capability, 32),
                              options={"num_warps": warps, "num_stages": 3})
        code = made.asm["ptx"]
        assert made.asm["cubin"]
        print(name, signature["x"], capability, numbers.get("M", 0),
              code.count("mma.sync") + code.count("wgmma.mma_async"), code.count("tf32"),
              code.count("atom."), made.metadata.shared)
"""


def run(script: str, path: Path, interpreted: bool) -> str:
    cache, mode = str(path.parent / "cache"), "1" if interpreted else "0"
    environment = {"TRITON_CACHE_DIR": cache, "TRITON_INTERPRET": mode}
    return run_python("-c", script, path, environment=environment)


def test_every_kernel_compiles(tmp_path: Path) -> None:
    calls = tmp_path / "calls.json"
    run(RECORD, calls, interpreted=True)
    made = [line.split() for line in run(COMPILE, calls, interpreted=False).splitlines()]
    assert {name for name, *_ in made} == {
        "multiply_rows", "multiply_tiles", "outer_rows", "outer_tiles",
    }  # fmt: skip
    for name, kind, capability, rows, matrix, rounded, atomic, shared in made:
        assert int(rounded) == 0, "float32 must not be rounded to TF32"
        assert int(atomic) == 0, "sums must have one order"
        assert int(shared) <= (163 if capability == "80" else 227) * 1024
        if name.endswith("tiles") and kind in ("*bf16", "*fp16"):
            assert int(matrix) > 0, f"{rows} rows without tensor cores"
