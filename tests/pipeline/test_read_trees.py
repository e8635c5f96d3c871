"""Text files and code trees: folders and archives give the same documents, and nothing outside them."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.document import Reject
from pipeline.read import Source, SourceError, read, tar, units
from pipeline.read.languages import EXTENSIONS, language_of
from pipeline.read.streams import events
from pipeline.read.tar import Member, members
from tests.pipeline.read_sources import read_all

TREE = {
    "a/src/main.py": b"print('one')\n",
    "a/README.md": "# 읽어보기\n".encode(),
    "a/latin.c": "/* Ren\xe9 a \xe9crit ceci en fran\xe7ais, \xe0 No\xebl */\n".encode("cp1252") * 9,
    "a/utf16.cs": "class Ü {}".encode("utf-16"),
    "a/" + "deep/" * 40 + "file.rs": b"fn main() {}\n",
    "b/run": b"#!/usr/bin/env python3.11\nprint()\n",
    "b/Makefile": b"all:\n",
    "b/binary.so": b"\x7fELF\0\0\0",
    "b/empty.h": b"",
    "top.go": b"package main\n",
}
TEXTS = {"a/latin.c": TREE["a/latin.c"].decode("cp1252"), "a/utf16.cs": "class Ü {}"}
DOCUMENTS = sorted(set(TREE) - {"b/binary.so"})


def write_folder(root: Path, tree: dict[str, bytes] = TREE) -> Path:
    for name, data in tree.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def tar_of(tree: dict[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name, data in tree.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def zip_of(tree: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, data in tree.items():
            archive.writestr(name, data)
    return out.getvalue()


ARCHIVES = {
    "tree.tar": tar_of(TREE),
    "tree.tar.gz": gzip.compress(tar_of(TREE, tarfile.GNU_FORMAT)),
    "tree.tgz": gzip.compress(tar_of(TREE, tarfile.USTAR_FORMAT)),
    "tree.tar.zst": zstandard.ZstdCompressor().compress(tar_of(TREE)),
    "tree.zip": zip_of(TREE),
    "tree.whl": zip_of(TREE, zipfile.ZIP_STORED),
}


def seen(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return sorted((row["url"], row["repository"], row["programming_language"], row["text"]) for row in rows)


@pytest.mark.parametrize("name", ARCHIVES)
@pytest.mark.parametrize("target", [1, 300, 1 << 20])
def test_a_folder_and_every_archive_of_it_give_the_same_documents(tmp_path: Path, name: str, target: int) -> None:
    write_folder(tmp_path / "tree")
    (tmp_path / name).write_bytes(ARCHIVES[name])
    rows, rejects = read_all("code", tmp_path / "tree", target_bytes=target)
    assert rejects == []
    assert sorted(row["url"] for row in rows) == DOCUMENTS
    assert all(row["text"] == TEXTS.get(row["url"], TREE[row["url"]].decode("utf-8", "replace")) for row in rows)
    packed, rejects = read_all("code", tmp_path / name, target_bytes=target)
    assert (seen(packed), rejects) == (seen(rows), [])
    assert len({row["offset"] for row in packed}) == len(packed)


def test_a_source_file_knows_repository_language_and_media_type(tmp_path: Path) -> None:
    (tmp_path / "tree.tar.zst").write_bytes(ARCHIVES["tree.tar.zst"])
    rows = {row["url"]: row for row in read_all("code", tmp_path / "tree.tar.zst")[0]}
    assert {url: (row["repository"], row["programming_language"]) for url, row in rows.items() if "deep" not in url} == {
        "a/src/main.py": ("a", "Python"), "a/README.md": ("a", "Markdown"), "a/latin.c": ("a", "C"),
        "a/utf16.cs": ("a", "C#"), "b/run": ("b", "Python"), "b/Makefile": ("b", "Makefile"),
        "b/empty.h": ("b", "C"), "top.go": ("tree", "Go"),
    }  # fmt: skip
    assert {row["media_type"] for row in rows.values()} == {"text/x-source"}


@given(
    st.dictionaries(
        st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=300),
        st.binary(max_size=1200),
        max_size=8,
    )
)
@settings(deadline=None, max_examples=60)
@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_a_tar_archive_gives_what_was_put_into_it(form: int, tree: dict[str, bytes]) -> None:
    # tarfile writes no slash at the end of a file's name, and takes one at the start as it is
    tree = {name.strip("/") or "x": data for name, data in tree.items()}
    found = list(members(events(io.BytesIO(tar_of(tree, form)))))
    assert [(one.name.decode(), one.data) for one in found if isinstance(one, Member)] == list(tree.items())
    assert len(found) == len(tree)


@given(st.binary(max_size=2000), st.integers(0, 3000), st.binary(max_size=40))
@settings(deadline=None, max_examples=200)
def test_no_bytes_raise_in_a_tar_archive(junk: bytes, place: int, patch: bytes) -> None:
    list(members(events(io.BytesIO(junk))))
    whole = bytearray(tar_of({"a": b"1" * 600, "b": b"2" * 10}))
    whole[place : place + len(patch)] = patch
    list(members(events(io.BytesIO(bytes(whole)))))


@pytest.mark.parametrize("ending", ["tar", "tar.gz", "tar.zst"])
def test_a_header_that_does_not_add_up_costs_one_file(tmp_path: Path, ending: str) -> None:
    tree = {f"r/{number}.py": b"x = %d\n" % number * 99 for number in range(20)}
    data = bytearray(tar_of(tree, tarfile.USTAR_FORMAT))
    at = data.index(b"r/7.py")
    data[at + 126] ^= 1  # in its size
    pack = {"tar": bytes, "tar.gz": gzip.compress, "tar.zst": zstandard.ZstdCompressor().compress}[ending]
    (tmp_path / f"a.{ending}").write_bytes(pack(bytes(data)))
    rows, (reject,) = read_all("code", tmp_path / f"a.{ending}")
    assert [row["url"] for row in rows] == [name for name in tree if name != "r/7.py"]
    assert (reject.offset, reject.reason) == (at, "no tar header where one should start")


def test_what_comes_before_a_truncation_is_read(tmp_path: Path) -> None:
    tree = {f"r/{number}.py": os.urandom(400).hex().encode() for number in range(200)}
    for name, pack in (
        ("a.tar", bytes),
        ("b.tar.gz", gzip.compress),
        ("c.tar.zst", zstandard.ZstdCompressor().compress),
    ):
        packed = pack(tar_of(tree))
        (tmp_path / name).write_bytes(packed[: len(packed) // 2])
        rows, (reject,) = read_all("code", tmp_path / name)
        assert 20 < len(rows) < 180
        assert [row["url"] for row in rows] == list(tree)[: len(rows)]
        assert "ends" in reject.reason


def test_a_damaged_frame_of_an_archive_costs_what_is_in_it(tmp_path: Path) -> None:
    tree = {f"r/{number}.py": b"%d" % number * 600 for number in range(30)}
    data = tar_of(tree)
    frames = [bytearray(gzip.compress(data[at : at + 5000])) for at in range(0, len(data), 5000)]
    frames[2][1] ^= 1
    (tmp_path / "a.tar.gz").write_bytes(b"".join(frames))
    rows, rejects = read_all("code", tmp_path / "a.tar.gz")
    assert {"r/0.py", "r/1.py", "r/29.py"} <= {row["url"] for row in rows} < set(tree)
    assert len(rows) >= 22
    assert len(rejects) == 1


def test_bad_members_of_a_zip_archive_cost_themselves(tmp_path: Path) -> None:
    data = bytearray(zip_of({f"r/{number}.py": b"x = %d\n" % number * 99 for number in range(5)}, zipfile.ZIP_STORED))
    at = data.index(b"x = 2")
    data[at] ^= 1
    (tmp_path / "a.zip").write_bytes(data)
    rows, (reject,) = read_all("code", tmp_path / "a.zip")
    assert [row["url"] for row in rows] == [f"r/{number}.py" for number in (0, 1, 3, 4)]
    assert (reject.reason, reject.sample) == ("member cannot be unpacked: BadZipFile", "r/2.py")
    (tmp_path / "a.zip").write_bytes(data[: len(data) // 2])
    assert [one.reason.split(":")[0] for one in read_all("code", tmp_path / "a.zip")[1]] == ["not a whole zip archive"]


def test_members_of_a_zip_archive_that_share_their_bytes_are_a_bomb(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for number in range(4):
            archive.writestr(f"{number}.py", b"x = 1\n" * 50)
        for member in archive.infolist()[1:3]:
            member.header_offset = archive.infolist()[0].header_offset + member.header_offset % 7
    (tmp_path / "a.zip").write_bytes(out.getvalue())
    rows, rejects = read_all("code", tmp_path / "a.zip")
    assert len(rows) + len(rejects) == 4
    assert sum(one.reason == "members of the archive overlap" for one in rejects) == 2


def test_names_are_data_and_never_paths(tmp_path: Path) -> None:
    names = ["../../etc/passwd.py", "/etc/shadow.py", "a/../../../x.py", "./ok/x.py", "//server/x.py"]
    (tmp_path / "bad.tar").write_bytes(tar_of(dict.fromkeys(names, b"x = 1\n")))
    (tmp_path / "bad.zip").write_bytes(zip_of(dict.fromkeys(names, b"x = 1\n")))
    before = sorted(tmp_path.parent.rglob("*"))
    for name in ("bad.tar", "bad.zip"):
        rows, rejects = read_all("code", tmp_path / name)
        assert [row["url"] for row in rows] == names
        assert [row["repository"] for row in rows] == ["etc", "etc", "a", "ok", "server"]
        assert rejects == []
    assert sorted(tmp_path.parent.rglob("*")) == before


def test_links_pipes_and_history_are_no_documents(tmp_path: Path) -> None:
    outside = write_folder(tmp_path / "outside", {"secret.py": b"key = 1\n"})
    root = write_folder(
        tmp_path / "root", {"a/x.py": b"x = 1\n", "a/.git/config": b"[core]\n", ".github/w.yml": b"on:\n"}
    )
    (root / "link.py").symlink_to(outside / "secret.py")
    (root / "folder").symlink_to(outside)
    (root / "loop").symlink_to(root)
    (root / "inner.py").symlink_to(root / "a/x.py")
    os.mkfifo(root / "pipe.py")
    rows, rejects = read_all("code", root)
    assert ([row["url"] for row in rows], rejects) == ([".github/w.yml", "a/x.py"], [])
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as opened:
        opened.add(root, "root", filter=lambda info: None if info.isfifo() else info)
    (tmp_path / "links.tar").write_bytes(archive.getvalue())
    urls = [row["url"] for row in read_all("code", tmp_path / "links.tar")[0]]
    assert sorted(urls) == ["root/.github/w.yml", "root/a/x.py"]


def test_a_file_that_is_too_long_is_a_reject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar, "RECORD_BYTES", 1 << 20)
    tree = {"r/a.py": b"a\n", "r/long.py": b"x" * (3 << 20), "r/b.py": b"b\n"}
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(tar_of(tree)))
    rows, (reject,) = read_all("code", tmp_path / "a.tar.gz")
    assert [row["url"] for row in rows] == ["r/a.py", "r/b.py"]
    assert (reject.reason, reject.sample) == ("a file of code is at most 1 MiB long", "r/long.py")


def test_bytes_that_are_no_text_are_a_reject(tmp_path: Path) -> None:
    write_folder(tmp_path / "t", {"a.py": b"x\n", "b.py": bytes([0x81, 0xFF] * 40)})
    for form, path in (("code", tmp_path / "t"), ("text", tmp_path / "t")):
        rows, (reject,) = read_all(form, path)
        assert [row["text"] for row in rows] == ["x\n"]
        assert (reject.source, reject.reason.split(":")[0]) == (str(tmp_path / "t/b.py"), "not text")


def test_a_file_whose_name_is_not_utf_8_is_read(tmp_path: Path) -> None:
    with open(os.path.join(os.fsencode(tmp_path), b"caf\xe9.py"), "wb") as file:
        file.write(b"x = 1\n")
    for form in ("code", "text"):
        ((row,), _) = read_all(form, tmp_path)
        assert row["id"] == "caf\\xe9.py"


def test_a_text_file_is_a_document(tmp_path: Path) -> None:
    tree = {
        "books/en/a.txt": b"one",
        "books/ko/b.txt": "둘".encode("utf-8-sig"),
        "books/c.txt.gz": gzip.compress(b"three"),
    }
    write_folder(tmp_path, tree)
    for pattern, names in (
        (f"{tmp_path}/books/**/*.txt*", ["c.txt.gz", "en/a.txt", "ko/b.txt"]),
        (f"{tmp_path}/books", ["c.txt.gz", "en/a.txt", "ko/b.txt"]),
        (f"{tmp_path}/books/*/a.txt", ["en/a.txt"]),
        (f"{tmp_path}/books/en/a.txt", ["a.txt"]),
    ):
        for target in (1, 4, 1000):
            rows, rejects = read_all("text", pattern, target_bytes=target)
            assert ([row["id"] for row in rows], rejects) == (names, [])
    rows, _ = read_all("text", tmp_path / "books")
    assert [row["text"] for row in rows] == ["three", "one", "둘"]


def test_a_damaged_text_file_is_a_reject(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a.txt.gz": gzip.compress(b"text " * 99)[:-9], "b.txt": b"text"})
    rows, (reject,) = read_all("text", tmp_path)
    assert [row["id"] for row in rows] == ["b.txt"]
    assert "ends early" in reject.reason


def test_a_listing_that_changed_is_an_error(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a.txt": b"one", "b.txt": b"two"})
    for form in ("text", "code"):
        (unit,) = units(Source("web", form, (str(tmp_path),)))
        assert not any(isinstance(item, Reject) for item in read(unit))
        (tmp_path / f"c.{form}").write_bytes(b"three")
        list(read(unit))  # what comes behind the unit's own files is another unit's
        (tmp_path / "a.txt").write_bytes(b"changed")
        with pytest.raises(SourceError, match="have changed"):
            list(read(unit))


def test_languages_are_known_by_name_extension_and_first_line() -> None:
    assert len(EXTENSIONS) >= 120
    for name, text, language in [
        ("a.py", "", "Python"), ("A.PY", "", "Python"), ("CMakeLists.txt", "", "CMake"), ("notes.txt", "", "Text"),
        ("x.tar.gz", "", None), (".bashrc", "", "Shell"), (".py", "", None), ("run", "#!/bin/sh -e\n", "Shell"),
        ("run", "#! /usr/bin/perl -w\n", "Perl"), ("run", "#!/usr/bin/env -S node --x\n", "JavaScript"),
        ("run", "#!/opt/strange\n", None), ("run", "#!", None), ("", "", None), ("ls.1", "", "Roff"),
    ]:  # fmt: skip
        assert language_of(name, text) == language
