"""Run by rensa's own environment: what its MinHash signatures cost; prints CPU seconds as JSON, the best of some rounds.

    python with_rensa.py HASHES.npz TEXTS.parquet PERMUTATIONS

`hashes` is its fastest way in, given shingle hashes in one buffer; `text` is from texts, word 5-grams cut by Python's re.
"""

import json
import re
import sys
import time

import numpy as np
import pyarrow.parquet as pq
from rensa import RMinHash


def best(run, rounds):
    seconds = []
    for _ in range(rounds):
        started = time.process_time()
        run()
        seconds.append(time.process_time() - started)
    return min(seconds)


def from_text(texts, permutations):
    words = [re.findall(r"[^\W_]+", text.lower()) for text in texts]
    grams = [[" ".join(one[i : i + 5]) for i in range(len(one) - 4)] for one in words]
    RMinHash.digest_matrix_from_token_sets(grams, permutations, 1)


given, texts, permutations = np.load(sys.argv[1]), pq.read_table(sys.argv[2])["text"].to_pylist(), int(sys.argv[3])
hashes, offsets = given["hashes"], given["offsets"].astype(np.uint64)
flat = best(lambda: RMinHash.digest_matrix_from_flat_token_hashes(hashes, offsets, permutations, 1), 4)
whole = best(lambda: from_text(texts[:2000], permutations), 2) * len(texts) / len(texts[:2000])
print(json.dumps({"hashes": flat, "text": whole}))
