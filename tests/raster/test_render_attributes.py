"""`render_attributes` against the three calls that it stands for."""

from __future__ import annotations

import pytest
import torch

from diffrender.cameras import Camera
from diffrender.errors import InputError
from diffrender.meshes import Mesh, MeshBatch
from diffrender.raster import antialias, backends, interpolate, rasterize, render_attributes

pytestmark = pytest.mark.skipif(
    backends()["native"] is not None, reason=f"native kernels: {backends()['native']}"
)

SIZE = (24, 32)


def octahedron(shift: float, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """A closed mesh about 3 m ahead of the camera."""
    corners = [[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]]
    faces = [[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]]
    turn = torch.linalg.matrix_exp(
        torch.tensor([[0, -0.3, 0.2], [0.3, 0, -0.5], [-0.2, 0.5, 0]], dtype=dtype)
    )
    vertices = torch.tensor(corners, dtype=dtype) @ turn.mT
    return vertices + torch.tensor([shift, 0.1, 3.0], dtype=dtype), torch.tensor(faces)


def view(dtype: torch.dtype, distortion: torch.Tensor | None = None) -> Camera:
    k = torch.tensor([[30.0, 0, 16.3], [0, 31, 11.6], [0, 0, 1]], dtype=dtype)
    return Camera(k, torch.eye(3, dtype=dtype), torch.zeros(3, dtype=dtype), SIZE, distortion)


def three_calls(attributes, meshes, camera, cull=False, backend=None):
    fragments = rasterize(meshes, camera, cull_backfaces=cull, backend=backend)
    image = interpolate(attributes, fragments, backend=backend)
    return antialias(image, fragments, meshes, camera, backend=backend)


def pair(dtype: torch.dtype) -> MeshBatch:
    """Two meshes of different sizes, the first of two octahedra, one in front of the other."""
    (a, f), (b, _) = octahedron(-0.4, dtype), octahedron(0.5, dtype)
    both = torch.cat([a, b + torch.tensor([0.0, 0.0, 1.0], dtype=dtype)])
    faces = torch.cat([f, f + 6])
    return MeshBatch(
        torch.cat([both, a]),
        torch.cat([faces, f + 12]),
        torch.tensor([0, 12, 18]),
        torch.tensor([0, 16, 24]),
    )


@pytest.mark.parametrize("backend", ["native", "torch"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("cull", [False, True])
def test_values_and_gradients_are_those_of_the_three_calls(backend, channels, cull):
    meshes, camera = pair(torch.float64), view(torch.float64)
    draws = torch.Generator().manual_seed(channels)
    colours = torch.rand(18, channels, dtype=torch.float64, generator=draws).requires_grad_()
    upstream = torch.randn(2, *SIZE, channels, dtype=torch.float64, generator=draws)
    leaves = [
        t.clone().requires_grad_()
        for t in (meshes.vertices, camera.intrinsics, camera.rotation, camera.translation)
    ]
    meshes = MeshBatch(leaves[0], meshes.faces, meshes.vertex_offsets, meshes.face_offsets)
    camera = Camera(*leaves[1:], SIZE)
    one = render_attributes(colours, meshes, camera, cull_backfaces=cull, backend=backend)
    three = three_calls(colours, meshes, camera, cull, "torch")
    assert one.shape == (2, *SIZE, channels)
    assert float(one.detach().abs().max()) > 0.5
    torch.testing.assert_close(one, three, rtol=1e-12, atol=1e-12)
    found = torch.autograd.grad(one, [colours, *leaves], upstream)
    wanted = torch.autograd.grad(three, [colours, *leaves], upstream)
    for have, want in zip(found, wanted, strict=True):
        assert float(want.abs().max()) > 0
        torch.testing.assert_close(have, want, rtol=1e-9, atol=1e-9)


def test_corner_attributes_and_a_face_through_the_camera_plane():
    vertices = torch.tensor([[-1.0, 0.3, -0.5], [1.0, 0.4, 2.0], [0.2, -0.8, 4.0]])
    mesh = Mesh(vertices, torch.tensor([[0, 1, 2]]))
    corners = torch.rand(1, 3, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    camera = view(torch.float32)
    one, three = render_attributes(corners, mesh, camera), three_calls(corners, mesh, camera)
    assert int((one.abs().sum(-1) > 0).sum()) > 20
    torch.testing.assert_close(one, three)
    (have,) = torch.autograd.grad(one.square().sum(), corners)
    (want,) = torch.autograd.grad(three.square().sum(), corners)
    torch.testing.assert_close(have, want)


def test_lens_distortion_gets_the_gradient_of_the_three_calls():
    curve = torch.tensor([0.1, -0.05, 0.01, 0.02], dtype=torch.float64, requires_grad=True)
    vertices, faces = octahedron(0.2, torch.float64)
    mesh, camera = Mesh(vertices, faces), view(torch.float64, curve)
    colours = torch.rand(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    upstream = torch.randn(
        *SIZE, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2)
    )
    images = render_attributes(colours, mesh, camera), three_calls(colours, mesh, camera)
    torch.testing.assert_close(*images)
    found = [torch.autograd.grad(image, curve, upstream)[0] for image in images]
    assert float(found[1].abs().max()) > 0
    torch.testing.assert_close(*found)


def test_gradcheck_inside_and_at_silhouettes():
    vertices, faces = octahedron(0.05, torch.float64)
    camera = view(torch.float64)
    colours = torch.rand(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3))

    def draw(points, values):
        return render_attributes(values, Mesh(points, faces), camera)

    inputs = (vertices.requires_grad_(), colours.requires_grad_())
    assert torch.autograd.gradcheck(draw, inputs, eps=1e-7, atol=1e-5, nondet_tol=0.0)


@pytest.mark.parametrize("size", [64, 200])
def test_same_bits_on_one_thread_and_on_two_and_in_every_batch(size):
    vertices, faces = octahedron(0.0, torch.float32)
    k = torch.tensor([[size * 0.9, 0, size / 2], [0, size * 0.9, size / 2], [0, 0, 1.0]])
    camera = Camera(k, torch.eye(3), torch.zeros(3), (size, size))
    colours = torch.rand(6, 3, generator=torch.Generator().manual_seed(4)).requires_grad_()
    leaf = vertices.requires_grad_()
    results, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            image = render_attributes(colours, Mesh(leaf, faces), camera)
            results.append((image, *torch.autograd.grad(image.square().sum(), (leaf, colours))))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    batch = MeshBatch.shared(leaf.detach().expand(5, 6, 3), faces)
    many = render_attributes(colours.detach(), batch, camera)
    assert all(torch.equal(image, results[0][0]) for image in many)


def test_compiled_gives_the_same():
    vertices, faces = octahedron(0.1, torch.float32)
    camera = view(torch.float32)
    colours = torch.rand(6, 3, generator=torch.Generator().manual_seed(5))

    def loss(points, values):
        return render_attributes(values, (points, faces), camera).square().sum()

    def grads(function):
        inputs = vertices.clone().requires_grad_(), colours.clone().requires_grad_()
        return torch.autograd.grad(function(*inputs), inputs)

    torch._dynamo.reset()
    found = grads(torch.compile(loss, backend="aot_eager", fullgraph=True))
    for have, want in zip(found, grads(loss), strict=True):
        torch.testing.assert_close(have, want)


def test_half_precision_colours_come_back_as_they_came():
    vertices, faces = octahedron(0.1, torch.float32)
    colours = torch.rand(6, 3, generator=torch.Generator().manual_seed(6))
    whole = render_attributes(colours.bfloat16().float(), (vertices, faces), view(torch.float32))
    half = render_attributes(colours.bfloat16(), (vertices, faces), view(torch.float32))
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half, whole.bfloat16())


def test_nothing_to_draw_gives_zeros_and_zero_gradients():
    vertices, faces = octahedron(0.0, torch.float32)
    leaf = (vertices - torch.tensor([0.0, 0.0, 9.0])).requires_grad_()
    image = render_attributes(torch.ones(6, 1), Mesh(leaf, faces), view(torch.float32))
    assert torch.equal(image, torch.zeros(*SIZE, 1))
    (grad,) = torch.autograd.grad(image.sum(), leaf)
    assert torch.equal(grad, torch.zeros_like(grad))


def test_broken_inputs_are_named():
    vertices, faces = octahedron(0.0, torch.float32)
    mesh, camera = Mesh(vertices, faces), view(torch.float32)
    with pytest.raises(InputError, match="attributes has 5 rows, expected 6"):
        render_attributes(torch.ones(5, 3), mesh, camera)
    with pytest.raises(InputError, match=r"attributes has shape \(6,\)"):
        render_attributes(torch.ones(6), mesh, camera)
    bad = vertices.clone()
    bad[2, 1] = torch.nan
    with pytest.raises(InputError, match=r"meshes.vertices holds 1 NaN .* at \(2, 1\)"):
        render_attributes(torch.ones(6, 3), Mesh(bad, faces), camera)
    far = faces.clone()
    far[3, 1] = 99
    with pytest.raises(InputError, match="packed face 3"):
        render_attributes(torch.ones(6, 3), (vertices, far), camera)


def test_second_derivatives_and_changed_faces_are_refused():
    vertices, faces = octahedron(0.0, torch.float32)
    leaf, camera = vertices.requires_grad_(), view(torch.float32)
    image = render_attributes(torch.ones(6, 1), (leaf, faces), camera)
    with pytest.raises(RuntimeError, match="second derivative"):
        torch.autograd.grad(image.sum(), leaf, create_graph=True)
    image = render_attributes(torch.ones(6, 1), (leaf, faces), camera)
    faces[0] = faces[0].roll(1)
    with pytest.raises(RuntimeError, match="changed in place"):
        torch.autograd.grad(image.sum(), leaf)
