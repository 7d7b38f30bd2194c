"""Molecules as graphs: features, the PCQM4Mv2 layout, and sets that are grown and labelled."""

from __future__ import annotations

from diffrender.graph.molecules.conformers import Conformer as Conformer
from diffrender.graph.molecules.conformers import ConformerError as ConformerError
from diffrender.graph.molecules.conformers import embed as embed
from diffrender.graph.molecules.features import FEATURE_SETS as FEATURE_SETS
from diffrender.graph.molecules.features import Feature as Feature
from diffrender.graph.molecules.features import FeatureSet as FeatureSet
from diffrender.graph.molecules.features import feature_set as feature_set
from diffrender.graph.molecules.features import molecule_graph as molecule_graph
from diffrender.graph.molecules.gaps import GapError as GapError
from diffrender.graph.molecules.gaps import huckel_gap as huckel_gap
from diffrender.graph.molecules.gaps import xtb_gap as xtb_gap
from diffrender.graph.molecules.grow import GrowSettings as GrowSettings
from diffrender.graph.molecules.grow import distinct_molecules as distinct_molecules
from diffrender.graph.molecules.pcqm4m import MoleculeRow as MoleculeRow
from diffrender.graph.molecules.pcqm4m import PcqmFolder as PcqmFolder
from diffrender.graph.molecules.pipeline import PrepareSettings as PrepareSettings
from diffrender.graph.molecules.pipeline import load_molecules as load_molecules
from diffrender.graph.molecules.pipeline import molecule_graphs as molecule_graphs
from diffrender.graph.molecules.pipeline import prepare_molecules as prepare_molecules
from diffrender.graph.molecules.scaffolds import scaffold as scaffold
from diffrender.graph.molecules.scaffolds import scaffold_split as scaffold_split
from diffrender.graph.molecules.shards import Failure as Failure
from diffrender.graph.molecules.shards import GraphStore as GraphStore
from diffrender.graph.molecules.smiles import conformer_positions as conformer_positions
from diffrender.graph.molecules.smiles import parse_smiles as parse_smiles
from diffrender.graph.molecules.synthesize import SyntheticMolecules as SyntheticMolecules
from diffrender.graph.molecules.synthesize import write_molecules as write_molecules

__all__ = [
    "FEATURE_SETS", "Conformer", "ConformerError", "Failure", "Feature", "FeatureSet", "GapError",
    "GraphStore", "GrowSettings", "MoleculeRow", "PcqmFolder", "PrepareSettings",
    "SyntheticMolecules", "conformer_positions", "distinct_molecules", "embed", "feature_set",
    "huckel_gap", "load_molecules", "molecule_graph", "molecule_graphs", "parse_smiles",
    "prepare_molecules", "scaffold", "scaffold_split", "write_molecules", "xtb_gap",
]  # fmt: skip
