"""Run by datatrove's own environment: its four MinHash stages over a folder of Parquet files, the kept ones written.

    python with_datatrove.py INPUT OUTPUT WORKERS [READ_AT_MOST]

FineWeb's parameters (14 buckets of 8 hashes, word 5-grams, English tokenizer), which are datatrove's defaults and ours.
"""

import sys
from pathlib import Path

from datatrove.executor.local import LocalPipelineExecutor
from datatrove.pipeline.dedup.minhash import (
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.readers import ParquetReader
from datatrove.pipeline.writers import ParquetWriter


def run(source: str, target: str, workers: int) -> None:
    config = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8)
    tasks = max(workers, min(8, len(list(Path(source).glob("*.parquet")))))

    def read() -> ParquetReader:
        return ParquetReader(source, glob_pattern="*.parquet", text_key="text", id_key="id", doc_progress=False)

    steps = [
        (tasks, [read(), MinhashDedupSignature(f"{target}/signatures", config=config)]),
        (14, [MinhashDedupBuckets(f"{target}/signatures", f"{target}/buckets", config=config)]),
        (1, [MinhashDedupCluster(f"{target}/buckets", f"{target}/clusters", config=config)]),
        (
            tasks,
            [read(), MinhashDedupFilter(f"{target}/clusters"), ParquetWriter(f"{target}/kept", compression="zstd")],
        ),
    ]
    for number, (parts, pipeline) in enumerate(steps):
        LocalPipelineExecutor(
            pipeline, tasks=parts, workers=min(workers, parts), logging_dir=f"{target}/logs/{number}"
        ).run()


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2], int(sys.argv[3]))
