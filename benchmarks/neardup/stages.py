"""What the benchmark adds to the stages: the kept documents are written; no column is measured but what duplicates need.

Importing this makes the stages of a process those of the benchmark.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pyarrow as pa

from filters.kernels.characters import characters as count_characters
from filters.signal import signal
from pipeline.plan import Plan
from pipeline.stages import STAGES
from pipeline.stages.work import Message, Messages, Work


def write_kept(work: Work, number: int, messages: list[bytes]) -> Iterator[Message]:
    """Write the documents of a piece that nothing dropped, as the last of datatrove's stages does."""
    piece = Messages.unpack(messages).piece
    table = work.store.read_table(piece.files["documents"], ["id", "text"])
    alive = work.columns(piece, "state", ["reason"]).column("reason").is_null()
    work.store.write_table(f"kept/{number:012}.parquet", table.filter(alive))
    yield number, piece.pack()


def count_kept(work: Work, key: int, messages: list[bytes]) -> Iterator[Message]:
    """Write where the pieces lie, for whoever looks at what was removed."""
    pieces = Messages.unpack(messages).pieces
    work.store.write_json("pieces.json", [json.loads(piece.pack()) for piece in pieces])
    yield 0, b"{}"


@signal(characters=pa.int32())
def characters(text: pa.Array) -> pa.Array:
    """Return how many characters each text has: by that the walk orders. A run counts them with all of its statistics."""
    return pa.array(count_characters(text))


STAGES.update(write_kept=write_kept, count_kept=count_kept)
Plan.signals = lambda plan, corpus: (characters, plan.writers["content_hash"], plan.writers["bands"])
