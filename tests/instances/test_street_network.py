"""The street segmenter: targets, loss, grouping, masks of a picture's own size, files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffrender.errors import InputError
from diffrender.instances.street import (
    StreetConfig,
    StreetMaps,
    StreetNet,
    find_vehicles,
    load_street,
    read_street,
    save_street,
)
from diffrender.instances.street.check import check_street, match_masks
from diffrender.instances.street.grouping import group
from diffrender.instances.street.train_data import OwnedSet
from diffrender.instances.street.train_loss import Target, street_loss, target_of

SMALL = StreetConfig(backbone="test_efficientnet", channels=8, width=128)


def owner_of_boxes(
    size: tuple[int, int], boxes: dict[int, tuple[int, int, int, int]]
) -> np.ndarray:
    owner = np.zeros(size, np.uint8)
    for name, (left, top, right, bottom) in boxes.items():
        owner[top:bottom, left:right] = name
    return owner


def batch_of(target: Target) -> Target:
    return Target(
        target.vehicle[None], target.known[None], target.heat[None], target.offset[None],
        target.weight[None], target.van[None],
    )  # fmt: skip


def perfect(target: Target) -> StreetMaps:
    """Maps that say what the target says, with certainty."""
    return StreetMaps(
        (target.vehicle[None] - 0.5) * 40,
        torch.logit(target.heat[None].clamp(1e-6, 1 - 1e-6)),
        target.offset[None],
        (target.van[None] - 0.5) * 40,
    )


CAR, NEIGHBOUR, VAN, SCRAP = 1, 2, 128, 255
SCENE = owner_of_boxes(
    (64, 128),
    {
        CAR: (10, 20, 50, 44),
        NEIGHBOUR: (50, 22, 78, 42),
        VAN: (90, 10, 120, 50),
        SCRAP: (0, 0, 8, 8),
    },
)


def test_maps_have_half_the_size_and_gradients() -> None:
    torch.manual_seed(0)
    net = StreetNet(SMALL)
    maps = net(torch.rand(2, 3, 64, 128))
    assert maps.vehicle.shape == maps.centre.shape == maps.van.shape == (2, 32, 64)
    assert maps.offset.shape == (2, 2, 32, 64)
    # At first next to nothing is a vehicle: the biases say so.
    assert float(maps.vehicle.detach().sigmoid().mean()) < 0.3
    maps.offset.sum().backward()
    assert all(p.grad is not None for p in net.reassemble.parameters())


def test_every_pixel_of_a_vehicle_points_at_its_centre() -> None:
    target = target_of(SCENE)
    small = SCENE[1::2, 1::2]
    y, x = np.mgrid[:32, :64]
    for name, (cx, cy) in {CAR: (14.5, 15.5), NEIGHBOUR: (31.5, 15.5), VAN: (52, 14.5)}.items():
        mask = small == name
        # stride 2: one pixel of the maps is two of the input
        assert np.allclose(2 * x[mask] + target.offset[0].numpy()[mask], 2 * cx)
        assert np.allclose(2 * y[mask] + target.offset[1].numpy()[mask], 2 * cy)
        assert float(target.heat[round(cy), round(cx)]) == 1.0
    assert int((target.heat == 1).sum()) == 3
    assert np.array_equal(target.known.numpy() == 0, small == SCRAP)
    assert np.array_equal(target.van.numpy() == 1, small == VAN)
    assert np.array_equal(target.weight.numpy() > 0, (small > 0) & (small != SCRAP))


def test_touching_vehicles_are_told_apart_and_strays_belong_to_none() -> None:
    """The scrap at the corner points at itself, where there is no centre."""
    found = group(perfect(target_of(SCENE)))
    small = SCENE[1::2, 1::2]
    assert len(found.score) == 3 and bool((found.score > 0.9).all())
    for name, is_van in ((CAR, False), (NEIGHBOUR, False), (VAN, True)):
        places = np.unique(found.owner.numpy()[small == name])
        assert len(places) == 1 and places[0] >= 0
        assert bool(found.van[places[0]]) is is_van
        assert np.array_equal(found.owner.numpy() == places[0], small == name)


def test_a_mirrored_picture_is_read_as_the_mirror_image() -> None:
    torch.manual_seed(0)
    net = StreetNet(SMALL).eval()
    image = np.random.default_rng(0).integers(0, 256, (64, 128, 3), np.uint8)
    here, there = read_street(net, image), read_street(net, np.ascontiguousarray(image[:, ::-1]))
    assert np.allclose(there.vehicle[:, ::-1], here.vehicle, atol=1e-5)
    assert here.vehicle.std() > 0


def test_masks_leave_strays_out() -> None:
    """A pixel that points at no centre gets none by lying next to nothing else."""
    net = Knows(SCENE)
    found = find_vehicles(net, np.zeros((64, 128, 3), np.uint8))  # type: ignore[arg-type]
    assert len(found) == 3
    assert not any(vehicle.mask[SCENE == SCRAP].any() for vehicle in found)
    covered = np.any([vehicle.mask for vehicle in found], axis=0)
    counted = (SCENE > 0) & (SCENE != SCRAP)
    assert (covered & counted).sum() > 0.95 * counted.sum()


@settings(max_examples=30, deadline=None)
@given(
    left=st.integers(0, 60), top=st.integers(0, 30), width=st.integers(16, 60),
    height=st.integers(12, 30), gap=st.integers(0, 20),
)  # fmt: skip
def test_any_two_boxes_come_back(left: int, top: int, width: int, height: int, gap: int) -> None:
    second = left + width + gap
    owner = owner_of_boxes(
        (64, 224),
        {1: (left, top, left + width, top + height),
         2: (second, top, second + width, top + height)},
    )  # fmt: skip
    found = group(perfect(target_of(owner)))
    small = owner[1::2, 1::2]
    assert len(found.score) == 2
    assert {tuple(np.unique(found.owner.numpy()[small == n])) for n in (1, 2)} == {(0,), (1,)}


def test_an_empty_street_and_crumbs_give_nothing() -> None:
    assert len(group(perfect(target_of(np.zeros((64, 64), np.uint8)))).score) == 0
    crumb = owner_of_boxes((64, 64), {1: (20, 20, 26, 24)})  # six pixels of the maps
    found = group(perfect(target_of(crumb)))
    assert len(found.score) == 0 and bool((found.owner == -1).all())


def test_loss_is_least_for_what_is_true_and_blind_to_what_is_not_known() -> None:
    target = batch_of(target_of(SCENE))
    right = street_loss(perfect(target_of(SCENE)), target)
    assert float(right["vehicle"]) < 0.02 and float(right["offset"]) < 1e-6
    assert float(right["van"]) < 1e-3
    empty = target_of(np.zeros_like(SCENE))
    wrong = street_loss(perfect(empty), target)
    assert all(float(wrong[name]) > 10 * float(right[name]) for name in ("vehicle", "offset"))
    assert float(wrong["centre"]) > float(right["centre"])
    vehicle = torch.zeros(1, 32, 64, requires_grad=True)
    maps = StreetMaps(vehicle, torch.zeros(1, 32, 64), torch.zeros(1, 2, 32, 64), vehicle.detach())
    street_loss(maps, target)["total"].backward()
    assert vehicle.grad is not None
    assert bool((vehicle.grad[target.known == 0] == 0).all())
    assert bool((vehicle.grad[target.known == 1] != 0).all())


def test_offsets_count_by_the_size_of_their_vehicle() -> None:
    """A miss by a tenth of its length costs a small car as much as a large one."""
    costs = []
    for size in (16, 64):
        owner = owner_of_boxes((96, 96), {1: (8, 8, 8 + size, 8 + size)})
        target = target_of(owner)
        maps = perfect(target)
        off = StreetMaps(maps.vehicle, maps.centre, maps.offset + 0.1 * size, maps.van)
        costs.append(float(street_loss(off, batch_of(target))["offset"]))
    assert costs[0] == pytest.approx(costs[1], rel=1e-4)


class Knows(torch.nn.Module):
    """In place of the network: maps of a known owner map, then those of its mirror image."""

    def __init__(self, owner: np.ndarray) -> None:
        super().__init__()
        self.config = SMALL
        self.maps = [perfect(target_of(o)) for o in (owner, np.ascontiguousarray(owner[:, ::-1]))]
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: tuple[int, ...] = ()

    def forward(self, image: torch.Tensor) -> StreetMaps:
        self.seen = tuple(image.shape)
        self.maps.reverse()
        return self.maps[1]


def test_masks_have_the_pictures_own_size() -> None:
    """A picture of twice the width and a height that is no multiple of 32."""
    net = Knows(SCENE)
    picture = np.zeros((2 * 60, 2 * 128, 3), np.uint8)
    found = find_vehicles(net, picture)  # type: ignore[arg-type]
    assert net.seen == (1, 3, 64, 128)
    large = np.kron(SCENE, np.ones((2, 2), np.uint8))[:120]
    assert [one.van for one in found].count(True) == 1
    truth = [large == name for name in (CAR, NEIGHBOUR, VAN)]
    overlaps = match_masks(found, truth)
    assert len(overlaps) == 3 and min(overlaps) > 0.9
    assert not np.logical_and(found[0].mask, found[1].mask).any()
    assert all(one.mask.shape == (120, 256) and one.mask.dtype == bool for one in found)


def test_quality_counts_what_is_missed_and_what_is_nothing() -> None:
    frames = OwnedSet(np.zeros((1, 64, 128, 3), np.uint8), SCENE[None])
    whole = check_street(Knows(SCENE), frames)  # type: ignore[arg-type]
    assert whole["found"] == 1 and whole["wrong"] == 0
    assert whole["quality"] == pytest.approx(whole["iou"]) and whole["iou"] > 0.9
    fewer = np.where(SCENE == VAN, 0, SCENE)
    missed = check_street(Knows(fewer), frames)  # type: ignore[arg-type]
    assert missed["found"] == pytest.approx(2 / 3)
    assert missed["quality"] == pytest.approx(missed["iou"] * 2 / 2.5)
    nothing = check_street(Knows(SCENE), OwnedSet(frames.images, fewer[None]))  # type: ignore[arg-type]
    assert nothing["wrong"] == 1
    assert nothing["quality"] == pytest.approx(nothing["iou"] * 2 / 2.5)


def test_files_keep_network_and_configuration(tmp_path: Path) -> None:
    torch.manual_seed(1)
    net = StreetNet(SMALL).eval()
    image = torch.rand(1, 3, 64, 96)
    again = load_street(save_street(net, tmp_path / "net.safetensors"))
    assert again.config == SMALL
    assert torch.equal(again(image).vehicle, net(image).vehicle)
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "net.safetensors").read_bytes()[:90])
    with pytest.raises(InputError, match="not a safetensors file"):
        load_street(tmp_path / "cut.safetensors")
    with pytest.raises(InputError, match="no such file, expected a street segmenter"):
        load_street(tmp_path / "none.safetensors")


@pytest.mark.parametrize(
    "wrong", [{"width": 100}, {"channels": 1}, {"backbone": 3}, {"std": (0.0, 1.0, 1.0)}]
)
def test_configurations_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError, match=f"StreetConfig.{next(iter(wrong))}"):
        StreetConfig(**wrong)  # type: ignore[arg-type]


def test_towers_of_pictures_are_refused_before_they_take_memory() -> None:
    torch.manual_seed(0)
    net = StreetNet(SMALL).eval()
    read_street(net, np.zeros((64, 16, 3), np.uint8))
    with pytest.raises(InputError, match="16 x 65 pixels, expected one at most 4 times as high"):
        read_street(net, np.zeros((65, 16, 3), np.uint8))


@pytest.mark.parametrize("size", [(74, 256), (98, 256), (76, 256), (206, 800)])
def test_masks_lie_where_the_picture_says(size: tuple[int, int]) -> None:
    """Also where the maps' last row lies half below the picture: no row slides up."""
    height, width = size

    class Bright(torch.nn.Module):
        """A vehicle is what is bright."""

        config = SMALL

        def __init__(self) -> None:
            super().__init__()
            self.bias = torch.nn.Parameter(torch.zeros(1))

        def forward(self, pixels: torch.Tensor) -> StreetMaps:
            small = torch.nn.functional.avg_pool2d(pixels.mean(1), 2)
            empty = torch.zeros_like(small) - 20
            offset = torch.zeros(1, 2, *small.shape[1:])
            return StreetMaps(small.logit(eps=1e-5), empty, offset, empty)

    for row in (height // 3, height // 2, height - 12):
        image = np.zeros((height, width, 3), np.uint8)
        image[row:] = 255
        with torch.no_grad():
            read = read_street(Bright(), image).vehicle  # type: ignore[arg-type]
        assert read.shape == size
        column = read[:, width // 2]
        # where it passes a half, between rows' centres
        above = int(np.flatnonzero(column > 0.5)[0])
        share = (0.5 - column[above - 1]) / (column[above] - column[above - 1])
        found = above - 0.5 + share
        assert abs(found - row) < 0.3 * width / SMALL.width  # of two rows, as the maps see it
