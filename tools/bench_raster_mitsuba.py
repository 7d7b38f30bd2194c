"""Mitsuba 3's `direct_projective` on the sphere, forward + backward, against ours, in a process.

python -m diffrender.tools.bench_raster_mitsuba FACES SIZE REPEATS

A path tracer that also samples silhouettes: a lit sphere at 16 samples a pixel, so it does more
than a rasterizer and gives noisy pixels. Only its LLVM variant has gradients on a CPU, and some
versions of LLVM end the process, hence a process of its own. Prints one line of JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from diffrender.tools.bench_format import time_calls
from diffrender.tools.bench_raster_scene import Cell, Scene, full_step, scene_of

__all__ = ["main"]


def _mitsuba(scene: Scene, samples: int = 16) -> Callable[[], Any]:
    import drjit as dr
    import mitsuba as mi

    mi.set_variant("llvm_ad_rgb")
    size = scene.upstream.shape[1]
    sphere = mi.Mesh("sphere", len(scene.vertices[0]), len(scene.faces))
    held = mi.traverse(sphere)
    # Its camera has y up and x to the left of ours: half a turn about the viewing axis.
    turned = scene.vertices[0].numpy() * np.array([-1.0, -1.0, 1.0], dtype=np.float32)
    held["vertex_positions"] = mi.Float(turned.ravel())
    held["faces"] = mi.UInt32(scene.faces.numpy().astype(np.uint32).ravel())
    held.update()
    world = mi.load_dict(
        {
            "type": "scene",
            # No shadows or mirrors, so no silhouettes seen at second hand (sppi).
            "integrator": {"type": "direct_projective", "sppi": 0},
            "sensor": {
                "type": "perspective",
                "fov": 2 * float(np.degrees(np.arctan(0.5 / 1.1))),
                "film": {
                    "type": "hdrfilm",
                    "width": size,
                    "height": size,
                    "rfilter": {"type": "box"},
                },
            },
            "sphere": sphere,
            "sky": {"type": "constant"},
        }
    )
    parameters = mi.traverse(world)
    key = next(name for name in parameters.keys() if name.endswith("vertex_positions"))  # noqa: SIM118
    start = mi.Float(parameters[key])
    weights = mi.TensorXf(scene.upstream[0].numpy())

    def step() -> object:
        parameters[key] = mi.Float(start)
        dr.enable_grad(parameters[key])
        parameters.update()
        image = mi.render(world, parameters, spp=samples)
        dr.backward(dr.sum(image * weights, axis=None))
        return np.asarray(dr.grad(parameters[key]))  # waits until it has been computed

    return step


def main(faces: int, size: int, repeats: int) -> dict[str, object]:
    """Seconds of each call, ours and the peer's."""
    scene = scene_of(Cell(faces, size, 1))
    step, ours = _mitsuba(scene), full_step(scene)[1]
    if not np.abs(step()).max() > 0:
        raise RuntimeError("the gradient is zero everywhere, so the scene is not seen")
    return {"seconds": time_calls({"ours": ours, "mitsuba": step}, repeats=repeats)}


if __name__ == "__main__":
    print(json.dumps(main(*(int(word) for word in sys.argv[1:4]))))
