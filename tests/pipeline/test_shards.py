"""The shard format: what is written is read, by us, by numpy and by `datasets`; any change to a file is found."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.shard import ShardError, ShardInfo, schema, write_shard
from pipeline.shards import Shards, index_files

TOKENIZER = json.dumps({"model": {"vocab": {"a": 0, "b": 69_999}}, "added_tokens": [{"id": 7}]}).encode()
END_OF_TEXT = 7
COLUMNS = pa.schema(list(schema(np.dtype(np.uint16)))[:6])

Row = tuple[str, str, str | None, list[int]]  # id, corpus, language, token ids

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
ROWS = st.lists(
    st.tuples(
        NAMES,
        st.sampled_from(["web", "books", "코드"]),
        st.none() | NAMES,
        st.lists(st.integers(0, 65_535), max_size=6),
    ),
    max_size=6,
)
TWO_SHARDS: list[list[Row]] = [
    [("a", "web", "en", [1, 2, 7]), ("", "books", None, [7]), ("여우", "web", "ko", [])],
    [("d", "books", "de", list(range(9)))],
]


def columns(rows: list[Row]) -> pa.Table:
    return pa.table(
        [
            [row[0] for row in rows],
            [row[1] for row in rows],
            ["file"] * len(rows),
            [row[2] for row in rows],
            [None] * len(rows),
            [None] * len(rows),
        ],
        schema=COLUMNS,
    )


def packed(rows: list[Row], dtype: type = np.uint16) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.cumsum([0, *(len(row[3]) for row in rows)], dtype=np.int64)
    return offsets, np.array([token for row in rows for token in row[3]], dtype)


def write(folder: Path, parts: list[list[Row]], dtype: type = np.uint16) -> list[ShardInfo]:
    folder.mkdir(parents=True, exist_ok=True)
    infos = []
    for number, rows in enumerate(parts):
        with (folder / f"data-{number:05}.arrow").open("wb") as stream:
            infos.append(write_shard(stream, f"data-{number:05}.arrow", columns(rows), *packed(rows, dtype)))
    for name, data in index_files(infos, TOKENIZER, END_OF_TEXT, {"recipe": "abc", "funnel": [1, None]}).items():
        (folder / name).write_bytes(data)
    return infos


def content(opened: Shards) -> list[list[Row]]:
    parts = []
    for shard in range(len(opened.infos)):
        tokens, offsets, documents = opened.tokens(shard), opened.offsets(shard), opened.documents(shard).to_pylist()
        parts.append(
            [
                (row["id"], row["corpus"], row["language"], tokens[offsets[at] : offsets[at + 1]].tolist())
                for at, row in enumerate(documents)
            ]
        )
    return parts


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "shards", TWO_SHARDS)
    return tmp_path / "shards"


@settings(max_examples=60, deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=3), st.sampled_from([np.uint16, np.uint32]))
def test_what_is_written_is_read_by_us_and_by_numpy(tmp_path_factory, parts, dtype):
    folder = tmp_path_factory.mktemp("shards")
    infos = write(folder, parts, dtype)
    opened = Shards.open(folder)
    assert content(opened) == parts
    assert opened.infos == tuple(infos)
    assert opened.dtype == dtype
    assert opened.total_tokens == sum(len(row[3]) for rows in parts for row in rows)
    for shard, info in enumerate(infos):
        assert [row["tokens"] for row in opened.documents(shard).to_pylist()] == [len(row[3]) for row in parts[shard]]
        if info.tokens:
            mapped = np.memmap(folder / info.file, info.dtype, "r", info.token_offset, (info.tokens,))
            assert np.array_equal(mapped, opened.tokens(shard))
            assert info.token_offset % 8 == 0


@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_counts_of_corpora_add_up_to_the_shard(rows):
    info = write_shard(io.BytesIO(), "x.arrow", columns(rows), *packed(rows))
    assert sum(count["documents"] for count in info.corpora.values()) == info.documents == len(rows)
    assert sum(count["tokens"] for count in info.corpora.values()) == info.tokens
    assert ShardInfo(**json.loads(json.dumps(asdict(info)))) == info


@settings(max_examples=40, deadline=None)
@given(ROWS, st.integers(0, 3), st.integers(0, 3))
def test_offsets_may_start_anywhere_and_columns_may_come_in_chunks(rows, before, after):
    offsets, ids = packed(rows)
    whole, part = io.BytesIO(), io.BytesIO()
    table = columns(rows)
    chunked = pa.concat_tables([table.slice(0, 1), table.slice(1)])
    surrounded = np.concatenate([np.zeros(before, np.uint16), ids, np.zeros(after, np.uint16)])
    assert write_shard(whole, "x.arrow", table, offsets, ids) == write_shard(
        part, "x.arrow", chunked, offsets + before, surrounded
    )
    assert whole.getvalue() == part.getvalue()


def test_tokens_are_views_of_the_mapped_file(folder):
    before = pa.total_allocated_bytes()
    opened = Shards.open(folder)
    views = [opened.tokens(0), opened.offsets(0)]
    assert pa.total_allocated_bytes() == before
    assert not any(view.flags.owndata or view.flags.writeable for view in views)


def test_datasets_opens_the_folder_as_it_is(folder, tmp_path):
    loaded = datasets.load_from_disk(str(folder))
    assert loaded.features.arrow_schema.field("input_ids").type == pa.large_list(pa.uint16())
    assert [row["input_ids"] for row in loaded] == [row[3] for rows in TWO_SHARDS for row in rows]
    assert [row["id"] for row in loaded] == [row[0] for rows in TWO_SHARDS for row in rows]
    assert [row["tokens"] for row in loaded] == [len(row[3]) for rows in TWO_SHARDS for row in rows]
    for number, parts in enumerate([[[]], [[], TWO_SHARDS[1], []]]):
        write(tmp_path / str(number), parts, np.uint32)
        assert datasets.load_from_disk(str(tmp_path / str(number))).num_rows == sum(map(len, parts))
    assert Shards.open(folder).total_tokens == 13  # and has left the folder as it was


def test_a_shard_alone_is_a_stream_that_datasets_opens(folder):
    alone = datasets.Dataset.from_file(str(folder / "data-00001.arrow"))
    assert alone[0]["input_ids"] == TWO_SHARDS[1][0][3]


def test_the_manifest_says_what_is_there(folder):
    manifest = json.loads((folder / "manifest.json").read_bytes())
    assert (manifest["documents"], manifest["tokens"]) == (4, 13)
    assert manifest["corpora"] == {"web": {"documents": 2, "tokens": 3}, "books": {"documents": 2, "tokens": 10}}
    assert manifest["about"] == {"recipe": "abc", "funnel": [1, None]}
    opened = Shards.open(folder)
    assert (opened.end_of_text, opened.vocabulary_size) == (END_OF_TEXT, 70_000)
    assert (opened.tokenizer_json, opened.about) == (TOKENIZER, manifest["about"])


def test_the_same_documents_give_the_same_bytes_and_others_another_fingerprint(folder, tmp_path):
    write(tmp_path / "again", TWO_SHARDS)
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()
    write(tmp_path / "other", [TWO_SHARDS[0], [("d", "books", "de", [*range(8), 9])]])
    fingerprints = {Shards.open(one).fingerprint for one in (folder, tmp_path / "again", tmp_path / "other")}
    assert len(fingerprints) == 2


def test_every_flipped_byte_of_every_file_is_found_and_its_file_named(folder):
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        for at in range(len(data)):
            path.write_bytes(data[:at] + bytes([data[at] ^ (1 << at % 8)]) + data[at + 1 :])
            with pytest.raises(ShardError, match=path.name):
                Shards.open(folder)
        path.write_bytes(data)
    Shards.open(folder)


def test_every_truncation_of_every_file_is_found_and_its_file_named(folder):
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        for size in range(len(data)):
            path.write_bytes(data[:size])
            with pytest.raises(ShardError, match=path.name):
                Shards.open(folder, verify=size % 2 == 0)
        path.write_bytes(data + b"\n")
        with pytest.raises(ShardError, match=path.name):
            Shards.open(folder)
        path.write_bytes(data)


def test_a_changed_manifest_is_found_even_where_it_means_the_same(folder):
    manifest = json.loads((folder / "manifest.json").read_bytes())
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ShardError, match="changed after it was written"):
        Shards.open(folder)
    (folder / "manifest.json").write_text(json.dumps({**manifest, "about": float("nan")}))
    with pytest.raises(ShardError, match="not JSON as it was written"):
        Shards.open(folder)


@pytest.mark.parametrize(
    "name", ["data-00001.arrow", "tokenizer.json", "manifest.json", "state.json", "dataset_info.json"]
)
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(ShardError, match=name):
        Shards.open(folder)


def test_a_shard_that_the_manifest_does_not_list_is_named(folder):
    (folder / "data-00002.arrow").write_bytes((folder / "data-00001.arrow").read_bytes())
    with pytest.raises(ShardError, match=r"data-00002.arrow: the manifest does not list"):
        Shards.open(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"token_offset": 0}, "its token ids are not the"),
        ({"documents": 2}, "documents of"),
        ({"dtype": "uint32"}, "documents of"),
        ({"tokens": 3}, "its token ids are not the"),
    ],
)
def test_a_manifest_that_does_not_fit_its_shards_is_refused(tmp_path, change, message):
    info = write(tmp_path, TWO_SHARDS[:1])[0]
    wrong = ShardInfo(**{**asdict(info), **change})
    for name, data in index_files([wrong], TOKENIZER, END_OF_TEXT, {}).items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(ShardError, match=message):
        Shards.open(tmp_path, verify=False)


def test_a_file_that_is_no_shard_is_refused_though_its_digest_fits(tmp_path):
    info = write(tmp_path, TWO_SHARDS[:1])[0]
    (tmp_path / info.file).write_bytes(b"x" * info.bytes)
    with pytest.raises(ShardError, match="not a shard"):
        Shards.open(tmp_path, verify=False)


def test_an_id_that_the_tokenizer_does_not_have_is_found(tmp_path):
    write(tmp_path, [[("a", "web", None, [1, 70_000])]], np.uint32)
    with pytest.raises(ShardError, match=r"data-00000.arrow: id 70000, but ids end at 69999"):
        Shards.open(tmp_path)


def test_what_cannot_be_a_shard_is_not_written():
    table, (offsets, ids) = columns(TWO_SHARDS[0]), packed(TWO_SHARDS[0])
    nulls = table.set_column(0, COLUMNS.field("id").with_nullable(True), pa.array([None, "b", "c"]))
    for wrong, message in [
        (("x.arrow", table, offsets, ids.astype(np.int64)), "uint16 or uint32"),
        (("x.arrow", table, offsets[:-1], ids), "3 offsets of type int64 for 3 documents; 4"),
        (("x.arrow", table, offsets + 1, ids), "do not rise"),
        (("x.arrow", table, offsets[::-1], ids), "do not rise"),
        (
            ("x.arrow", table.drop_columns(["url"]), offsets, ids),
            "they must be id, corpus, source, language, programming_language, url",
        ),
        (("x.arrow", nulls, offsets, ids), "1 of 3 values of id are null"),
        (("../x.arrow", table, offsets, ids), "no name for a shard"),
        (("x.bin", table, offsets, ids), "no name for a shard"),
    ]:
        with pytest.raises(ShardError, match=message):
            write_shard(io.BytesIO(), *wrong)


def test_shards_that_do_not_belong_together_get_no_manifest():
    one = write_shard(io.BytesIO(), "a.arrow", columns([]), *packed([]))
    other = write_shard(io.BytesIO(), "b.arrow", columns([]), *packed([], np.uint32))
    for wrong, message in [([], "at least one"), ([one, one], "different names"), ([one, other], "one dtype")]:
        with pytest.raises(ShardError, match=message):
            index_files(wrong, TOKENIZER, END_OF_TEXT, {})
    for tokenizer in (b"", b"[]", b"{}", b'{"model": {"vocab": {}}}'):
        with pytest.raises(ShardError, match="its vocabulary cannot be read"):
            index_files([one], tokenizer, END_OF_TEXT, {})


def test_the_manifest_is_the_last_file_to_write():
    one = write_shard(io.BytesIO(), "a.arrow", columns([]), *packed([]))
    assert list(index_files([one], TOKENIZER, END_OF_TEXT, {}))[-1] == "manifest.json"


def test_reading_shards_needs_nothing_but_numpy_and_pyarrow():
    program = "import sys, pipeline.shards; print(*sys.modules)"
    root = Path(__file__).resolve().parents[2]
    ran = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    loaded = set(ran.stdout.split())
    assert not loaded & {"numba", "torch", "apache_beam", "datasets", "pandas", "tokenizers", "filters", "samplers"}
    assert {name for name in loaded if name.startswith("pipeline.")} == {"pipeline.shard", "pipeline.shards"}
