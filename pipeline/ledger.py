"""The ledger: every document × every signal × every rule, and what became of it, in one columnar table.

A rule's column is named after the rule (`gopher_quality.words`) and holds whether the document passed it; it is null
where the document's corpus does not have the rule. Signals' columns keep their names.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from pipeline.document import SCHEMA
from pipeline.evaluation import CONTAMINATION
from pipeline.plan import HASHES, Plan

REPEATED_TEXT = "repeated_text"
"""The reason of a document of which nothing but white space is left. It keeps its text, to be looked at."""

SPAN = pa.struct(
    [
        pa.field("start", pa.int32()),  # in characters of the text as it was measured
        pa.field("end", pa.int32()),
        pa.field("unit", pa.string()),
        pa.field("survivor", pa.string()),  # id of the document that keeps the first occurrence
        pa.field("survivor_source", pa.string()),
    ]
)
SPANS = pa.schema([pa.field("removed", pa.list_(SPAN)), pa.field("characters_removed", pa.int32())])
"""What was cut out of a document; null where nothing was."""

STATE = pa.schema(
    [
        pa.field("reason", pa.string()),
        pa.field("survivor", pa.string()),
        pa.field("survivor_source", pa.string()),
        pa.field("survivor_run", pa.string()),
        pa.field("similarity", pa.float32()),
        pa.field("copies", pa.int32()),
    ]
)
"""What became of a document: null while nothing has dropped it, and what it duplicates (in which earlier run, if not in
this one); of a survivor, how many documents it stands for, itself among them."""

DUPLICATES = ("near_duplicate_repository", "exact_duplicate", "near_duplicate")
LATER = (REPEATED_TEXT, "semantic_duplicate", "mixture")
"""Reasons of the stages after deduplication: such a document was alive when duplicates were looked for."""

GIVEN = [field for field in SCHEMA if field.name not in ("text", "metadata")]
OUTCOME = [pa.field("decision", pa.string()), *STATE]
MORE = [
    pa.field("tokens", pa.int32()),
    pa.field("draw", pa.float64()),
    pa.field("cluster", pa.int32()),
    pa.field("cluster_cosine", pa.float32()),
    pa.field("edits", pa.list_(pa.string())),
    pa.field("characters_read", pa.int32()),
    *SPANS,
]


def more_fields(plan: Plan) -> list[pa.Field]:
    """Return the fields of what stages beyond the rules note of a document."""
    return [*([pa.field("contamination", CONTAMINATION)] if plan.recipe.decontaminate else []), *MORE]


def signal_fields(plan: Plan) -> list[pa.Field]:
    """Return a field for every column that some corpus measures, in the order of first use."""
    fields: dict[str, pa.Field] = {}
    for corpus in sorted(plan.recipe.corpora):
        for signal in plan.signals(corpus):
            for column, kind in signal.writes.items():
                if column not in HASHES:
                    fields.setdefault(column, pa.field(column, kind))
    return list(fields.values())


def rule_fields(plan: Plan) -> list[pa.Field]:
    names = [rule.name for corpus in sorted(plan.recipe.corpora) for rule in plan.rules(corpus)]
    return [pa.field(name, pa.bool_()) for name in dict.fromkeys(names)]


def ledger_schema(plan: Plan) -> pa.Schema:
    """Return the schema of the ledger of a run: the same for every part."""
    return pa.schema([*GIVEN, *OUTCOME, *signal_fields(plan), *more_fields(plan), *rule_fields(plan)])


def numeric_columns(plan: Plan) -> list[str]:
    """Return the ledger's columns that have a histogram: numbers that rules could bound."""
    kinds = (pa.types.is_integer, pa.types.is_floating)
    named = [f.name for f in signal_fields(plan) if any(kind(f.type) for kind in kinds)]
    return [*named, "tokens"]


def ledger_part(schema: pa.Schema, rows: int, columns: Mapping[str, pa.Array | pa.ChunkedArray]) -> pa.Table:
    """Assemble a part: columns that a corpus does not have are null; the decision follows from the reason."""
    reason = columns["reason"]
    decision = pa.array(np.where(np.asarray(reason.is_null()), "kept", "dropped"), pa.string())
    every = {**columns, "decision": decision}
    arrays = [every[f.name].cast(f.type) if f.name in every else pa.nulls(rows, f.type) for f in schema]
    return pa.Table.from_arrays(arrays, schema=schema)
