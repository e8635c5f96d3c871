"""Shards in others' formats hold the same documents: by the documented layout, and by the real package where there is one.

Packages that are not in this environment are looked for in the folders that CORPUSMILL_PEERS names, parted by colons.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline import convert as converting
from pipeline.cli import main
from pipeline.convert import FORMATS, convert
from pipeline.shards import Shards
from tests.pipeline.test_shards import TWO_SHARDS, write

PEERS = os.environ.get("CORPUSMILL_PEERS", "")


@pytest.fixture(params=[np.uint16, np.uint32])
def shards(request, tmp_path) -> Shards:
    parts = [[*TWO_SHARDS[0][:2], ("long", "web", "en", list(range(300)))], TWO_SHARDS[1]]
    write(tmp_path / "shards", parts, request.param)
    return Shards.open(tmp_path / "shards")


def documents(shards: Shards) -> list[list[int]]:
    found = []
    for shard in range(len(shards.infos)):
        offsets = shards.offsets(shard)
        found += [shards.tokens(shard)[a:b].tolist() for a, b in zip(offsets[:-1], offsets[1:], strict=True)]
    return found


@pytest.fixture
def converted(shards, tmp_path, monkeypatch):
    """A function that converts, in pieces small enough that there are several."""
    monkeypatch.setattr(converting, "AT_ONCE", 7)
    monkeypatch.setattr(converting, "MDS_BYTES", 700)

    def make(kind: str) -> Path:
        out = tmp_path / kind
        assert convert(shards, kind, out) == sum(path.stat().st_size for path in out.iterdir())
        assert (out / "tokenizer.json").read_bytes() == shards.tokenizer_json
        return out

    return make


def test_datatrove_files_are_ids_and_the_ends_of_documents(shards, converted):
    out = converted("ds")
    found = []
    for path in sorted(out.glob("*.ds")):
        ids, ends = np.fromfile(path, shards.dtype), np.fromfile(f"{path}.index", "<u8")
        found += [part.tolist() for part in np.split(ids, ends[:-1].astype(int))]
        assert ends[-1] == len(ids)
    assert found == documents(shards)


def test_megatron_files_have_its_header_and_a_sequence_per_document(shards, converted):
    out = converted("megatron")
    data = (out / "tokens.idx").read_bytes()
    assert data[:9] == b"MMIDIDX\x00\x00"
    version, kind, sequences, ends = struct.unpack_from("<QBQQ", data, 9)
    lengths = np.frombuffer(data, "<i4", sequences, 34)
    pointers = np.frombuffer(data, "<i8", sequences, 34 + 4 * sequences)
    indices = np.frombuffer(data, "<i8", ends, 34 + 12 * sequences)
    assert len(data) == 34 + 12 * sequences + 8 * ends
    assert (version, ends, indices.tolist()) == (1, sequences + 1, list(range(sequences + 1)))
    dtype = {8: np.uint16, 4: np.int32}[kind]
    tokens = (out / "tokens.bin").read_bytes()
    read = [np.frombuffer(tokens, dtype, n, p).tolist() for n, p in zip(lengths, pointers, strict=True)]
    assert read == documents(shards)


def test_npy_files_are_arrays_and_olmo_s_are_bare_ids(shards, converted):
    out, bare = converted("npy"), converted("olmo")
    for shard in range(len(shards.infos)):
        tokens = np.load(out / f"{shard:05}-tokens.npy", mmap_mode="r", allow_pickle=False)
        assert tokens.dtype == shards.dtype
        assert np.array_equal(tokens, shards.tokens(shard))
        assert np.array_equal(np.load(out / f"{shard:05}-offsets.npy", allow_pickle=False), shards.offsets(shard))
        assert np.array_equal(np.fromfile(bare / f"{shard:05}.npy", shards.dtype), shards.tokens(shard))


def test_mosaic_shards_hold_each_document_and_where_it_came_from(shards, converted):
    out = converted("mds")
    index = json.loads((out / "index.json").read_text())
    assert index["version"] == 2
    found, ids = [], []
    for one in index["shards"]:
        data = (out / one["raw_data"]["basename"]).read_bytes()
        assert len(data) == one["raw_data"]["bytes"]
        (samples,) = struct.unpack_from("<I", data)
        assert samples == one["samples"]
        ends = np.frombuffer(data, "<u4", samples + 1, 4)
        config = {key: one[key] for key in one if key not in ("raw_data", "samples", "zip_data")}
        assert json.loads(data[4 + 4 * (samples + 1) : ends[0]]) == config
        for start, end in zip(ends[:-1], ends[1:], strict=True):
            sizes = struct.unpack_from("<5I", data, start)
            cuts = np.cumsum([start + 20, *sizes])
            assert cuts[-1] == end
            values = [data[a:b] for a, b in zip(cuts[:-1], cuts[1:], strict=True)]
            sample = dict(zip(one["column_names"], values, strict=True))
            width = 1 << (sample["tokens"][0] & 3)
            assert sample["tokens"][0] >> 2 == 1
            (length,) = (int.from_bytes(sample["tokens"][1 : 1 + width], "little"),)
            found.append(np.frombuffer(sample["tokens"], shards.dtype, length, 1 + width).tolist())
            ids.append(sample["id"].decode())
    assert len(index["shards"]) > 1
    assert found == [one for one in documents(shards) if one]
    assert ids[0] == "a"


PROGRAMS = {
    "ds": (
        "datatrove.utils.dataset",
        "from datatrove.utils.dataset import DatatroveFolderDataset as D\n"
        "d = D(folder, 7, '*.ds', token_size=width, return_positions=False)\n"
        "rows = [d[i]['input_ids'].tolist() for i in range(len(d))]\n",
    ),
    "megatron": (
        "megatron.core.datasets.indexed_dataset",
        "from megatron.core.datasets.indexed_dataset import IndexedDataset as D\n"
        "d = D(folder + '/tokens')\n"
        "rows = [d[i].tolist() for i in range(len(d))]\n",
    ),
    "olmo": (
        "olmo_core.data.utils",
        "import glob, os, numpy as np\n"
        "from olmo_core.data.utils import load_array_slice as load\n"
        "kind = {2: np.uint16, 4: np.uint32}[width]\n"
        "rows = [load(f, 0, os.path.getsize(f) // width, kind).tolist() for f in sorted(glob.glob(folder + '/*.npy'))]\n",
    ),
    "mds": (
        "streaming",
        "from streaming import LocalDataset as D\n"
        "d = D(folder)\n"
        "rows = [[d[i]['id'], d[i]['tokens'].tolist()] for i in range(len(d))]\n",
    ),
}


@pytest.mark.parametrize("kind", PROGRAMS)
def test_the_real_package_reads_the_same_documents(kind, shards, converted):
    module, program = PROGRAMS[kind]
    environment = {**os.environ, "PYTHONPATH": PEERS or os.environ.get("PYTHONPATH", "")}
    there = subprocess.run([sys.executable, "-c", f"import {module}"], env=environment, capture_output=True, text=True)
    if there.returncode:
        pytest.skip(
            f"no {module}: {(there.stderr.splitlines() or ['?'])[-1]}; CORPUSMILL_PEERS names folders to look in"
        )
    out, width = converted(kind), shards.dtype.itemsize
    code = f"import json, sys\nfolder, width = sys.argv[1], {width}\n{program}print('\\n' + json.dumps(rows))"
    ended = subprocess.run([sys.executable, "-c", code, str(out)], env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    rows = json.loads(ended.stdout.splitlines()[-1])
    whole = documents(shards)
    if kind == "megatron":
        assert rows == whole
    elif kind == "mds":
        assert [tokens for _, tokens in rows] == [one for one in whole if one]
    else:
        files = [shards.tokens(shard).tolist() for shard in range(len(shards.infos))]
        window = 8 if kind == "ds" else 1 << 30
        cut = [f[i : i + window] for f in files for i in range(0, len(f), window)]
        assert rows == [one for one in cut if kind == "olmo" or len(one) == window]


def test_an_export_is_whole_or_not_there(shards, tmp_path, monkeypatch):
    def broken(*given: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(FORMATS, "ds", broken)  # type: ignore[misc]
    with pytest.raises(OSError, match="No space"):
        convert(shards, "ds", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    monkeypatch.undo()
    convert(shards, "ds", tmp_path / "out")
    assert (tmp_path / "out" / "00000_tokens.ds").exists()


def test_the_command_exports_and_says_what_cannot_be(shards, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["export", str(tmp_path), "--format", "npy", "--out", str(out)]) == 0
    assert "npy: 4 documents, " in capsys.readouterr().out
    assert main(["export", str(tmp_path), "--format", "npy", "--out", str(out)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert main(["export", str(tmp_path / "nowhere"), "--format", "ds", "--out", str(tmp_path / "more")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
