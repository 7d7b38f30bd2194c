"""A data set at a time: serial, in processes, or on a Ray cluster; resumable."""

from __future__ import annotations

from diffrender.reconstruct.dataset.job import DatasetJob as DatasetJob
from diffrender.reconstruct.dataset.job import FrameChoice as FrameChoice
from diffrender.reconstruct.dataset.job import choose_frames as choose_frames
from diffrender.reconstruct.dataset.run import Where as Where
from diffrender.reconstruct.dataset.run import reconstruct_dataset as reconstruct_dataset
from diffrender.reconstruct.dataset.summary import DatasetProgress as DatasetProgress
from diffrender.reconstruct.dataset.summary import DatasetSummary as DatasetSummary

__all__ = [
    "DatasetJob",
    "DatasetProgress",
    "DatasetSummary",
    "FrameChoice",
    "Where",
    "choose_frames",
    "reconstruct_dataset",
]
