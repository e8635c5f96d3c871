"""Which documents no arm trains on, and which of them are measured.

A document is held out if the hash of its corpus and id is below its corpus's limit: in every folder the same choice,
whatever else the folder holds. The limit is the loader's, or what it takes for enough documents of the reference folder.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ablate.folder import Folder
from loader.choice import HELD_OUT_SHARE

DOCUMENTS, LARGEST_SHARE = 40, 0.1


def limits(reference: Folder, tokens: int) -> dict[str, int]:
    """Return the hash up to which documents are held out, by corpus of the reference folder.

    Held out are the loader's 1.5 %, or more of a small corpus, so that there are 40 documents of `tokens` in all to
    measure, but at most a tenth of the documents.
    """
    found = {}
    for number, corpus in enumerate(reference.corpora):
        here = np.flatnonzero(reference.corpus_D == number)
        hashes, first = np.unique(reference.hash_D[here], return_index=True)
        held = np.cumsum(reference.tokens_D[here][first])
        enough = max(DOCUMENTS, int(np.searchsorted(held, tokens)) + 1)
        most = max(1, int(LARGEST_SHARE * len(hashes)))
        if len(hashes) < 2:
            continue  # nothing can be held out that is also trained on
        limit = max(int(HELD_OUT_SHARE * 2**64), int(hashes[min(enough, most) - 1]))
        found[corpus] = min(limit, int(hashes[-2]))
    return found


def held_out(folder: Folder, limit: Mapping[str, int]) -> np.ndarray:
    """Return which documents of a folder are below the limit of their corpus, bool [D]."""
    limit_C = np.array([limit.get(corpus, 0) for corpus in folder.corpora], np.uint64)
    return folder.hash_D <= limit_C[folder.corpus_D]


def measured(folder: Folder, held_D: np.ndarray, tokens: int) -> dict[str, np.ndarray]:
    """Return the held-out documents to measure, by corpus, least hash first, int64.

    As many as it takes for 40 documents of `tokens` in all: what is measured does not grow with the folder.
    """
    found = {}
    for number, corpus in enumerate(folder.corpora):
        here = np.flatnonzero(held_D & (folder.corpus_D == number) & (folder.tokens_D > 0))
        here = here[np.argsort(folder.hash_D[here], kind="stable")]
        enough = max(DOCUMENTS, int(np.searchsorted(np.cumsum(folder.tokens_D[here]), tokens)) + 1)
        if len(here):
            found[corpus] = here[:enough]
    return found
