"""The Beam graph: a plan → its stages on an engine.

Four transforms make the whole of it: Create, ParDo, GroupByKey, Flatten; every ParDo has one untagged output, nothing
is a side input, and every branch reaches the last transform. Such a graph runs on every Beam runner. What travels is
`(int, bytes)`: a number and a message of a few kilobytes; documents stay in files that messages name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from pipeline.plan import Lists, Plan
from pipeline.workers import Calls, active

Message = tuple[int, bytes]
Messages = tuple[int, Iterable[bytes]]
OptionsT = TypeVar("OptionsT", bound=PipelineOptions)


class Stage(beam.DoFn):
    """Run one stage on each element: a message, or the messages that came together under a key.

    Where this process has workers, they do it, and the stage yields what they have done.
    """

    def __init__(self, plan: str, stage: str) -> None:
        self._plan = plan
        self._stage = stage

    def setup(self) -> None:
        workers = active()
        self._calls = Calls(workers) if workers else None
        if self._calls is None:  # else this process does without what stages import
            from pipeline.stages import STAGES
            from pipeline.stages.work import work_of

            self._run = partial(STAGES[self._stage], work_of(self._plan))

    def process(self, element: Message | Messages) -> Iterator[Message]:
        key, value = element
        messages = [value] if isinstance(value, bytes) else list(value)
        if self._calls:
            yield from self._calls.give(self._plan, self._stage, key, messages)
        else:
            yield from self._run(key, messages)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        for message in self._calls.rest() if self._calls else ():
            yield WindowedValue(message, MIN_TIMESTAMP, [GlobalWindow()])


class ToOne(beam.DoFn):
    """Give every message the key 0, so that they come together."""

    def process(self, element: Message) -> Iterator[Message]:
        yield 0, element[1]


class Options(PipelineOptions):
    """Options of Beam, each view of them made once: Beam asks for five a transform, and parses all of them for each."""

    def view_as(self, cls: type[OptionsT]) -> OptionsT:
        views = self.__dict__.setdefault("_views", {})
        if cls not in views:
            views[cls] = super().view_as(cls)
        view: OptionsT = views[cls]
        return view

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_views"}


def build(pipeline: beam.Pipeline, plan: Plan, lists: Lists) -> None:
    """Add the stages of a plan to a Beam pipeline; what it reads is in the files that `lists` names."""
    shipped = plan.to_json()

    def each(messages: beam.PCollection, label: str, stage: str) -> beam.PCollection:
        return messages | label >> beam.ParDo(Stage(shipped, stage)).with_output_types(tuple[int, bytes])

    def together(label: str, stage: str, *messages: beam.PCollection) -> beam.PCollection:
        """Bring together the messages of all branches that have the same key."""
        merged = messages[0] if len(messages) == 1 else messages | f"{label}: merge" >> beam.Flatten()
        return each(merged | f"{label}: group" >> beam.GroupByKey(), label, stage)

    def all_in_one(label: str, stage: str, *messages: beam.PCollection) -> beam.PCollection:
        keyed = [
            branch | f"{label}: to one {index}" >> beam.ParDo(ToOne()).with_output_types(tuple[int, bytes])
            for index, branch in enumerate(messages)
        ]
        return together(label, stage, *keyed)

    def listed(what: str, names: Sequence[str]) -> beam.PCollection:
        named = beam.Create([(number, name.encode()) for number, name in enumerate(names)], reshuffle=False)
        lists = pipeline | f"Name lists of {what}" >> named.with_output_types(tuple[int, bytes])
        return each(lists, f"Name {what}", "name_listed")

    read = together("Read and edit", "read_unit", listed("work units", lists.units))
    pieces = each(together("Measure", "measure_piece", read), "Decide", "decide_piece")

    if plan.evaluations:
        pieces = each(pieces, "Decontaminate", "decontaminate_piece")

    if plan.recipe.deduplicate is not None and plan.recipe.deduplicate.repositories is not None:
        parts = all_in_one("Share out repositories", "share_out", each(pieces, "Sketch", "sketch_repositories"))
        merged = together("Merge repositories", "merge_repositories", parts)
        removed = all_in_one("Find duplicate repositories", "decide_repositories", merged, pieces)
        pieces = together("Drop duplicate repositories", "drop_repositories", pieces, removed)

    if plan.deduplicates:
        hashes = [each(pieces, "Hash", "hash_piece")]
        if plan.earlier:
            hashes.append(together("Hash earlier runs", "hash_earlier", listed("earlier runs", lists.parts)))
        links = together("Link equal hashes", "link_bucket", all_in_one("Share out hashes", "share_out", *hashes))
        members = all_in_one("Connect components", "connect", links)
        gathered = together("Gather members", "gather_members", pieces, members)
        removed = together("Find duplicates", "walk_bucket", all_in_one("Share out members", "share_out", gathered))
        pieces = together("Drop duplicates", "drop_duplicates", pieces, removed)

    if plan.repeats:
        marked = each(pieces, "Mark text", "mark_piece")
        often = together("Find repeated marks", "count_bucket", all_in_one("Share out marks", "share_out", marked))
        claims = together("Claim repeats", "claim_piece", pieces, often)
        later = together("Decide who keeps", "decide_bucket", all_in_one("Share out claims", "share_out", claims))
        pieces = together("Cut repeats", "cut_repeats", pieces, later)

    limits = all_in_one("Set limits", "set_limits", each(pieces, "Count survivors", "count_survivors"))
    if plan.recipe.sample.semantic is not None:
        embedded = together("Embed", "embed_piece", pieces, limits)
        cells = all_in_one("Fit clusters", "fit_clusters", each(embedded, "Offer vectors", "offer_vectors"))
        assigned = together("Assign clusters", "assign_piece", embedded, cells)
        offered = all_in_one("Share out cells", "share_out", each(assigned, "Offer cells", "offer_cells"))
        similar = together("Find semantic duplicates", "thin_bucket", offered)
        pieces = together("Drop semantic duplicates", "drop_similar", assigned, similar)

    words = together("Count words", "count_piece", pieces, limits)
    tokenised = together("Tokenise", "tokenise_piece", pieces, all_in_one("Make tokenizer", "make_tokenizer", words))

    cuts = []
    if plan.recipe.sample.mixture:
        weights = together("Add weights", "add_weights", each(tokenised, "Weigh", "weigh_piece"))
        inside = together("Look in open bins", "look_in_bin", tokenised, all_in_one("Open bins", "open_bins", weights))
        cuts.append(all_in_one("Reach mixture", "reach_mixture", inside))
    finished = together("Finish pieces", "finish_piece", tokenised, *cuts)

    places = all_in_one("Fill shards", "fill_shards", each(finished, "Cut pieces", "cut_piece"))
    sent = together("Send to shards", "send_to_shards", finished, places)
    shards = together("Pack shards", "pack_shard", sent)
    groups = together("Group pieces", "group_piece", finished, places)
    published = together("Publish parts", "publish_group", groups)
    all_in_one("Publish", "publish", published, shards)


def run(plan: Plan, lists: Lists, options: list[str]) -> None:
    """Run a plan to its end: on the runner that Beam's own `options` name, or the embedded one."""
    given = list(options)
    if not any(option.startswith("--runner") for option in given):
        # named explicitly: Beam's default would try to download another runner on every run
        given += ["--runner=FnApiRunner", "--direct_running_mode=in_memory"]
    if "--save_main_session" not in given:
        given.append("--no_save_main_session")
    pipeline = beam.Pipeline(options=Options(given))
    build(pipeline, plan, lists)
    result = pipeline.run()
    try:
        result.wait_until_finish()
    finally:
        if hasattr(result, "client"):  # of Dask: a cluster goes on with what nobody waits for, while it is connected
            result.client.close()
