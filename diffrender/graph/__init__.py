"""GPS++: a hybrid of message passing and attention, for molecules and for meshes."""

from __future__ import annotations

from diffrender.graph.attention import attend as attend
from diffrender.graph.batching import GraphBatch as GraphBatch
from diffrender.graph.batching import batch_graphs as batch_graphs
from diffrender.graph.block import Block as Block
from diffrender.graph.encodings import encode_graph as encode_graph
from diffrender.graph.ensemble import EnsemblePrediction as EnsemblePrediction
from diffrender.graph.ensemble import combine_predictions as combine_predictions
from diffrender.graph.graphs import Graph as Graph
from diffrender.graph.graphs import GraphEncodings as GraphEncodings
from diffrender.graph.losses import GraphLoss as GraphLoss
from diffrender.graph.losses import LossWeights as LossWeights
from diffrender.graph.losses import graph_loss as graph_loss
from diffrender.graph.masking import Corruption as Corruption
from diffrender.graph.message_passing import GraphState as GraphState
from diffrender.graph.network import GraphNetwork as GraphNetwork
from diffrender.graph.network import GraphOutput as GraphOutput
from diffrender.graph.network import GraphTrunk as GraphTrunk
from diffrender.graph.packing import Packing as Packing
from diffrender.graph.packing import PackSize as PackSize
from diffrender.graph.packing import pack_batch as pack_batch
from diffrender.graph.packing import pack_graphs as pack_graphs
from diffrender.graph.scatter import Links as Links
from diffrender.graph.scatter import edge_sum as edge_sum
from diffrender.graph.scatter import link_sum as link_sum
from diffrender.graph.scatter import make_links as make_links
from diffrender.graph.settings import Dropouts as Dropouts
from diffrender.graph.settings import GraphSettings as GraphSettings
from diffrender.graph.settings import NoiseSettings as NoiseSettings
from diffrender.graph.training import GraphTrainer as GraphTrainer
from diffrender.graph.training import LabelScale as LabelScale
from diffrender.graph.training import TrainingData as TrainingData
from diffrender.graph.training import mean_error as mean_error
from diffrender.graph.training import predict_labels as predict_labels
from diffrender.graph.training_settings import GraphsSeen as GraphsSeen
from diffrender.graph.training_settings import GraphTrainSettings as GraphTrainSettings
from diffrender.graph.training_settings import Minutes as Minutes

__all__ = [
    "Block",
    "Corruption",
    "Dropouts",
    "EnsemblePrediction",
    "Graph",
    "GraphBatch",
    "GraphEncodings",
    "GraphLoss",
    "GraphNetwork",
    "GraphOutput",
    "GraphSettings",
    "GraphState",
    "GraphTrainSettings",
    "GraphTrainer",
    "GraphTrunk",
    "GraphsSeen",
    "LabelScale",
    "Links",
    "LossWeights",
    "Minutes",
    "NoiseSettings",
    "PackSize",
    "Packing",
    "TrainingData",
    "attend",
    "batch_graphs",
    "combine_predictions",
    "edge_sum",
    "encode_graph",
    "graph_loss",
    "link_sum",
    "make_links",
    "mean_error",
    "pack_batch",
    "pack_graphs",
    "predict_labels",
]
