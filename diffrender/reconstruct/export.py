"""Writes a scene to a folder: GLB, OBJ, KITTI rows, JSON, pictures and the report."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from diffrender._files import readable, write_bytes_atomic, write_text_atomic
from diffrender.instances import Rejected
from diffrender.reconstruct.gltf import GltfBuilder
from diffrender.reconstruct.ground import ground_of, ground_surface
from diffrender.reconstruct.kitti_rows import kitti_rows
from diffrender.reconstruct.result_json import (
    camera_record,
    pose_record,
    result_json,
    to_plain,
)
from diffrender.reconstruct.scene import ReconstructedObject, Scene
from diffrender.reconstruct.surfaces import Surface, make_surface
from diffrender.reconstruct.wavefront import write_obj

__all__ = ["file_names", "object_glb", "readable_names", "save_scene", "scene_glb"]

# Nodes of a scene that are no object, and the root that readers add: no object is called so.
_NODES = ("ground", "camera", "camera_frustum", "world")
# Names that Windows keeps for devices.
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def save_scene(scene: Scene, folder: str | Path) -> list[Path]:
    """Write every output of a scene; each file is whole or absent.

    All but the OBJ files is made before the first is written, so that an error leaves no folder
    of new files among old ones.

    Returns:
        The paths written: scene.glb, objects/*, NAME.txt, result.json, overlay.png, bev.png,
        report.html. Other files in the folder are left alone.

    Raises:
        InputError: a pose or vertex is not finite.
    """
    from diffrender.reconstruct.birds_eye import draw_birds_eye
    from diffrender.reconstruct.overlay import draw_overlay
    from diffrender.reconstruct.report import report_html
    from diffrender.reconstruct.surfaces import encode_png

    folder, scene = Path(folder), readable_names(scene)
    names = file_names([item.name or item.category for item in scene.objects])
    surfaces = [make_surface(item.mesh) for item in scene.objects]
    kitti = f"{file_names([scene.name or 'scene'])[0]}.txt"
    files: dict[str, Any] = {
        "scene": "scene.glb",
        "kitti": kitti,
        "overlay": "overlay.png",
        "birds_eye": "bev.png",
        "report": "report.html",
        "objects": [{"glb": f"objects/{n}.glb", "obj": f"objects/{n}.obj"} for n in names],
    }
    whole = scene_glb(scene, surfaces)
    singles = [object_glb(*pair) for pair in zip(scene.objects, surfaces, strict=True)]
    rows, record = kitti_rows(scene.objects, scene.camera.size), result_json(scene, files)
    overlay, birds_eye = draw_overlay(scene), encode_png(draw_birds_eye(scene))
    overlay_png = encode_png(overlay)
    report = report_html(scene, surfaces, overlay, birds_eye)

    written = [write_bytes_atomic(folder / "scene.glb", whole)]
    for item, single, name in zip(scene.objects, singles, names, strict=True):
        path = folder / "objects" / f"{name}.glb"
        written.append(write_bytes_atomic(path, single))
        written += write_obj(item.mesh, path.with_suffix(".obj"))
    written.append(write_text_atomic(folder / kitti, rows))
    written.append(write_text_atomic(folder / "result.json", record))
    written.append(write_bytes_atomic(folder / "overlay.png", overlay_png))
    written.append(write_bytes_atomic(folder / "bev.png", birds_eye))
    written.append(write_text_atomic(folder / "report.html", report))
    return written


def readable_names(scene: Scene) -> Scene:
    """The scene with names that can be drawn, printed and written; see `_files.readable`."""

    def named(item: ReconstructedObject) -> ReconstructedObject:
        own = item.instance
        name, category = readable(own.name), readable(own.category)
        return replace(item, instance=replace(own, name=name, category=category))

    return replace(
        scene,
        name=readable(scene.name),
        depth_source=readable(scene.depth_source),
        objects=[named(item) for item in scene.objects],
        rejected=[Rejected(*(readable(text) for text in one)) for one in scene.rejected],
    )


def scene_glb(scene: Scene, surfaces: list[Surface] | None = None) -> bytes:
    """All objects at their poses, the ground plane and the camera as one GLB, y-up, metres.

    Nodes carry class, score, pose and (for the camera) K in their `extras`, in the frame of the
    labels. `surfaces` may be given where they are at hand.
    """
    surfaces = surfaces or [make_surface(item.mesh) for item in scene.objects]
    given = [item.name or item.category for item in scene.objects]
    names = file_names([*_NODES, *given])[len(_NODES) :]
    builder = GltfBuilder()
    for item, surface, name in zip(scene.objects, surfaces, names, strict=True):
        builder.add_mesh(
            name,
            surface,
            object_to_world_rotation=item.pose.object_to_world_rotation.numpy(),
            location=item.pose.location,
            extras=_object_extras(item),
        )
    ground = ground_of(scene)
    plane = {"plane": {"height": ground.height, "slope": ground.slope}}
    grey = (0.18, 0.19, 0.20, 1.0)
    builder.add_mesh("ground", ground_surface(ground), base_colour=grey, extras=plane)
    builder.add_camera("camera", scene.camera, to_plain(camera_record(scene.camera)))
    return builder.to_bytes(
        {"frame": readable(scene.name), "source_axes": "x right, y down, z forward"}
    )


def object_glb(item: ReconstructedObject, surface: Surface | None = None) -> bytes:
    """One object's canonical mesh (no pose; that is in `extras`) as a GLB, y-up, metres."""
    builder = GltfBuilder()
    name = file_names([item.name or item.category])[0]
    builder.add_mesh(name, surface or make_surface(item.mesh), extras=_object_extras(item))
    return builder.to_bytes()


def _object_extras(item: ReconstructedObject) -> dict[str, Any]:
    extras: dict[str, Any] = to_plain(
        {
            "name": item.name,
            "class": item.category,
            "score": item.confidence,
            "score_2d": item.instance.score,
            "pose": pose_record(item),
            "latent": list(item.latent),
        }
    )
    return extras


def file_names(names: list[str]) -> list[str]:
    """Safe file stems, distinct even where case does not count.

    Kept: ASCII letters, digits, "-", "_" and inner dots; the rest becomes "_", so that no name
    can leave its folder.
    """
    taken: set[str] = set()
    result: list[str] = []
    for name in names:
        stem = re.sub(r"[^A-Za-z0-9._-]+", "_", name)[:64].strip("._") or "object"
        stem = f"_{stem}" if RESERVED.fullmatch(stem) else stem
        candidate, count = stem, 1
        while candidate.lower() in taken:
            count += 1
            candidate = f"{stem}_{count}"
        taken.add(candidate.lower())
        result.append(candidate)
    return result
