"""What the Triton back-end promises beyond its values: same bits, bounded memory, clear errors."""

from __future__ import annotations

import pytest
import torch
import trimesh
from raster_scenes import GPU_MARKS, NEEDS_TRITON, TRITON_DEVICE, from_trimesh, pinhole
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.errors import InputError
from diffrender.meshes import Mesh, MeshBatch
from diffrender.raster import antialias, backends, interpolate, rasterize, soft_silhouette
from diffrender.raster._packed import pack

pytestmark = [
    pytest.mark.skipif(TRITON_DEVICE is None, reason=NEEDS_TRITON),
    *GPU_MARKS,
]


def camera(size: tuple[int, int] = (20, 26)) -> Camera:
    view = pinhole(size, focal=26.0, translation=(0.01, 0.02, 3.0), dtype=torch.float32)
    return view.to(str(TRITON_DEVICE))


def box() -> Mesh:
    solid = trimesh.creation.box()
    solid.apply_transform(trimesh.transformations.rotation_matrix(0.7, (1.0, 0.4, 0.1)))
    return from_trimesh(solid, torch.float32).to(str(TRITON_DEVICE))


def everything() -> list[Tensor]:
    mesh, view = box(), camera()
    vertices = torch.cat([mesh.vertices, mesh.vertices * 0.5]).requires_grad_()
    twice = Mesh(vertices, torch.cat([mesh.faces, mesh.faces + 8]))
    found = rasterize(twice, view, layers=2, backend="triton")
    colours = interpolate(vertices, found, backend="triton")
    image = torch.cat([found.mask()[..., None], colours], -1)
    smooth = antialias(image, found, twice, view, backend="triton")
    soft = [soft_silhouette(twice, view, faces_per_pixel=k, backend="triton") for k in (None, 2)]
    loss = smooth.square().sum() + found.depth.square().sum()
    loss = loss + sum(s.square().sum() for s in soft)
    (grad,) = torch.autograd.grad(loss, vertices)
    return [found.face, found.bary, found.depth, smooth, *soft, grad]


def test_two_runs_give_the_same_bits_and_chunks_change_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from diffrender.raster import triton_bins

    first = everything()
    assert float(first[-1].abs().max()) > 0
    for one, two in zip(first, everything(), strict=True):
        assert torch.equal(one, two)
    # Faces in chunks of some thirty pairs: pixels go on from where the last chunk stopped.
    monkeypatch.setattr(triton_bins, "_CHUNK", 30)
    for one, two in zip(first, everything(), strict=True):
        assert torch.equal(one, two)


def test_many_layers_and_ties_go_to_the_lower_face() -> None:
    """Eleven copies of a square, two of them at equal depth: smaller tiles, a padded list."""
    corners = torch.tensor([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    depths = [5.0, 2.0, 3.0, 2.0, 9.0, 1.0, 8.0, 7.0, 6.0, 4.0, 10.0]
    vertices = torch.cat([corners * d + torch.tensor([0.0, 0, d]) for d in depths])
    square = torch.tensor([[0, 2, 1], [0, 3, 2]])
    faces = torch.cat([square + 4 * i for i in range(len(depths))])
    view = pinhole((10, 9), focal=30.0, dtype=torch.float32).to(str(TRITON_DEVICE))
    found = rasterize(
        Mesh(vertices, faces).to(str(TRITON_DEVICE)), view, layers=9, backend="triton"
    )
    nearest = torch.tensor([5, 1, 3, 2, 9, 0, 8, 7, 6], device=found.face.device)
    assert bool((found.face // 2 == nearest).all())
    for face in (found.face[2, 7], found.face[7, 2]):
        assert len(set((face % 2).tolist())) == 1


def test_an_empty_batch_gives_empty_maps_and_gradients() -> None:
    empty = torch.zeros(0, 8, 3, device=TRITON_DEVICE).requires_grad_()
    faces = torch.tensor([[0, 1, 2]], device=TRITON_DEVICE)
    batch = MeshBatch.shared(empty, faces)
    found = rasterize(batch, camera(), backend="triton")
    assert found.face.shape == (0, 20, 26, 1)
    alpha = soft_silhouette(batch, camera(), backend="triton")
    assert alpha.shape == (0, 20, 26)
    (grad,) = torch.autograd.grad(found.depth.sum() + alpha.sum(), empty)
    assert grad.shape == (0, 8, 3)


@pytest.mark.parametrize("operation", [rasterize, soft_silhouette])
def test_broken_inputs_are_named(operation) -> None:  # type: ignore[no-untyped-def]
    mesh = box()
    broken = mesh.vertices.clone()
    broken[5, 2] = torch.nan
    with pytest.raises(InputError, match=r"meshes\.vertices holds 1 NaN .* at \(5, 2\)"):
        operation(Mesh(broken, mesh.faces), camera(), backend="triton")
    batch = MeshBatch.shared(mesh.vertices.expand(2, -1, -1), mesh.faces)
    swapped = MeshBatch(
        batch.vertices, batch.faces.flip(0), batch.vertex_offsets, batch.face_offsets
    )
    with pytest.raises(InputError, match="outside its own mesh's vertices \\(packed face 0\\)"):
        operation(swapped, camera(), backend="triton")


def test_half_precision_is_drawn_in_float32() -> None:
    mesh, view = box(), camera().to(torch.float16)
    half = Mesh(mesh.vertices.half(), mesh.faces)
    found = rasterize(half, view, backend="triton")
    wanted = rasterize(Mesh(half.vertices.float(), mesh.faces), view.to(torch.float32))
    assert found.depth.dtype == torch.float16
    assert int((wanted.face >= 0).sum()) > 0
    assert torch.equal(found.face, wanted.face)


def test_operators_are_sound() -> None:
    """Schemas, fake versions and autograd registration, as torch's own checker sees them."""
    assert backends()["triton"] is None
    packed = pack(box(), camera((8, 9)))
    rasterize(box(), camera((8, 9)), backend="triton")  # loads the operators
    offsets = (packed.vertex_offsets, packed.face_offsets)
    h = packed.homogeneous.detach().clone().requires_grad_()
    # Left out: its check of compiled gradients, which adds up int64 outputs into a float.
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    arguments = (h, packed.faces, *offsets, 8, 9, 2, False)
    operator = torch.ops.diffrender.triton_rasterize.default
    torch.library.opcheck(operator, arguments, test_utils=checks)
