"""What a training reads of a folder of shards: `loader`'s rows, as the training's settings want them."""

from __future__ import annotations

from collections.abc import Collection

from loader.choice import DataError
from loader.stream import TrainingData
from pipeline.shards import Shards
from train.config import TrainingConfig


def training_data(shards: Shards, settings: TrainingConfig, seed: int, exclude: Collection[str] = ()) -> TrainingData:
    """Return what a training of these settings reads. Raises DataError if it would read more than there is."""
    bounds = (settings.mixture, settings.epochs, settings.corpus_epochs, settings.infill_share)
    data = TrainingData(shards, settings.sequence_length, seed, exclude, *bounds)
    if settings.steps * settings.batch_sequences > data.rows:
        raise DataError(
            f"{settings.steps} steps read {settings.steps * settings.batch_sequences:,} rows of {data.row_length} tokens; "
            f"the corpora give {data.rows:,}, read at most {settings.epochs} times each: "
            f"{data.rows // settings.batch_sequences} steps, or more epochs, are right"
        )
    return data
