"""The overlay and the bird's-eye view show what they should, where they should."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from scene_fixture import make_object, make_scene, small_camera

from diffrender.reconstruct.birds_eye import depth_points, draw_birds_eye
from diffrender.reconstruct.overlay import PALETTE, box_segments, colour_of, draw_overlay
from diffrender.reconstruct.scene import Pose, Scene


def close_to(picture: np.ndarray, colour: tuple[int, int, int], within: int = 12) -> np.ndarray:
    return (np.abs(picture.astype(int) - colour) <= within).all(axis=-1)


def black(scene: Scene, **changes: object) -> Scene:
    return dataclasses.replace(scene, image=np.zeros_like(scene.image), **changes)


def test_overlay_keeps_the_image_away_from_objects() -> None:
    scene = make_scene()
    picture = draw_overlay(scene, enlarge=1)
    assert picture.shape == scene.image.shape
    assert picture.dtype == np.uint8
    assert np.array_equal(picture[100:, :40], scene.image[100:, :40])
    assert not np.array_equal(picture, scene.image)


@pytest.mark.parametrize(("width", "factor"), [(320, 4), (900, 2), (1600, 1), (4000, 1)])
def test_overlay_enlarges_small_images(width: int, factor: int) -> None:
    scene = make_scene()
    scene = dataclasses.replace(
        scene, image=np.zeros((60, width, 3), np.uint8), objects=[], depth=None
    )
    assert draw_overlay(scene).shape == (60 * factor, width * factor, 3)


def test_lines_grow_with_a_large_picture() -> None:
    """Made to fit a screen, the overlay of a large picture looks like that of a small one."""
    shares = []
    for width in (1600, 6400):
        scene = make_scene()
        size = (round(width * scene.image.shape[0] / scene.image.shape[1]), width)
        item = dataclasses.replace(scene.objects[0], silhouette=np.zeros(size, bool))
        large = dataclasses.replace(
            scene, image=np.zeros((*size, 3), np.uint8), camera=scene.camera.resize(size),
            objects=[item], depth=None,
        )  # fmt: skip
        lower = draw_overlay(large)[size[0] // 2 :]  # without the name
        shares.append(float((lower.max(axis=-1) > 100).mean()))
    assert shares[0] > 0
    assert shares[1] == pytest.approx(shares[0], rel=0.3)


def test_convention_overlay_lines_lie_on_projected_edges() -> None:
    scene = black(make_scene())
    factor = 3
    picture = draw_overlay(scene, enlarge=factor)
    item = scene.objects[0]
    pixels, _ = scene.camera.project(torch.from_numpy(item.pose.corners()))
    # The lower front edge and an upright one, which neither plate nor other object covers.
    for first, second in ((0, 1), (2, 3), (1, 2)):
        middle = ((pixels[first] + pixels[second]) / 2 * factor).numpy()
        column, row = (math.floor(value) for value in middle)
        patch = picture[row - 1 : row + 2, column - 1 : column + 2]
        assert close_to(patch, colour_of(0), within=60).any(), (first, second)


def test_silhouettes_are_tinted_by_their_object() -> None:
    scene = black(make_scene())
    picture = draw_overlay(scene, enlarge=1).astype(float)
    for index, item in enumerate(scene.objects):
        inside = picture[item.silhouette]
        direction = np.median(inside, axis=0)
        wanted = np.array(colour_of(index))
        cosine = direction @ wanted / np.linalg.norm(direction) / np.linalg.norm(wanted)
        assert cosine > 0.98


def test_box_segments_of_a_box_ahead() -> None:
    scene = make_scene()
    segments, crossed = box_segments(scene.objects[0].pose, scene.camera)
    assert segments.shape == (14, 2, 2)
    assert crossed == 2
    pixels = scene.camera.project(torch.from_numpy(scene.objects[0].pose.corners()))[0].numpy()
    assert np.allclose(segments[0], pixels[[0, 1]])
    # The cross joins the four corners of the face at +x.
    assert np.allclose(segments[-2:].reshape(-1, 2), pixels[[0, 5, 1, 4]])


def test_boxes_that_pass_the_camera_are_cut_not_mirrored() -> None:
    camera = small_camera()
    beside = Pose((-1.5, 1.65, 1.0), (4.0, 1.6, 1.5), -math.pi / 2)
    segments, _ = box_segments(beside, camera)
    assert 0 < len(segments) < 14
    assert np.isfinite(segments).all()
    # The whole car is left of the axis, so every drawn point is left of the principal point.
    assert (segments[..., 0] < 155).all()
    behind = dataclasses.replace(beside, location=(0.0, 1.65, -9.0))
    assert box_segments(behind, camera)[0].shape == (0, 2, 2)
    scene = make_scene()
    scene.objects[0] = dataclasses.replace(scene.objects[0], pose=beside)
    scene.objects[1] = dataclasses.replace(scene.objects[1], pose=behind)
    assert draw_overlay(scene).shape == (480, 1280, 3)


def test_awkward_names_do_not_stop_the_pictures() -> None:
    scene = make_scene(("$\\frac{1}$ <b>", "車\n" * 30))
    draw_overlay(scene)
    assert draw_birds_eye(scene).shape[2] == 3


def test_crowded_plates_and_empty_silhouettes_draw() -> None:
    scene = make_scene()
    nothing = np.zeros_like(scene.objects[0].silhouette)
    one = dataclasses.replace(scene.objects[0], silhouette=nothing)
    crowd = dataclasses.replace(scene, objects=[one] * 12)
    assert (draw_overlay(crowd) != draw_overlay(dataclasses.replace(scene, objects=[]))).any()


def test_colours_are_distinct_and_repeat() -> None:
    assert len(set(PALETTE)) == len(PALETTE) >= 8
    assert colour_of(len(PALETTE) + 1) == colour_of(1)


def test_convention_depth_points_are_unprojected_pixel_centres() -> None:
    scene = make_scene()
    depth = np.zeros((120, 320), np.float32)
    depth[70, 200], depth[10, 5], depth[3, 3] = 9.5, 200.0, np.nan
    scene = dataclasses.replace(scene, depth=depth)
    points, colours = depth_points(scene, 100)
    assert len(points) == 2
    expected = scene.camera.unproject(
        torch.tensor([[200.5, 70.5]], dtype=torch.float64), torch.tensor([9.5], dtype=torch.float64)
    )
    assert points[1] == pytest.approx(expected[0].numpy(), rel=1e-5)
    assert (colours[1] == scene.image[70, 200]).all()
    assert len(depth_points(scene, 100, farthest=120.0)[0]) == 1
    assert len(depth_points(scene, 1)[0]) == 1


def test_depth_points_are_thinned_evenly() -> None:
    scene = make_scene()
    depth = np.full((120, 320), 10.0, np.float32)
    points, _ = depth_points(dataclasses.replace(scene, depth=depth), 4000)
    assert len(points) == 4000
    half = (points[:, 0] < (160 - 155) / 190 * 10 - 0.06).mean()
    assert 0.45 < half < 0.55


def test_convention_birds_eye_right_is_right_and_far_is_up() -> None:
    """A lone car to the right, then farther: its colour moves right, then up."""
    camera = small_camera()

    def centroid(x: float, z: float) -> np.ndarray:
        frame = Pose((0.0, 1.65, 40.0), (1.0, 1.0, 1.0), 0.0)  # keeps the limits equal
        pose = Pose((x, 1.65, z), (4.0, 1.8, 1.5), 0.0)
        objects = [
            make_object("", p, camera, (0, 0, 0), silhouette=np.zeros((120, 320), bool))
            for p in (pose, frame)
        ]
        scene = dataclasses.replace(make_scene(), objects=objects, depth=None)
        picture = draw_birds_eye(scene)
        fill = np.array(colour_of(0)) * 0.35 + np.array([244, 244, 242]) * 0.65
        rows, columns = np.nonzero(close_to(picture, tuple(fill), within=6))
        assert len(rows) > 50
        return np.array([columns.mean(), rows.mean()])

    start, right, far = centroid(-3, 12), centroid(3, 12), centroid(-3, 24)
    assert right[0] > start[0] + 20
    assert abs(right[1] - start[1]) < 5
    assert far[1] < start[1] - 40
    # Equal scales: 6 m across and 12 m ahead are 1 to 2.
    assert (start[1] - far[1]) / (right[0] - start[0]) == pytest.approx(2, rel=0.05)


def test_birds_eye_is_bounded_however_far_an_object_is_put() -> None:
    """One tick every ten metres to 1e7 metres took minutes, and to 1e31 had no end."""
    scene = make_scene()
    for z in (1e4, 1e7, 1e31):
        far = [dataclasses.replace(o, pose=Pose((-z, 1.65, z), o.size, 0.1)) for o in scene.objects]
        depth = scene.depth * np.float32(z)
        picture = draw_birds_eye(dataclasses.replace(scene, objects=far, depth=depth))
        assert picture.shape[0] < 1500 and picture.shape[1] < 1000
        assert (picture != picture[:1, :1]).any()
