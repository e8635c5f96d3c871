"""The one source of chance in the project: a uniform number that belongs to a document, not to the moment of asking.

Nothing is shuffled and no generator keeps a state: the same seed and document give the same number in every batch, in
any order, on every machine, this year and next.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import xxhash

SALT_BYTES = 16
_UNIT = 2.0**-53  # a float64 holds 53 bits of fraction exactly; 1.0 is never reached


def draw(seed: int, ids: pa.Array, salt: pa.Array | None = None) -> np.ndarray:
    """Return a number in [0, 1) for every document: float64 [rows], uniform over documents and over seeds.

    `ids` is a string or large_string array; `salt`, binary(16), tells documents with the same id apart (pass the
    content hash). The number is the upper 53 bits of XXH3-64, seeded with `seed`, of salt and id as bytes. Raises
    ValueError for a null, for columns of unequal length, and for a seed outside [0, 2**64).
    """
    if not 0 <= seed < 2**64:
        raise ValueError(f"the seed must be an integer from 0 to 2**64 - 1, not {seed}")
    if ids.type not in (pa.string(), pa.large_string()):
        raise TypeError(f"ids must be a string or large_string array, not {ids.type}")
    if ids.null_count:
        raise ValueError(f"{ids.null_count} of {len(ids)} ids are null")
    keys = ids.cast(pa.large_binary()).to_pylist()
    if salt is not None:
        if salt.type != pa.binary(SALT_BYTES) or salt.null_count or len(salt) != len(ids):
            raise ValueError(
                f"the salt must be binary({SALT_BYTES}) without nulls, one per id; it is {salt.type} with "
                f"{salt.null_count} nulls, {len(salt)} for {len(ids)} ids"
            )
        keys = [before + key for before, key in zip(salt.to_pylist(), keys, strict=True)]
    hashes = np.fromiter((xxhash.xxh3_64_intdigest(key, seed) for key in keys), np.uint64, len(keys))
    return (hashes >> np.uint64(11)).astype(np.float64) * _UNIT
