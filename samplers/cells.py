"""Cells: clusters, cut further where the corpus is so large that one process could not hold one.

How large a cluster is, a sample says: the documents whose draw is below a limit. A cluster that must have more than
`cell_rows` documents is cut into cells around vectors of the sample, each document going to the nearest; where many
documents have nearly one vector, no cutting by nearness helps, and a cell of more than `most_rows` is dealt out by draw.
Documents are compared within their cell alone, so cutting only lets duplicates stay; it never removes one that is not as
similar as was asked to a document that stays. While clusters are small enough, cells are clusters.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np

from samplers.cluster import assign


@dataclass(frozen=True)
class Cells:
    """Centres of `clusters` clusters, then of the cells of those that are cut; of each its cluster, and into how many
    parts its documents are dealt."""

    centres: np.ndarray  # float32 [clusters + cells, dimensions]
    cluster: np.ndarray  # int32
    parts: np.ndarray  # int64
    clusters: int


def cut(centres: np.ndarray, sample: np.ndarray, share: float, cell_rows: int, most_rows: int) -> Cells:
    """Return the cells of clusters with these centres, when `sample` is about this share of all vectors, smallest draw
    first.
    """
    nearest, _ = assign(sample, centres)
    found, cluster = [centres], list(range(len(centres)))
    parts = [1] * len(centres)
    for number in range(len(centres)):
        own = sample[nearest == number]
        if len(own) <= cell_rows * share:
            continue
        points = _first_distinct(own, ceil(len(own) / share / cell_rows))
        within, _ = assign(own, points)
        sizes = np.bincount(within, minlength=len(points)) / share
        dealt = [max(1, ceil(size / most_rows)) for size in sizes.tolist()]
        if len(points) == 1:
            parts[number] = dealt[0]
            continue
        found.append(points)
        cluster += [number] * len(points)
        parts += dealt
    return Cells(np.concatenate(found), np.array(cluster, np.int32), np.array(parts, np.int64), len(centres))


def _first_distinct(vectors: np.ndarray, most: int) -> np.ndarray:
    _, first = np.unique(vectors, axis=0, return_index=True)
    return np.asarray(vectors[np.sort(first)[:most]])


def place(vectors: np.ndarray, draws: np.ndarray, cells: Cells) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (cluster int32, cosine to its centre float32, number of the cell's part int64) of each vector.

    A zero vector has no cluster and no cell: −1. A row's result depends on that row and the cells alone.
    """
    cluster, cosine = assign(vectors, cells.centres[: cells.clusters])
    cell = cluster.astype(np.int64)
    for number in np.unique(cells.cluster[cells.clusters :]):
        mine = np.flatnonzero(cluster == number)
        points = cells.clusters + np.flatnonzero(cells.cluster[cells.clusters :] == number)
        cell[mine] = points[assign(vectors[mine], cells.centres[points])[0]]
    starts = np.cumsum(cells.parts) - cells.parts
    known = np.flatnonzero(cell >= 0)
    cell[known] = starts[cell[known]] + (draws[known] * cells.parts[cell[known]]).astype(np.int64)
    return cluster, cosine, cell
