"""Captioned pictures: stored samples in, batches out."""

from textok.data.config import DataConfig, read_sample
from textok.data.images import decode_image, fit_image, image_to_tensor, tensor_to_image
from textok.data.loading import EvalLoader, TrainLoader
from textok.data.samples import BadSample, BadSampleError, Batch, RawSample, Sample, Source
from textok.data.sources import open_source

__all__ = [
    "BadSample",
    "BadSampleError",
    "Batch",
    "DataConfig",
    "EvalLoader",
    "RawSample",
    "Sample",
    "Source",
    "TrainLoader",
    "decode_image",
    "fit_image",
    "image_to_tensor",
    "open_source",
    "read_sample",
    "tensor_to_image",
]
