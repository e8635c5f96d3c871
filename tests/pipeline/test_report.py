"""The report: hostile text is shown and does nothing; drawings hold what was counted."""

from __future__ import annotations

import re

import pyarrow as pa
import pytest

from pipeline.document import REJECTS
from pipeline.recipe import parse
from pipeline.rejects import kinds
from pipeline.report import render
from pipeline.run import run
from pipeline.store import Store
from pipeline.svg import funnel, histogram
from tests.pipeline.corpora import text, write_jsonl

HOSTILE = [
    "<script>alert(1)</script>",
    "</blockquote></details><img src=x onerror=alert(1)>",
    "\"'><svg onload=alert(1)>",
    "{{ 7 * 7 }} {% raw %}",
    "\x1b]0;pwned\x07\u202egnp.exe",
    "javascript:alert(1)",
    "]]><!--",
]


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("hostile")
    every = "\n".join(HOSTILE)  # three examples are shown: each has all of it
    rows = [{"id": payload, "text": f"{every} {payload}", "url": payload} for payload in HOSTILE]
    broken = [
        b'{"id": "<script>alert(2)</script>\xff',
        b'{"id": 1, "text": "\xfe\xff"}',
        b'["<img src=x onerror=alert(3)>"]',
    ]
    write_jsonl(folder / "<b>a.jsonl", [*rows, {"id": "good", "text": text(1)}, *broken])
    corpora = {"web": {"read": {"format": "jsonl", "paths": "*.jsonl"}, "presets": ["gopher_quality"]}}
    run(parse({"corpora": corpora, "budget": {"rejects": 0.5}}, base=str(folder)), str(folder / "run"))
    return Store(str(folder / "run")).read("report.html").decode()


def test_no_text_of_a_document_becomes_markup(report):
    tags = {tag.lower() for tag in re.findall(r"<([a-zA-Z][a-zA-Z0-9]*)", report)}
    assert not tags & {"script", "img", "iframe", "object", "embed", "base", "form", "b>"}
    assert not re.search(r"<[^>]+\son[a-z]+\s*=", report)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in report
    assert "{{ 7 * 7 }}" in report


def test_no_control_character_is_left(report):
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e]", report)
    assert "\\x1b]0;pwned" in report


def test_the_page_forbids_scripts_and_requests(report):
    assert "default-src 'none'" in report
    assert "http://" not in report
    assert "https://" not in report


def test_records_that_could_not_be_read_are_counted_by_reason(report):
    table = report[report.index("could not be read") :]
    counted = re.findall(
        r'<td class="right">(\d+)</td><td><code>&lt;b&gt;a.jsonl</code> at', table[: table.index("</table>")]
    )
    assert sum(int(one) for one in counted) == 3
    assert "alert(2)" in table


def test_reasons_that_differ_in_a_number_are_one_kind_and_the_rarest_are_others(tmp_path):
    reasons = [f"not UTF-8: byte 0x{n:02x}" for n in range(128, 148)]
    reasons += [f"reason {letter}" for letter in "abcdefghijklmnop"]
    rows = [{"corpus": "a", "source": "s", "offset": n, "reason": one, "sample": None} for n, one in enumerate(reasons)]
    store = Store(str(tmp_path))
    for part, some in enumerate((rows[:9], rows[9:])):
        store.write_table(f"rejects/part-{part}.parquet", pa.Table.from_pylist(some, schema=REJECTS))
    found = kinds(store)["a"]
    assert (found[0].reason, found[0].records, found[0].offset) == ("not UTF-8: byte …", 20, 0)
    assert (found[-1].reason, found[-1].records) == ("other reasons", 5)
    assert sum(one.records for one in found) == len(rows)


def test_a_report_is_a_function_of_its_manifest():
    manifest = {
        "version": "0",
        "run": "x",
        "recipe": {"corpora": {"a": {"read": {"format": "text", "paths": ["*"]}}}},
        "documents": {"read": 0, "kept": 0, "dropped": {}, "rejected": 0},
        "corpora": {},
        "alarms": [{"corpus": "a", "source": "<b>", "compared": 30, "duplicates": 30}],
        "statistics": {"outcomes": {}, "rules": {}, "histograms": {}, "edits": {}},
    }
    assert render(manifest, {}) == render(manifest, {})
    assert "lost 30 of 30 documents as duplicates (100.0%)" in render(manifest, {})


def test_a_funnel_shows_every_step_and_its_share():
    drawing = funnel([("read", 200), ("kept", 50)])
    assert "200 (100.0%)" in drawing
    assert "50 (25.0%)" in drawing
    assert "0 (0.0%)" in funnel([("read", 0)])


def test_a_histogram_has_a_bar_for_every_outcome_and_a_line_at_every_bound():
    drawing = histogram({"3": 5, "7": 1}, {"3": 2, "null": 9}, [("max", 0.9)])
    assert drawing.count('class="kept"') == 2
    assert drawing.count('class="dropped"') == 1
    assert drawing.count("<line") == 1
    assert "max 0.9" in drawing
    assert histogram({}, {"null": 3}, []) == ""
