"""The stages, free of any engine: functions from (work, key, messages) to messages, named for the graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pipeline.stages import duplicates, packing, parts, publishing, reading, similar
from pipeline.stages.work import Message, Work

STAGES: dict[str, Callable[[Work, int, list[bytes]], Iterator[Message]]] = {
    stage.__name__: stage
    for stage in (
        reading.read_unit,
        reading.measure_piece,
        reading.decide_piece,
        duplicates.hash_piece,
        duplicates.hash_earlier,
        parts.share_out,
        duplicates.link_bucket,
        duplicates.connect,
        duplicates.gather_members,
        duplicates.walk_bucket,
        duplicates.drop_duplicates,
        similar.embed_piece,
        similar.fit_clusters,
        similar.assign_piece,
        similar.thin_bucket,
        similar.drop_similar,
        packing.make_tokenizer,
        packing.tokenise_piece,
        packing.mix,
        packing.send_to_shards,
        packing.pack_shard,
        publishing.finish_piece,
        publishing.publish,
    )
}
