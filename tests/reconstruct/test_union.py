"""Who hides whom, from all objects drawn together."""

from __future__ import annotations

import numpy as np
import torch

from diffrender.cameras import Camera
from diffrender.instances import Instance, box_of_mask
from diffrender.reconstruct.observations import Observation, observe
from diffrender.reconstruct.union import reorder
from diffrender.reconstruct.windows import Drawn, Window, draw_alone

SIZE = (60, 100)
WHOLE = Window(0, 0, 100, 60)
CAMERA = Camera.from_intrinsics(
    torch.tensor([[100.0, 0, 50], [0, 100, 30], [0, 0, 1]]), SIZE, pixel_centres="half"
)
# Two upright rectangles, each of two triangles: the left one in front, the right one behind it.
SQUARE = torch.tensor([[0.0, -1, 0], [2.0, -1, 0], [2.0, 1, 0], [0.0, 1, 0]])
FACES = torch.tensor([[0, 1, 2], [0, 2, 3]])


def scene(near: float, far: float) -> tuple[list[Observation], list[Drawn]]:
    left = SQUARE + torch.tensor([-2.0, 0.0, near])
    right = SQUARE + torch.tensor([-0.4, 0.0, far])
    drawn = [draw_alone(one, FACES, CAMERA) for one in (left, right)]
    front, back = (one.within(WHOLE) > 0 for one in drawn)
    back = back & ~front
    instances = [
        Instance(mask, box_of_mask(mask), "Car", 1.0, name)
        for mask, name in ((front, "front"), (back, "back"))
    ]
    depth = np.where(front, near, np.where(back, far, 0)).astype(np.float32)
    return observe(instances, instances, CAMERA, depth)[0], drawn


def test_depths_are_those_of_each_object_alone() -> None:
    _, drawn = scene(8.0, 10.0)
    left, right = (one.within(WHOLE) for one in drawn)
    assert left.shape == SIZE
    assert np.allclose(left[left > 0], 8.0, atol=1e-4)
    assert np.allclose(right[right > 0], 10.0, atol=1e-4)
    assert ((left > 0) & (right > 0)).any()  # the far one is drawn behind the near one too


def test_the_front_one_keeps_its_whole_outline() -> None:
    before, drawn = scene(8.0, 10.0)
    assert before[0].hiding.any()  # two metres are too little for the depth map's medians
    assert before[0].open_sides.tolist() == [True, True, False, True]
    front, back = reorder(before, drawn, relative=0.01)
    assert not front.hiding.any()
    assert front.open_sides.all()
    assert back.hiding[before[0].instance.mask].all()  # what stands in front goes on hiding


def test_a_nearer_object_hides_beyond_its_mask() -> None:
    before, drawn = scene(8.0, 10.0)
    wider = torch.from_numpy(drawn[0].within(WHOLE))
    wider[:, -10:] = 8.0  # drawn where no mask is
    back = reorder(before, [Drawn(WHOLE, wider), drawn[1]], relative=0.01)[1]
    assert back.hiding[:, -10:][~back.instance.mask[:, -10:]].all()
    assert not (back.hiding & back.instance.mask).any()


def test_what_the_depths_cannot_tell_stays() -> None:
    before, drawn = scene(8.0, 10.0)
    for observation, again in zip(before, reorder(before, drawn, relative=0.2), strict=True):
        assert np.array_equal(observation.hiding, again.hiding)
    gone = reorder(before, [Drawn(WHOLE, torch.zeros(SIZE))] * 2, relative=0.01)
    assert np.array_equal(gone[0].hiding, before[0].hiding)
