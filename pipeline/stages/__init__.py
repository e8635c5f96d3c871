"""The stages, free of any engine: functions from (work, key, messages) to messages, named for the graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pipeline.stages import (
    decontamination,
    duplicates,
    limits,
    mixing,
    packing,
    parts,
    publishing,
    reading,
    repeats,
    repositories,
    similar,
    tokenising,
)
from pipeline.stages.work import Message, Work

STAGES: dict[str, Callable[[Work, int, list[bytes]], Iterator[Message]]] = {
    stage.__name__: stage
    for stage in (
        reading.name_listed,
        reading.read_unit,
        reading.measure_piece,
        reading.decide_piece,
        decontamination.decontaminate_piece,
        repositories.sketch_repositories,
        repositories.merge_repositories,
        repositories.decide_repositories,
        repositories.drop_repositories,
        duplicates.hash_piece,
        duplicates.hash_earlier,
        parts.share_out,
        duplicates.link_bucket,
        duplicates.connect,
        duplicates.gather_members,
        duplicates.walk_bucket,
        duplicates.drop_duplicates,
        repeats.mark_piece,
        repeats.count_bucket,
        repeats.claim_piece,
        repeats.decide_bucket,
        repeats.cut_repeats,
        limits.count_survivors,
        limits.set_limits,
        similar.embed_piece,
        similar.offer_vectors,
        similar.fit_clusters,
        similar.assign_piece,
        similar.offer_cells,
        similar.thin_bucket,
        similar.drop_similar,
        tokenising.count_piece,
        tokenising.make_tokenizer,
        tokenising.tokenise_piece,
        mixing.weigh_piece,
        mixing.add_weights,
        mixing.open_bins,
        mixing.look_in_bin,
        mixing.reach_mixture,
        publishing.finish_piece,
        packing.cut_piece,
        packing.fill_shards,
        packing.send_to_shards,
        packing.pack_shard,
        publishing.group_piece,
        publishing.publish_group,
        publishing.publish,
    )
}
