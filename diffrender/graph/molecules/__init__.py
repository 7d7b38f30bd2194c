"""Molecules as graphs: features, the PCQM4Mv2 layout, and sets that are grown and labelled."""

from __future__ import annotations

from diffrender.graph.molecules.baselines import Baseline as Baseline
from diffrender.graph.molecules.baselines import BaselineSettings as BaselineSettings
from diffrender.graph.molecules.baselines import sized_like as sized_like
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
from diffrender.graph.molecules.network_files import MoleculeNetwork as MoleculeNetwork
from diffrender.graph.molecules.network_files import load_molecule_network as load_molecule_network
from diffrender.graph.molecules.network_files import save_molecule_network as save_molecule_network
from diffrender.graph.molecules.pcqm4m import MoleculeRow as MoleculeRow
from diffrender.graph.molecules.pcqm4m import PcqmFolder as PcqmFolder
from diffrender.graph.molecules.pipeline import PrepareSettings as PrepareSettings
from diffrender.graph.molecules.pipeline import load_molecules as load_molecules
from diffrender.graph.molecules.pipeline import molecule_graphs as molecule_graphs
from diffrender.graph.molecules.pipeline import prepare_molecules as prepare_molecules
from diffrender.graph.molecules.prediction import MoleculePrediction as MoleculePrediction
from diffrender.graph.molecules.prediction import predict_molecules as predict_molecules
from diffrender.graph.molecules.scaffolds import scaffold as scaffold
from diffrender.graph.molecules.scaffolds import scaffold_split as scaffold_split
from diffrender.graph.molecules.shards import Failure as Failure
from diffrender.graph.molecules.shards import GraphStore as GraphStore
from diffrender.graph.molecules.smiles import conformer_positions as conformer_positions
from diffrender.graph.molecules.smiles import parse_smiles as parse_smiles
from diffrender.graph.molecules.synthesize import SyntheticMolecules as SyntheticMolecules
from diffrender.graph.molecules.synthesize import write_molecules as write_molecules
from diffrender.graph.molecules.training_data import molecule_data as molecule_data

__all__ = [
    "Baseline", "BaselineSettings", "Conformer", "ConformerError", "FEATURE_SETS", "Failure",
    "Feature", "FeatureSet", "GapError", "GraphStore", "GrowSettings", "MoleculeNetwork",
    "MoleculePrediction", "MoleculeRow", "PcqmFolder", "PrepareSettings", "SyntheticMolecules",
    "conformer_positions", "distinct_molecules", "embed", "feature_set", "huckel_gap",
    "load_molecule_network", "load_molecules", "molecule_data", "molecule_graph",
    "molecule_graphs", "parse_smiles", "predict_molecules", "prepare_molecules",
    "save_molecule_network", "scaffold", "scaffold_split", "sized_like", "write_molecules",
    "xtb_gap",
]  # fmt: skip
