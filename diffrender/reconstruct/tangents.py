"""Drawing with its Jacobian: how every pixel moves with pose, size and shape, in closed form.

With X a point of the surface in the camera frame, w its place along the object's axes from the
box's centre, M the object's rotation into the camera and S the size, X = c + M w. A variable
moves it by

    offset         K^-1 e z extent      (the centre slides at constant depth)
    log depth      X                    (place and size grow together: the picture stays)
    angle          dM w
    log apparent   M e_k w_k            (the box grows about its centre)
    latent         M S du               (u: the shape in its unit box)

A drawn vertex then moves by (dx - x dz, dy - y dz) / z (where z is under 10 cm it counts as 10 cm,
and dz as 0), and with it the outline (`Crossings`). A pixel inside keeps its ray: with N the face's
plane, N . X = 1, its depth changes by z N . dX with dX the motion of the point that it shows. So no
pass of backpropagation is needed for any pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from diffrender.cameras import Camera
from diffrender.errors import InputError
from diffrender.losses import Outline, Rendering, Tangents
from diffrender.meshes import MeshBatch
from diffrender.raster import Fragments, find_crossings, interpolate, rasterize
from diffrender.reconstruct.drawing import NEAREST
from diffrender.reconstruct.hypotheses import Hypotheses
from diffrender.rotations import euler_to_matrix
from diffrender.shape_priors import ShapePrior

__all__ = ["Drawing", "draw_with_tangents", "variables"]

_AXES = (0, 2, 1)  # x, y, z of the object are length, height, width


@dataclass(frozen=True)
class Drawing:
    """A rendering, detached, and its Jacobian to the variables in the order of `variables`."""

    rendering: Rendering
    tangents: Tangents


def variables(latent_size: int, tilt: bool) -> list[tuple[str, int]]:
    """(field of Hypotheses, index) of every variable, in the order of the Jacobian."""
    names = [("offset", 0), ("offset", 1), ("log_depth", 0), ("angles", 0)]
    names += [("angles", 1), ("angles", 2)] if tilt else []
    names += [("log_apparent", k) for k in range(3)]
    return names + [("latent", k) for k in range(latent_size)]


@dataclass(frozen=True)
class _Frame:
    """The object's frame in its window's camera: all that both kinds of motion need."""

    centre: Tensor  # (N, 3) camera frame
    turn: Tensor  # (N, 3, 3) M, object to camera
    turns: Tensor  # (A, N, 3, 3) dM of every angle that is free
    scale: Tensor  # (N, 3) size along x, y, z
    slide: Tensor  # (N, 3, 2) dX of the offset
    low: Tensor  # (N, 3) of the shape before it fills its box
    extent: Tensor  # (N, 3)
    low_rate: Tensor  # (N, D, 3)
    extent_rate: Tensor  # (N, D, 3)
    basis: Tensor  # (N or 1, D, V, 3) of the shape before it fills its box
    intrinsics: Tensor  # (N, 3, 3) of the window


@torch.no_grad()
def draw_with_tangents(
    prior: ShapePrior,
    hypotheses: Hypotheses,
    camera: Camera,
    windows: Camera,  # batch (B,)
    boxes: Tensor,  # (B, 4)
    reach: Tensor,  # (B, H, W)
    *,
    with_parts: bool,
    tilt: bool = False,
) -> Drawing:
    """What `draw` draws, and how it moves with the K variables of each hypothesis.

    Args:
        camera: of the whole image, without a lens.
        windows: the cameras of the objects' windows.
        boxes: the masks' boxes, pixels of the image.
        reach: of the objects' masks, see `Tangents.reach`.
        with_parts: also draw the parts.
        tilt: pitch and roll are variables too.

    Raises:
        InputError: the camera's lens distorts.

    Source: of the outline's motion, Laine et al. 2020, sec. 3.5; the rest is worked out above.
    """
    if camera.distortion is not None:
        raise InputError(
            "the Jacobian is worked out for a pinhole, this camera has a lens: "
            "use solver='adam', or undistort the image"
        )
    frame, location, size, raw = _frame(prior, hypotheses, camera, windows, boxes, tilt)
    unit = (raw - frame.low[:, None]) / frame.extent[:, None] - 0.5  # from the box's centre
    local = unit * frame.scale[:, None]
    seen = local @ frame.turn.mT + frame.centre[:, None]  # (N, V, 3) camera frame
    lens = Camera(frame.intrinsics, torch.eye(3).to(seen), torch.zeros(3).to(seen), windows.size)
    batch = MeshBatch.shared(seen, prior.faces)
    fragments = rasterize(batch, lens)
    face = fragments.face[..., 0]
    hit = (face >= 0).to(seen.dtype)
    layers = hit[..., None]
    if with_parts:
        which = prior.face_parts[face.remainder(len(prior.faces))]
        parts = one_hot(which, len(prior.part_names)).to(hit) * hit[..., None]
        layers = torch.cat([layers, parts], dim=-1)
    image, crossings = find_crossings(layers, fragments)
    pixels = (seen @ frame.intrinsics.mT)[..., :2] / seen[..., 2:].clamp(min=NEAREST)
    motion = _vertex_motion(frame, local, unit, seen, pixels)  # (N, K, V, 2)
    box, box_rate = _box(pixels, motion)
    depth, facing, depth_rate = _surface_motion(prior, frame, seen, fragments)
    rendering = Rendering(
        coverage=image[..., 0], depth=depth, facing=facing, box=box, location=location, size=size,
        latent=hypotheses.latent, parts=image[..., 1:] if with_parts else None,
    )  # fmt: skip
    rate = crossings.rates(motion.permute(0, 2, 3, 1).flatten(0, 1))
    outline = Outline(
        image=crossings.image, target=crossings.target, inside=crossings.inside,
        outside=crossings.outside, alpha=crossings.alpha, rate=rate,
        difference=crossings.difference, columns=crossings.upright,
    )  # fmt: skip
    place = _place_rates(frame, hypotheses, camera, location, size, tilt)
    return Drawing(
        rendering, Tangents(outline, depth_rate, box_rate, *place, reach=reach[hypotheses.owner])
    )


def _frame(
    prior: ShapePrior,
    hypotheses: Hypotheses,
    camera: Camera,
    windows: Camera,
    boxes: Tensor,
    tilt: bool,
) -> tuple[_Frame, Tensor, Tensor, Tensor]:
    """The frame, bottom-face centres, sizes and the shapes before they fill their boxes."""
    rotation, location, size = hypotheses.pose(camera, boxes)
    small = windows[hypotheses.owner]
    down = rotation[..., 1] * size[:, 2:] / 2
    centre = camera.world_to_camera(location - down)
    turns = _turn_rates(rotation, hypotheses.angles)[: 3 if tilt else 1]
    box = boxes[hypotheses.owner]
    inverse = torch.linalg.inv(camera.intrinsics)[..., :2]  # (3, 2)
    extent_px = box[:, 2:] - box[:, :2]
    slide = inverse * centre[:, 2, None, None] * extent_px[:, None]
    raw, basis = prior.expand(hypotheses.latent)
    (low, first), (high, last) = raw.min(1), raw.max(1)
    axis = torch.arange(3, device=raw.device)
    own = torch.arange(len(raw), device=raw.device)[:, None] % len(basis)
    low_rate, high_rate = (basis[own, :, v, axis].mT.contiguous() for v in (first, last))
    frame = _Frame(
        centre=centre, turn=camera.rotation @ rotation, turns=camera.rotation @ turns,
        scale=size[:, _AXES], slide=slide, low=low, extent=high - low, low_rate=low_rate,
        extent_rate=high_rate - low_rate, basis=basis, intrinsics=small.intrinsics,
    )  # fmt: skip
    return frame, location, size, raw


def _turn_rates(rotation: Tensor, angles: Tensor) -> Tensor:
    """d R / d yaw, pitch, roll of R = R_y R_z R_x, (3, N, 3, 3)."""
    about = torch.zeros(3, 3, 3).to(rotation)  # the generator of a turn about x, y, z
    for k, (i, j) in enumerate(((1, 2), (2, 0), (0, 1))):
        about[k, i, j], about[k, j, i] = -1, 1
    yaw, zero = angles[:, 0], torch.zeros_like(angles[:, 0])
    only_yaw = euler_to_matrix(yaw, zero, zero)
    pitch = only_yaw @ about[2] @ only_yaw.mT @ rotation
    return torch.stack([about[1] @ rotation, pitch, rotation @ about[0]])


def _vertex_motion(
    frame: _Frame, local: Tensor, unit: Tensor, seen: Tensor, pixels: Tensor
) -> Tensor:
    """d pixel / d variables of every vertex, (N, K, V, 2)."""
    vertices = seen.shape[1]
    rows = [frame.slide.mT[:, :, None].expand(-1, -1, vertices, -1), seen[:, None]]
    rows += [(local @ turn.mT)[:, None] for turn in frame.turns]
    grown = frame.turn.mT[:, :, None] * local.mT[..., None]  # (N, 3, V, 3): M e_k w_k
    rows.append(grown[:, _AXES])
    # du_d = (B_d - low_d - (u + 1/2) extent_d) / extent; u counts from the centre here.
    rate = frame.basis - frame.low_rate[:, :, None]  # (N, D, V, 3)
    rate = torch.addcmul(rate, unit[:, None] + 0.5, frame.extent_rate[:, :, None], value=-1)
    spread = (frame.scale / frame.extent)[..., None] * frame.turn.mT  # (N, 3, 3)
    rows.append((rate.flatten(1, 2) @ spread).unflatten(1, rate.shape[1:3]))
    moved = torch.cat(rows, dim=1)  # (N, K, V, 3)
    # (K dX - pixel dz) / z as one small matrix per vertex, written out: bmm is slow on those.
    x, y, z = moved.unbind(-1)
    k = frame.intrinsics[:, :, :, None, None]
    inverse = 1 / seen[:, None, :, 2].clamp(min=NEAREST)
    held = pixels * (seen[..., 2:] > NEAREST)  # a depth that is held there does not move a pixel
    across = k[:, 0, 0] * x + k[:, 0, 1] * y + (k[:, 0, 2] - held[:, None, :, 0]) * z
    down = k[:, 1, 1] * y + (k[:, 1, 2] - held[:, None, :, 1]) * z
    return torch.stack([across * inverse, down * inverse], dim=-1)


def _box(pixels: Tensor, motion: Tensor) -> tuple[Tensor, Tensor]:
    """Extremes of the projected vertices and their motion, (N, 4) and (N, 4, K)."""
    (low, first), (high, last) = pixels.min(1), pixels.max(1)  # (N, 2)
    which = torch.cat([first, last], dim=-1)
    images = torch.arange(len(pixels), device=pixels.device)[:, None]
    axis = torch.tensor([0, 1, 0, 1], device=pixels.device)
    return torch.cat([low, high], dim=-1), motion[images, :, which, axis]


def _surface_motion(
    prior: ShapePrior, frame: _Frame, seen: Tensor, fragments: Fragments
) -> tuple[Tensor, Tensor, Tensor]:
    """Depth (N, H, W), facing (N, H, W) and d depth / d variables (N, K, H, W)."""
    face, depth = fragments.face[..., 0], fragments.depth[..., 0]
    count, height, width = face.shape
    a, b, c = seen[:, prior.faces.flatten()].unflatten(1, prior.faces.shape).unbind(2)
    normal = torch.linalg.cross(b - a, c - a)
    away = (normal * a).sum(-1, keepdim=True)
    plane = normal / torch.where(away.abs() < 1e-9, torch.full_like(away, 1e-9), away)
    flat = face.flatten(1)  # packed numbers, -1 where empty
    empty = (flat < 0)[..., None]
    plane = plane.flatten(0, 1)[flat.clamp(min=0)].masked_fill(empty, 0.0)  # (N, P, 3)
    z = depth.flatten(1)[..., None]
    ray = _rays(frame.intrinsics, height, width)
    length = torch.linalg.vector_norm(plane, dim=-1) * torch.linalg.vector_norm(ray, dim=-1)
    facing = 1 / (z[..., 0] * length).clamp(min=1e-9)
    facing = torch.where(empty[..., 0], 0.0, facing.clamp(max=1.0))
    point = ray * z  # camera frame
    local = (point - frame.centre[:, None]) @ frame.turn
    along = plane @ frame.turn  # N in the object's axes
    shift = z * plane  # z N
    planes = [(shift @ frame.slide).mT, z.mT]
    planes += [((shift @ turn) * local).sum(-1)[:, None] for turn in frame.turns]
    planes.append((z * along * local)[..., _AXES].mT)
    share = z * along * (frame.scale / frame.extent)[:, None]  # (N, P, 3)
    codes = frame.basis.shape[1]
    basis = frame.basis.permute(0, 2, 3, 1).flatten(2).flatten(0, 1)  # ((N or 1) * V, 3 * D)
    shown = interpolate(basis, fragments).reshape(count, height * width, 3, codes)
    unit = local / frame.scale[:, None] + 0.5
    latent = share[..., :1] * shown[:, :, 0]
    for k in (1, 2):
        latent = torch.addcmul(latent, share[..., k : k + 1], shown[:, :, k])
    latent = latent.mT - frame.low_rate @ share.mT - frame.extent_rate @ (share * unit).mT
    rate = torch.cat([*planes, latent], dim=1)
    return depth, facing.unflatten(1, (height, width)), rate.unflatten(2, (height, width))


def _rays(intrinsics: Tensor, height: int, width: int) -> Tensor:
    """(x, y, 1) of every pixel's centre, (N, H * W, 3)."""
    k = intrinsics
    y = (torch.arange(height).to(k) + 0.5 - k[:, 1, 2, None]) / k[:, 1, 1, None]  # (N, H)
    x = torch.arange(width).to(k) + 0.5 - k[:, 0, 2, None]  # (N, W)
    skew = k[:, 0, 1, None, None] * y[..., None]
    x = (x[:, None] - skew) / k[:, 0, 0, None, None]
    return torch.stack([x, y[..., None].expand_as(x), torch.ones_like(x)], dim=-1).flatten(1, 2)


def _place_rates(
    frame: _Frame, hypotheses: Hypotheses, camera: Camera, location: Tensor, size: Tensor,
    tilt: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """d location, d size, d latent / d variables: (N, 3, K), (N, 3, K), (N, D, K)."""
    names = variables(hypotheses.latent.shape[1], tilt)
    count, total = len(size), len(names)
    back = camera.rotation.mT
    drop = size[:, 2] / 2
    place = location.new_zeros(count, 3, total)
    place[:, :, :2] = back @ frame.slide
    place[:, :, 2] = location - camera.centre
    angles = len(frame.turns)
    for k in range(angles):
        place[:, :, 3 + k] = (back @ frame.turns[k])[..., 1] * drop[:, None]
    first = 3 + angles
    place[:, :, first + 2] = (back @ frame.turn)[..., 1] * drop[:, None]  # log height
    grown = size.new_zeros(count, 3, total)
    grown[:, :, 2] = size
    grown[:, :, first : first + 3] = torch.diag_embed(size)
    code = size.new_zeros(count, hypotheses.latent.shape[1], total)
    code[:, :, first + 3 :] = torch.eye(code.shape[1]).to(size)
    return place, grown, code
