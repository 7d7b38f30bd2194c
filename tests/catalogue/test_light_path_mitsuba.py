"""The path tracer: its picture and gradient are those of Mitsuba 3."""

from __future__ import annotations

import dataclasses
import importlib.util
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from traced_scenes import camera_above, floor_and_ball, lit_scene

from diffrender.catalogue.light._materials import Lamp
from diffrender.catalogue.light.path_replay import PathReplay
from diffrender.meshes import vertex_normals

# In a process of its own: some versions of LLVM end the one that loads them.
_MITSUBA = """
import sys
import drjit as dr, mitsuba as mi, numpy as np
mi.set_variant("llvm_ad_rgb")
held = dict(np.load(sys.argv[1]))
vertices, faces = held["vertices"], held["faces"]
look = mi.Properties()
look["bsdf"] = mi.load_dict({"type": "diffuse",
    "reflectance": {"type": "mesh_attribute", "name": "vertex_color"}})
mesh = mi.Mesh("mesh", len(vertices), len(faces), has_vertex_normals=True, props=look)
mesh.add_attribute("vertex_color", 3, held["colours"].ravel())
inside = mi.traverse(mesh)
inside["vertex_positions"] = mi.Float(vertices.ravel())
inside["vertex_normals"] = mi.Float(held["normals"].ravel())
inside["faces"] = mi.UInt32(faces.astype(np.uint32).ravel())
inside.update()
height, width = (int(n) for n in held["size"])
world = mi.load_dict({
    "type": "scene",
    "integrator": {"type": "prb", "max_depth": int(held["bounces"]) + 1, "rr_depth": 100},
    "sensor": {"type": "perspective", "fov": float(held["fov"]), "film": {"type": "hdrfilm",
        "width": width, "height": height, "rfilter": {"type": "box"}}},
    "mesh": mesh,
    "sky": {"type": "constant", "radiance": {"type": "rgb", "value": float(held["ambient"])}},
    "lamp": {"type": "rectangle", "to_world": mi.ScalarTransform4f(held["lamp"]),
        "emitter": {"type": "area", "radiance": {"type": "rgb", "value": float(held["power"])}}},
})
parameters = mi.traverse(world)
key = next(name for name in parameters.keys() if name.endswith("vertex_color"))
dr.enable_grad(parameters[key])
parameters.update()
image = mi.render(world, parameters, spp=1024)
dr.backward(dr.mean(image, axis=None))
np.savez(sys.argv[2], image=np.array(image), gradient=np.array(dr.grad(parameters[key])))
"""


@pytest.mark.slow
def test_mitsuba_agrees(tmp_path: Path) -> None:
    """Three bounces among a floor and a ball, diffuse: the picture and its derivative to albedo."""
    if importlib.util.find_spec("mitsuba") is None:
        pytest.skip("mitsuba is not installed")
    mesh, camera = floor_and_ball(), camera_above((12, 16))
    technique = PathReplay(per_axis=18, bounces=3, reflectance=0.0, lamp_angle=math.radians(2))
    scene = dataclasses.replace(lit_scene(mesh), background=torch.full((3,), 0.3))
    colours = mesh.colours.clone().requires_grad_()
    image = technique.render(scene.replaced("attributes", colours), camera).image
    (gradient,) = torch.autograd.grad(image.mean(), colours)

    # Mitsuba's camera stands at the origin, x to the left and y up.
    turn = torch.diag(torch.tensor([-1.0, -1, 1])) @ camera.rotation
    low, high = mesh.vertices.amin(0), mesh.vertices.amax(0)
    distance = 20 * (high - low).max().item()
    light = scene.parameters()["light"]
    lamp = Lamp.of(light, (low + high) / 2, distance, technique.lamp_angle)
    sides = lamp.sides @ turn.T
    facing = torch.linalg.cross(sides[0], sides[1])
    middle = turn @ (lamp.middle - camera.centre)
    if (facing @ middle) > 0:  # it shines towards the camera
        sides, facing = sides.flip(0), -facing
    matrix = torch.eye(4)
    matrix[:3] = torch.stack([*sides, facing / facing.norm(), middle], dim=1)
    area = 4 * lamp.sides[0].norm() * lamp.sides[1].norm()
    there, back = tmp_path / "scene.npz", tmp_path / "found.npz"
    np.savez(
        there,
        vertices=((mesh.vertices - camera.centre) @ turn.T).numpy(),
        normals=(vertex_normals(mesh.vertices, mesh.faces) @ turn.T).numpy(),
        faces=mesh.faces.numpy(),
        colours=mesh.colours.numpy(),
        size=camera.size,
        fov=math.degrees(2 * math.atan(0.25)),
        bounces=technique.bounces,
        ambient=0.3,
        lamp=matrix.double().numpy(),
        power=(math.pi * 0.6 * distance**2 / area).item(),
    )
    done = subprocess.run(
        [sys.executable, "-c", _MITSUBA, str(there), str(back)], capture_output=True, text=True
    )
    if done.returncode < 0 or "LLVM backend is inactive" in done.stderr:
        pytest.skip(
            "mitsuba does not get along with this LLVM (DRJIT_LIBLLVM_PATH names another): "
            f"exit code {done.returncode} {done.stderr[-200:]}"
        )
    assert done.returncode == 0, done.stderr
    found = np.load(back)
    theirs = torch.from_numpy(found["image"])
    # 324 and 1024 paths a pixel: noise of a few per cent in a pixel, far less in the mean.
    assert image.mean().item() == pytest.approx(theirs.mean().item(), rel=0.01)
    assert ((image - theirs).abs().mean() / theirs.mean()).item() < 0.03
    slope = torch.from_numpy(found["gradient"]).view_as(gradient)
    assert (gradient - slope).norm() / slope.norm() < 0.03
    floor, ball = slice(0, 4), slice(4, None)
    for part in (floor, ball):
        torch.testing.assert_close(gradient[part].sum(0), slope[part].sum(0), rtol=0.03, atol=0.0)
