"""Which documents are held out, left out, and filled in the middle: functions of the document, not of its place."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.shards import Shards

HELD_OUT_SHARE = 0.015


class DataError(ValueError):
    """The shards cannot be trained on; the message says which and why."""


def infilled(ids: list[str], corpus: str, share: float, seed: int) -> np.ndarray:
    """Return for each document 0, or, for about `share` of them, a number to draw cuts from, uint64 [D].

    A keyed hash of corpus and id decides, whatever the shards' order.
    """
    drawn = np.array([hash_of(corpus, one, f"infill {seed}") for one in ids], np.uint64)
    most = np.uint64(min(int(share * (2**64 - 1)), 2**64 - 1))  # as a float the largest is one more
    return np.where(drawn <= most, np.maximum(drawn, np.uint64(1)), np.uint64(0))


def held_out(corpus: str, ids: list[str]) -> np.ndarray:
    """Return which documents of a corpus are kept from training, bool [D].

    About 1.5 %, by a keyed hash of corpus and id: the same in every run, whatever its seed and the shards' order. At
    least one id is held out where there are two, and at least one is trained on.
    """
    hashes = np.array([hash_of(corpus, one) for one in ids], np.uint64)
    distinct = np.unique(hashes)
    if len(distinct) < 2:
        return np.zeros(len(ids), bool)
    limit = int(HELD_OUT_SHARE * 2**64)
    limit = min(max(limit, int(distinct[0])), int(distinct[-2]))
    return hashes <= np.uint64(limit)


def hash_of(corpus: str, document: str, more: str = "") -> int:
    """Return 64 bits that belong to a document, not to its place; those of least value are held out.

    `more` gives other bits, for other choices.
    """
    text = f"{more}{corpus}\0{document}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8, person=b"corpusmill-eval").digest(), "little")


def named(shards: Shards, names: Collection[str]) -> np.ndarray:
    """Return which documents, counted over all shards, have one of these as their id or url, bool [D].

    Raises DataError for a name that no document has.
    """
    wanted = pa.array(sorted(names), pa.string())
    found = [np.zeros(0, bool)]
    unknown = set(names)
    for number in range(len(shards.infos)):
        about = shards.documents(number)
        ids, urls = (pc.is_in(about.column(name), wanted) for name in ("id", "url"))
        unknown -= {*about.column("id").filter(ids).to_pylist(), *about.column("url").filter(urls).to_pylist()}
        found.append(np.asarray(pc.or_(ids, urls)))
    if unknown:
        others = f", nor {len(unknown) - 1} others" if len(unknown) > 1 else ""
        raise DataError(f"no document of the shards has the id or url {min(unknown)!r}{others}")
    return np.concatenate(found)
