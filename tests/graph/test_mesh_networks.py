"""Meshes as graphs, denoising, the refiner's proposal, training that goes on, weight files."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from diffrender.blocksparse import SparsityConfig
from diffrender.errors import InputError
from diffrender.graph.meshes import (
    MeshNetwork,
    MeshSettings,
    MeshTopology,
    batch_meshes,
    denoise,
    load_denoiser,
    load_mesh_network,
    load_refiner,
    propose_displacement,
    save_mesh_network,
)
from diffrender.graph.meshes.denoiser import vertex_noise
from diffrender.graph.meshes.examples import NoisyCars, draw_car, finer
from diffrender.graph.meshes.refiner import depth_evidence, gradient_evidence
from diffrender.graph.meshes.training import (
    MeshTrainSettings,
    displacement_loss,
    train_mesh_network,
)
from diffrender.graph.meshes.views import SeenCars, look_at, seen
from diffrender.shape_priors.nearest import surface_errors

TINY = MeshSettings(layers=2, node_width=8, edge_width=8, global_width=8)


def tetrahedron() -> tuple[torch.Tensor, MeshTopology]:
    corners = [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    faces = torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    return torch.tensor(corners), MeshTopology(faces, 4)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_mesh_becomes_a_graph_of_its_edges() -> None:
    vertices, topology = tetrahedron()
    batch = batch_meshes([vertices, vertices + 1], [topology, topology])
    assert batch.node_counts.tolist() == [4, 4]
    assert batch.edge_counts.tolist() == [12, 12]
    assert batch.links.symmetric
    assert batch.layout is None
    sender, receiver = batch.edge_index
    points = torch.cat([vertices, vertices + 1])
    scale = (3 + 3 * 2**0.5) / 6
    along = (points[receiver] - points[sender]) / scale
    torch.testing.assert_close(batch.edge_inputs[:, :3], along)
    torch.testing.assert_close(batch.edge_inputs[:, 3], along.norm(dim=1))
    torch.testing.assert_close(batch.node_inputs[0, :3], torch.full((3,), -0.5))
    mean = torch.full((3,), 1 / 3)
    torch.testing.assert_close(batch.node_inputs[0, 6:9], -mean / scale)
    # Moving a mesh changes nothing; making it larger changes only its positions.
    torch.testing.assert_close(batch.node_inputs[:4], batch.node_inputs[4:])
    larger = batch_meshes([3 * vertices], [topology])
    torch.testing.assert_close(larger.node_inputs[:, 3:], batch.node_inputs[:4, 3:])


def test_a_new_network_moves_nothing() -> None:
    vertices, topology = draw_car(seeded())
    assert torch.equal(denoise(MeshNetwork(TINY), vertices, topology.faces), vertices)


def test_noise_has_its_deviation_however_smooth() -> None:
    _, topology = draw_car(seeded())
    for smooth in (0, 3):
        noise = vertex_noise(topology, 0.05, smooth, seeded())
        assert noise.std().item() == pytest.approx(0.05, rel=1e-4)
        neighbours = topology.neighbour_mean(noise)
        together = float((noise * neighbours).mean() / noise.square().mean())
        assert together == pytest.approx(0.0, abs=0.06) if smooth == 0 else together > 0.4


def test_a_cut_mesh_is_the_same_surface() -> None:
    vertices, topology = draw_car(seeded())
    fine, cut = finer(vertices, topology)
    assert len(cut.faces) == 4 * len(topology.faces)
    assert cut.count == len(fine) == topology.count + topology.edge_index.shape[1] // 2
    for measure in (area, volume):
        expected = measure(vertices.double(), topology.faces)
        torch.testing.assert_close(measure(fine.double(), cut.faces), expected)


def area(vertices: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
    a, b, c = vertices[faces].unbind(1)
    return torch.linalg.cross(b - a, c - a).norm(dim=1).sum() / 2


def volume(vertices: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
    return torch.linalg.det(vertices[faces]).sum() / 6


@dataclasses.dataclass(frozen=True)
class OneCar:
    """The same example at every step."""

    evidence: int = 0

    def draw(self, generator: torch.Generator):
        return NoisyCars(coarse=1, fine=0).draw(seeded())


def test_training_lowers_the_loss() -> None:
    losses: list[float] = []
    settings = MeshTrainSettings(steps=25, rate=2e-2)
    train_mesh_network(OneCar(), TINY, settings, progress=lambda _, v: losses.append(v))
    assert losses[-1] < 0.95 * losses[0]


def test_training_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    examples = NoisyCars(coarse=1, fine=0)
    settings = MeshTrainSettings(steps=12, every=4)
    whole = train_mesh_network(examples, TINY, settings)
    path = tmp_path / "run.checkpoint"
    for _ in range(12):
        parts = train_mesh_network(examples, TINY, settings, path, until=time.monotonic())
        if parts is not None:
            break
    assert whole is not None and parts is not None
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_checkpoint_of_the_stable_part_serves_a_longer_run(tmp_path: Path) -> None:
    examples, path = NoisyCars(coarse=1, fine=0), tmp_path / "run.checkpoint"
    short, longer = MeshTrainSettings(steps=5), MeshTrainSettings(steps=6)
    train_mesh_network(examples, TINY, short, path, until=time.monotonic())
    assert train_mesh_network(examples, TINY, longer, path, until=time.monotonic()) is None
    train_mesh_network(examples, TINY, longer, path)
    with pytest.raises(InputError, match="other settings or data"):
        train_mesh_network(examples, TINY, dataclasses.replace(longer, rate=1e-3), path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("facts", "the steps of its run are None"),
        ("steps", "the steps of its run are 'all'"),
        ("generator", "holds no state of the generator"),
        ("state", "the generator's state cannot be used"),
        ("moments", "the moments do not fit the optimizer"),
    ],
)
def test_a_checkpoint_that_lacks_a_part_is_refused(
    change: str, message: str, tmp_path: Path
) -> None:
    examples, path = NoisyCars(coarse=1, fine=0), tmp_path / "run.checkpoint"
    settings = MeshTrainSettings(steps=5)
    train_mesh_network(examples, TINY, settings, path, until=time.monotonic())
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors, header = load_file(path), json.loads(metadata["diffrender.training"])
    if change == "facts":
        del header["facts"]
    elif change == "steps":
        header["facts"] = {"steps": "all"}
    elif change == "generator":
        del tensors["generator.state"]
    elif change == "state":
        tensors["generator.state"] = torch.ones(3)
    else:
        del tensors["moments.exp_avg.0"]
    save_file(tensors, path, metadata={"diffrender.training": json.dumps(header)})
    with pytest.raises(InputError, match=rf"run\.checkpoint: {message}"):
        train_mesh_network(examples, TINY, settings, path)


def test_the_loss_weighs_errors_across_the_surface() -> None:
    example = NoisyCars(coarse=1, fine=0).draw(seeded())
    found = example.target + example.unit * example.normals
    assert displacement_loss(found, example, 0.1).item() == pytest.approx(1.1, rel=1e-4)
    assert displacement_loss(example.target, example, 0.1).item() == 0.0


def test_views_hold_gradients_that_point_to_the_aim() -> None:
    """A step down the gradient brings the outline nearer, and the network is told the way."""
    example = SeenCars(cars=2).draw(seeded())
    assert example.batch.node_inputs.shape[1] == 17
    evidence = example.batch.node_inputs[:, 9:]
    assert (evidence[:, 3] > 0).double().mean() > 0.1
    assert evidence[:, 3].max() == 1.0
    along = -(evidence[:, :3] * example.target).sum(1)
    assert along.mean() > 0


def test_windows_are_filled_by_their_cars() -> None:
    vertices, topology = draw_car(seeded())
    posed = (vertices + torch.tensor([2.0, 1.65, 12.0]))[None]
    mask = seen(posed, topology.faces, look_at(posed, 64)).mask[0] > 0.5
    rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
    assert int(columns.max() - columns.min()) == pytest.approx(0.7 * 64, abs=2)
    assert int(columns.max() + columns.min()) == pytest.approx(63, abs=2)
    assert int(rows.max() + rows.min()) == pytest.approx(63, abs=2)


def test_depth_leads_visible_vertices_to_the_surface_that_was_seen() -> None:
    """A car pushed back by half a metre: what is seen of it is to come nearer along its rays."""
    vertices, topology = draw_car(seeded())
    true = (vertices + torch.tensor([0.0, 1.65, 12.0]))[None]
    windows = look_at(true, 96)
    evidence = seen(true, topology.faces, windows)
    pushed = true * (12.5 / 12.0)
    found = depth_evidence(pushed, topology.faces, windows, evidence)[0]
    known = found[:, 3] > 0
    assert 0.2 < known.double().mean() < 0.7
    moved = (pushed[0] + found[:, :3])[known]
    apart = (moved - true[0][known]).norm(dim=1)
    assert apart.median() < 0.05
    assert found[~known].abs().max() == 0


def test_evidence_has_no_unit() -> None:
    gradient = torch.randn(9, 3)
    gradient[0] = 0
    found = gradient_evidence(gradient)
    torch.testing.assert_close(found, gradient_evidence(1e6 * gradient))
    assert found[0].tolist() == [0.0] * 4
    torch.testing.assert_close(found[:, :3].norm(dim=1), found[:, 3])


def test_weights_and_settings_come_back(tmp_path: Path) -> None:
    net = MeshNetwork(dataclasses.replace(TINY, attention=2))
    torch.nn.init.normal_(net.head.weight)
    path = save_mesh_network(net, tmp_path / "net.safetensors")
    again = load_mesh_network(path)
    assert again.settings == net.settings
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters(), strict=True))


def test_broken_files_and_meshes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    net = MeshNetwork(TINY)
    state = {name: value.contiguous() for name, value in net.state_dict().items()}
    for change, message in (
        ({"layers": "4"}, "layers is '4', expected a whole number"),
        ({"node_width": 10**6}, "node_width is 1000000"),
        ({"colour": 3}, "its configuration cannot be read"),
        ({"sparsity": {"density": 1}}, "block-sparse layers are not offered"),
    ):
        record = {**dataclasses.asdict(TINY), **change}
        save_file(state, path, metadata={"mesh-network": json.dumps(record)})
        with pytest.raises(InputError, match=message):
            load_mesh_network(path)
    save_mesh_network(net, path)
    with pytest.raises(InputError, match="takes 0 inputs of evidence, a refiner 8"):
        load_refiner(path)
    for load in (load_denoiser, load_refiner):
        with pytest.raises(InputError, match="no such file, expected mesh network weights"):
            load("")  # not the shipped one
    sparse = MeshNetwork(dataclasses.replace(TINY, sparsity=SparsityConfig(0.5, 8)))
    with pytest.raises(InputError, match="densify_ it first"):
        save_mesh_network(sparse, path)
    vertices, topology = tetrahedron()
    with pytest.raises(InputError, match=r"vertices has shape \(3, 3\), expected \(4, 3\)"):
        batch_meshes([vertices[:3]], [topology])
    with pytest.raises(InputError, match="2 meshes and 1 topologies"):
        batch_meshes([vertices, vertices], [topology])


def test_the_shipped_denoiser_cleans_cars_that_it_has_not_seen() -> None:
    generator = seeded(77_777)
    net = load_denoiser()
    for _ in range(2):
        clean, topology = draw_car(generator)
        noisy = clean + vertex_noise(topology, 0.05, 0, generator)
        found = denoise(net, noisy, topology.faces)
        errors = [
            surface_errors((m, topology.faces), (clean, topology.faces), 500, seeded())[0]
            for m in (noisy, found)
        ]
        assert errors[1] < 0.7 * errors[0]


def test_the_shipped_refiner_points_to_the_car_that_was_seen() -> None:
    example = SeenCars(cars=4).draw(seeded(77_777))
    net = load_refiner()
    still = displacement_loss(torch.zeros_like(example.target), example, 0.1)
    moved = displacement_loss(net(example.batch), example, 0.1)
    assert moved < 0.95 * still


def test_proposals_keep_their_shapes() -> None:
    vertices, topology = draw_car(seeded())
    net = MeshNetwork(dataclasses.replace(TINY, evidence=8))
    torch.nn.init.normal_(net.head.weight)
    two = torch.stack([vertices, vertices + 1])
    known = torch.ones(2, topology.count, 4)
    found = propose_displacement(net, two, torch.ones_like(two), known, topology)
    assert found.shape == two.shape
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-4)
    with pytest.raises(InputError, match="gradients has shape"):
        propose_displacement(net, two, torch.ones(1, 3), known, topology)


def test_a_network_with_attention_runs_on_meshes() -> None:
    vertices, topology = tetrahedron()
    sizes = dataclasses.replace(TINY, attention=4)
    net = MeshNetwork(sizes)
    assert torch.equal(denoise(net, vertices, topology.faces), vertices)
    refiner = MeshNetwork(dataclasses.replace(sizes, evidence=8))
    meshes, nothing = vertices.expand(2, 4, 3), torch.zeros(2, 4, 4)
    found = propose_displacement(refiner, meshes, torch.ones(2, 4, 3), nothing, topology)
    assert found.shape == (2, 4, 3)
    examples = NoisyCars(coarse=1, fine=0, distances=True)
    assert str(examples) == str(NoisyCars(coarse=1, fine=0))  # old runs can go on
    settings = MeshTrainSettings(steps=1)
    assert train_mesh_network(examples, sizes, settings) is not None


def test_faces_of_32_bits_are_a_topology_too() -> None:
    vertices, topology = tetrahedron()
    short = MeshTopology(topology.faces.int(), 4)
    assert short.edge_index.dtype == torch.int64
    found, wanted = (batch_meshes([vertices], [t]) for t in (short, topology))
    assert torch.equal(found.node_inputs, wanted.node_inputs)
