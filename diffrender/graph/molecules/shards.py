"""Graphs and their encodings in files: many one after the other, small, and read back exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from diffrender._tensors import read_tensors, write_tensors
from diffrender.errors import InputError
from diffrender.graph.encodings import EIGENPAIRS, WALK_STEPS
from diffrender.graph.graphs import Graph, GraphEncodings

__all__ = ["Failure", "GraphStore", "store_graphs", "read_shard", "write_shard"]

_KEY = "diffrender.molecules"
_MAX_BYTES = 1 << 31
_WHAT = "a file of molecules' graphs"
_KINDS = {
    "rows": torch.int64,
    "labels": torch.float32,
    "node_counts": torch.int32,
    "edge_counts": torch.int32,
    "node_features": torch.uint8,
    "edge_features": torch.uint8,
    "edge_index": torch.int16,
    "positions": torch.float32,
    "laplacian_values": torch.float32,
    "laplacian_vectors": torch.float32,
    "random_walk": torch.float32,
    "degree": torch.int16,
    "distances": torch.int16,
}
# How many columns each has: 0 for a row of numbers, None for any.
_WIDTHS: dict[str, int | None] = {
    **dict.fromkeys(_KINDS, 0),
    "node_features": None,
    "edge_features": None,
    "edge_index": 2,
    "positions": 3,
    "laplacian_values": EIGENPAIRS,
    "laplacian_vectors": EIGENPAIRS,
    "random_walk": WALK_STEPS,
}


@dataclass(frozen=True)
class Failure:
    """A row that has no graph, or ("without conformer: ...") one without its conformer."""

    row: int
    smiles: str
    reason: str


class GraphStore:
    """Graphs with their encodings, kept in a few tensors; a graph is put together when asked for.

    Attributes:
        rows: (G,) int64, row of each graph in the table that it came from.
        labels: (G,) float32, NaN where there is none.
    """

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self._tensors = tensors
        self.rows, self.labels = tensors["rows"], tensors["labels"]
        nodes, edges = tensors["node_counts"].long(), tensors["edge_counts"].long()
        self._nodes, self._edges = _starts(nodes), _starts(edges)
        self._pairs = _starts(nodes * nodes)

    @classmethod
    def join(cls, stores: Sequence[GraphStore]) -> GraphStore:
        """Graphs of all, in order.

        Raises:
            InputError: none are given.
        """
        if not stores:
            raise InputError("no graphs are there to join")
        names = _KINDS
        return cls({n: torch.cat([s._tensors[n] for s in stores]) for n in names})

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """As they are written."""
        return self._tensors

    def graph(self, index: int) -> Graph:
        """One graph."""
        held = self._tensors
        nodes, edges = self._span(self._nodes, index), self._span(self._edges, index)
        positions, label = held["positions"][nodes], held["labels"][index]
        return Graph(
            node_features=held["node_features"][nodes].long(),
            edge_index=held["edge_index"][edges].long().T.contiguous(),
            edge_features=held["edge_features"][edges].long(),
            positions=None if positions.isnan().any() else positions,
            label=None if label.isnan() else label,
        )

    def encodings(self, index: int) -> GraphEncodings:
        """Its encodings."""
        held, nodes = self._tensors, self._span(self._nodes, index)
        count = nodes.stop - nodes.start
        return GraphEncodings(
            laplacian_values=held["laplacian_values"][index],
            laplacian_vectors=held["laplacian_vectors"][nodes],
            random_walk=held["random_walk"][nodes],
            degree=held["degree"][nodes].long(),
            distances=held["distances"][self._span(self._pairs, index)].reshape(count, count),
        )

    def label(self, index: int) -> float | None:
        """Its label, None where it has none."""
        value = float(self.labels[index])
        return None if math.isnan(value) else value

    def subset(self, rows: Sequence[int]) -> list[int]:
        """Positions of the graphs whose rows are named, in that order; rows without a graph, which
        the failures name, are passed over."""
        place = {row: index for index, row in enumerate(self.rows.tolist())}
        return [place[row] for row in rows if row in place]

    @staticmethod
    def _span(starts: list[int], index: int) -> slice:
        return slice(starts[index], starts[index + 1])


def store_graphs(
    items: Sequence[tuple[int, Graph, GraphEncodings]], columns: tuple[int, int]
) -> GraphStore:
    """Graphs of rows as a store; `columns`: how many features nodes and edges have."""
    graphs, codes = [graph for _, graph, _ in items], [code for _, _, code in items]
    nan = float("nan")
    eigenvalues = [code.laplacian_values[None] for code in codes]

    def cat(parts: list[Tensor], *tail: int) -> Tensor:
        return torch.cat(parts) if parts else torch.zeros(0, *tail)

    values = {
        "rows": torch.tensor([row for row, _, _ in items], dtype=torch.int64),
        "labels": torch.tensor([nan if g.label is None else float(g.label) for g in graphs]),
        "node_counts": torch.tensor([g.nodes for g in graphs]),
        "edge_counts": torch.tensor([g.edges for g in graphs]),
        "node_features": cat([g.node_features for g in graphs], columns[0]),
        "edge_features": cat([g.edge_features for g in graphs], columns[1]),
        "edge_index": cat([g.edge_index.T for g in graphs], 2),
        "positions": cat([_positions(g) for g in graphs], 3),
        "laplacian_values": cat(eigenvalues, 7),
        "laplacian_vectors": cat([c.laplacian_vectors for c in codes], 7),
        "random_walk": cat([c.random_walk for c in codes], 16),
        "degree": cat([c.degree for c in codes]),
        "distances": cat([_distances(c).reshape(-1) for c in codes]),
    }  # fmt: skip
    return GraphStore({name: value.to(_KINDS[name]) for name, value in values.items()})


def write_shard(path: Path, store: GraphStore, key: str, failures: Sequence[Failure]) -> None:
    """Write graphs and failures, whole or not at all; `key` says what they were made by."""
    header = {"key": key, "failures": [[f.row, f.smiles, f.reason] for f in failures]}
    tensors = {name: value.contiguous() for name, value in store.tensors.items()}
    write_tensors(path, tensors, _KEY, header)


def read_shard(path: Path, key: str | None = None) -> tuple[GraphStore, list[Failure]]:
    """Graphs and failures of one file.

    Raises:
        InputError: not such a file, one of other settings than `key`, or one whose tensors do not
            fit together.
    """
    header, tensors = read_tensors(path, _KEY, _MAX_BYTES, _WHAT)
    try:
        failures = [Failure(int(row), str(s), str(reason)) for row, s, reason in header["failures"]]
        if key is not None and header["key"] != key:
            raise InputError(f"{path}: made by other settings; name another folder for the cache")
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not {_WHAT} ({error})") from error
    _check(path, tensors)
    return GraphStore(tensors), failures


def _check(path: Path, tensors: dict[str, Tensor]) -> None:
    kinds = {name: tensor.dtype for name, tensor in tensors.items()}
    if kinds != _KINDS:
        raise InputError(f"{path}: holds {kinds}, expected {_KINDS}")
    _check_widths(path, tensors)
    nodes, edges = tensors["node_counts"].long(), tensors["edge_counts"].long()
    of_nodes = ("node_features", "positions", "laplacian_vectors", "random_walk", "degree")
    wanted = dict.fromkeys(("rows", "labels", "laplacian_values", "edge_counts"), len(nodes))
    wanted |= dict.fromkeys(of_nodes, int(nodes.sum()))
    wanted |= dict.fromkeys(("edge_features", "edge_index"), int(edges.sum()))
    wanted["distances"] = int((nodes * nodes).sum())
    for name, count in wanted.items():
        if len(tensors[name]) != count:
            raise InputError(f"{path}: '{name}' has {len(tensors[name])} rows, expected {count}")


def _check_widths(path: Path, tensors: dict[str, Tensor]) -> None:
    for name, width in _WIDTHS.items():
        shape = tuple(tensors[name].shape)
        fits = len(shape) == 1 if width == 0 else len(shape) == 2 and width in (None, shape[1])
        if not fits:
            tail = "" if width == 0 else " *" if width is None else f" {width}"
            raise InputError(f"{path}: '{name}' has shape {shape}, expected (*,{tail})")


def _positions(graph: Graph) -> Tensor:
    if graph.positions is None:
        return torch.full((graph.nodes, 3), float("nan"))
    return graph.positions


def _distances(code: GraphEncodings) -> Tensor:
    assert code.distances is not None, "molecules are encoded with their distances"
    return code.distances


def _starts(counts: Tensor) -> list[int]:
    return [0, *counts.cumsum(0).tolist()]
