"""A camera with a lens: pictures, records and the catalogue's silhouettes all see through it."""

from __future__ import annotations

import dataclasses
import json
import struct

import cv2
import numpy as np
import pytest
import torch
from scene_fixture import make_scene, silhouette_of
from test_descents import BOXES, CAMERA, car, hypotheses, problem
from test_export_records import documented_schema, mismatches

from diffrender.cameras import Camera
from diffrender.meshes import Mesh
from diffrender.raster import rasterize
from diffrender.reconstruct.catalogue_silhouette import CatalogueSilhouette
from diffrender.reconstruct.drawing import draw
from diffrender.reconstruct.export import scene_glb
from diffrender.reconstruct.overlay import EDGES, LENS_PIECES, box_segments
from diffrender.reconstruct.report import _pinhole_photo, viewer_record
from diffrender.reconstruct.result_json import result_json
from diffrender.reconstruct.scene import Scene

COEFFICIENTS = [-0.30, 0.08, 0.001, -0.002, 0.0]


def lens_scene() -> Scene:
    scene = make_scene()
    lens = torch.tensor(COEFFICIENTS, dtype=torch.float64)
    return dataclasses.replace(scene, camera=dataclasses.replace(scene.camera, distortion=lens))


def seen_by_opencv(scene: Scene, points: np.ndarray) -> np.ndarray:  # (N, 3) -> (N, 2)
    """Corner-based pixels by OpenCV's own projection."""
    camera = scene.camera
    moved = camera.translation.numpy()
    k = camera.intrinsics.numpy()
    return cv2.projectPoints(points, np.zeros(3), moved, k, np.array(COEFFICIENTS))[0][:, 0]


def test_convention_box_edges_are_the_curves_that_opencv_projects() -> None:
    scene = lens_scene()
    pose = scene.objects[0].pose
    segments, crossed = box_segments(pose, scene.camera)
    assert segments.shape == (14 * LENS_PIECES, 2, 2)
    assert crossed == 2 * LENS_PIECES
    shares = np.linspace(0, 1, LENS_PIECES + 1)[:, None]
    corners = pose.corners()
    for number, (first, second) in enumerate(EDGES):
        line = corners[first] * (1 - shares) + corners[second] * shares
        drawn = segments[number * LENS_PIECES : (number + 1) * LENS_PIECES]
        expected = seen_by_opencv(scene, line)
        np.testing.assert_allclose(drawn[:, 0], expected[:-1], atol=1e-9)
        np.testing.assert_allclose(drawn[:, 1], expected[1:], atol=1e-9)


def test_the_lens_is_in_the_records() -> None:
    scene = lens_scene()
    record = json.loads(result_json(scene))
    assert record["camera"]["distortion"] == COEFFICIENTS
    schema = documented_schema()
    assert mismatches(record, schema, schema) == []
    data = scene_glb(scene)
    (length,) = struct.unpack("<I", data[12:16])
    tree = json.loads(data[20 : 20 + length])
    node = next(n for n in tree["nodes"] if n["name"] == "camera")
    assert node["extras"]["distortion"] == COEFFICIENTS
    assert "distortion" not in json.loads(result_json(make_scene()))["camera"]


def test_frustums_begin_at_the_corners_of_the_image() -> None:
    scene = lens_scene()
    height, width = scene.camera.size
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]])
    record = viewer_record(dataclasses.replace(scene, objects=[]), [])
    far = np.array(record["frustum"])[1:] * [1, -1, -1]
    np.testing.assert_allclose(seen_by_opencv(scene, far), corners, atol=1e-3)


def test_the_3d_view_has_a_photo_without_the_lens() -> None:
    scene = lens_scene()
    bare = dataclasses.replace(scene.camera, distortion=None)
    item = scene.objects[0]
    bent, straight = (
        silhouette_of(item.mesh, item.pose, camera) for camera in (scene.camera, bare)
    )
    photo = np.repeat(bent[..., None].astype(np.uint8) * 255, 3, axis=2)
    shown = _pinhole_photo(dataclasses.replace(scene, image=photo))[..., 0] > 127

    def iou(a: np.ndarray, b: np.ndarray) -> float:
        return float((a & b).sum() / (a | b).sum())

    assert iou(bent, straight) < 0.9
    assert iou(shown, straight) > 0.96
    plain = dataclasses.replace(scene, camera=bare)
    assert _pinhole_photo(plain) is plain.image


@pytest.mark.parametrize("name", ["soft-rasterizer", "visual-hull"])  # triangles, and a grid
def test_a_technique_of_the_catalogue_sees_through_the_lens(name: str) -> None:
    start = hypotheses([0.9])
    pose = rotation, location, size = start.pose(CAMERA, BOXES)
    vertices = car().place(start.latent, size, rotation, location)
    lens = torch.tensor([[-0.9, 0.0, 0.0, 0.6]])
    windows = dataclasses.replace(problem().windows[start.owner], distortion=lens)
    drawn = CatalogueSilhouette.at(name, car(), start, CAMERA, BOXES).coverage(
        vertices, car().faces, pose, windows
    )[0]
    mesh = Mesh(vertices[0], car().faces)

    def iou(camera: Camera) -> float:
        truth = (rasterize(mesh, camera).depth[..., 0] > 0).float()
        return float(torch.minimum(drawn, truth).sum() / torch.maximum(drawn, truth).sum())

    assert iou(windows[0]) > 0.9
    assert iou(problem().windows[0]) < 0.75


def test_surfaces_are_seen_along_the_rays_that_the_lens_lets_in() -> None:
    start = hypotheses([0.9])
    rotation, location, size = start.pose(CAMERA, BOXES)
    vertices = car().place(start.latent, size, rotation, location)
    lens = torch.tensor([[-0.9, 0.0, 0.0, 0.6]])
    windows = dataclasses.replace(problem().windows[start.owner], distortion=lens)
    found = draw(car(), start, CAMERA, windows, BOXES, False).facing
    assert found is not None
    face = rasterize(Mesh(vertices[0], car().faces), windows[0]).face[..., 0]
    hit = face >= 0
    row, column = torch.where(hit)
    centres = torch.stack([column, row], dim=-1) + 0.5
    rays = windows[0].unproject(centres, torch.ones(len(row))) - windows[0].centre
    a, b, c = vertices[0][car().faces[face[hit]]].unbind(1)
    normals = torch.linalg.cross(b - a, c - a)
    expected = torch.cosine_similarity(normals, rays, dim=-1).abs()
    assert len(row) > 500
    assert (found[0][hit] - expected).abs().max() < 1e-3
    assert not found[0][~hit].any()
