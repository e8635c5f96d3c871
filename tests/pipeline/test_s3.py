"""Sources, recipes and run folders on S3: the same bytes as on a disk, whatever the network does meanwhile."""

from __future__ import annotations

import gzip
import json
import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any

import boto3
import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.cli import main
from pipeline.manifest import RunError
from pipeline.recipe import RecipeError, load, parse
from pipeline.remote import RemoteError
from pipeline.report import write_report
from pipeline.run import run
from pipeline.store import Store
from pipeline.why import why
from tests.pipeline.corpora import documents, recipe, text, write_corpora
from tests.pipeline.read_sources import http, packed, record
from tests.pipeline.test_run import published


def write_all_formats(folder: Path) -> None:
    """Write a corpus in each format: JSON lines, Parquet, WARC, text files, and an archive of code."""
    write_corpora(folder)
    rows = documents(20, start=300)
    pq.write_table(pa.Table.from_pylist(rows), folder / "table.parquet", row_group_size=7)
    pages = [http(f"<html><body><p>{text(700 + number, 200)}</p></body></html>".encode()) for number in range(9)]
    (folder / "crawl.warc.gz").write_bytes(b"".join(packed([record(n, page) for n, page in enumerate(pages)])))
    held = BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        for path in sorted((folder / "tree").rglob("*.py")):
            archive.add(path, path.relative_to(folder).as_posix(), filter=_plain)
    (folder / "tree.tar.gz").write_bytes(gzip.compress(held.getvalue(), mtime=0))


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.mtime = entry.uid = entry.gid = 0
    return entry


def few_books(**changes: Any) -> dict[str, Any]:
    """Return the recipe of `write_corpora` with two books of nine: each is a unit of work, of some fifty requests."""
    whole = recipe()
    whole["corpora"]["books"]["read"]["paths"] = ["books/book-0.txt", "books/book-copy.txt"]
    return whole | changes


def all_formats(**changes: Any) -> dict[str, Any]:
    whole = few_books()
    whole["corpora"]["code"]["read"] = {"format": "code", "paths": "tree.tar.gz"}
    whole["corpora"]["table"] = {"read": {"format": "parquet", "paths": "table.parquet"}}
    whole["corpora"]["crawl"] = {"read": {"format": "warc", "paths": "*.warc.gz"}, "edits": ["main_text"]}
    return whole | changes


def without_versions(files: dict[str, bytes]) -> dict[str, Any]:
    """Return published files, the manifests without what tells one storage's version of the sources from another's."""
    known: dict[str, Any] = dict(files)
    known["manifest.json"] = json.loads(files["manifest.json"]) | {"run": ""}
    shards = json.loads(files["shards/manifest.json"])
    known["shards/manifest.json"] = shards | {"fingerprint": "", "about": shards["about"] | {"run": ""}}
    return known


def remote(s3, below: str = "run") -> dict[str, bytes]:
    """Return the published files of a run on S3 but the report, as `published` does of a folder."""
    return s3.objects(below, "documents/", "ledger/", "rejects/", "shards/", "manifest.json")


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    write_all_formats(folder)
    return folder


@pytest.fixture(scope="module")
def local(sources, tmp_path_factory) -> dict[str, bytes]:
    """What a run of `few_books` publishes that has seen no S3."""
    root = tmp_path_factory.mktemp("local") / "run"
    run(parse(few_books(), base=str(sources)), str(root))
    return published(root)


@pytest.fixture
def uploaded(s3, sources):
    s3.files.put(f"{sources}/", f"{s3.folder}/sources/", recursive=True)
    return s3


def test_a_run_from_s3_to_s3_publishes_what_a_local_run_does(uploaded, sources, tmp_path):
    s3, base = uploaded, f"{uploaded.folder}/sources"
    outcome = run(parse(all_formats(), base=base), f"{s3.folder}/run")
    run(parse(all_formats(), base=base), str(tmp_path / "to-disk"))
    run(parse(all_formats(), base=str(sources)), str(tmp_path / "local"))
    assert remote(s3) == published(tmp_path / "to-disk")
    assert without_versions(remote(s3)) == without_versions(published(tmp_path / "local"))
    read = {name: corpus["documents"]["read"] for name, corpus in outcome.manifest["corpora"].items()}
    assert read == {"web": 60, "books": 2, "code": 6, "table": 20, "crawl": 9}

    before = s3.files.find(f"{s3.folder}/run", detail=True)
    assert run(parse(all_formats(), base=base), f"{s3.folder}/run").already
    assert s3.files.find(f"{s3.folder}/run", detail=True) == before

    assert "fails" in why(f"{s3.folder}/run", "short")
    assert write_report(f"{s3.folder}/run") == f"{s3.folder}/run/report.html"
    # fsspec and datasets both know where S3 is from the environment
    loaded = datasets.load_from_disk(f"{s3.folder}/run/shards")
    assert len(loaded) == outcome.manifest["documents"]["kept"]


def test_a_run_from_a_disk_to_s3_publishes_the_same_bytes_with_two_workers(s3, sources, local):
    run(parse(few_books(), base=str(sources)), f"{s3.folder}/run", workers=2)
    assert remote(s3) == local


def test_a_recipe_on_s3_starts_its_paths_there(uploaded, tmp_path, capsys):
    s3 = uploaded
    plugin = "import pyarrow as pa\nimport pyarrow.compute as pc\nfrom filters.signal import signal\n\n\n"
    plugin += "@signal(rivers=pa.int32())\ndef rivers(text):\n    return pc.count_substring(text, 'river')\n"
    lines = [
        "corpora:",
        "  web:",
        "    read: {format: jsonl, paths: ../sources/web/*}",
        "    rules: {rivers: {min: 1}}",
        "plugins: signals/mine.py",
        "budget: {rejects: 0.1}",
    ]
    s3.files.pipe_file(f"{s3.folder}/recipes/web.yaml", "\n".join(lines).encode())
    s3.files.pipe_file(f"{s3.folder}/recipes/signals/mine.py", plugin.encode())
    assert load(f"{s3.folder}/recipes/web.yaml").base == f"{s3.folder}/recipes"
    assert main(["run", f"{s3.folder}/recipes/web.yaml", "--out", str(tmp_path / "run"), "--workers", "1"]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    dropped = json.loads((tmp_path / "run" / "manifest.json").read_text())["documents"]["dropped"]
    assert dropped["rules.rivers"] > 0
    s3.files.rm_file(f"{s3.folder}/recipes/signals/mine.py")
    assert main(["check", f"{s3.folder}/recipes/web.yaml"]) == 2
    assert "recipes/web.yaml:5: plugins" in (found := capsys.readouterr().err)
    assert "no such file" in found


def test_a_tokenizer_is_taken_from_s3(s3, sources, local):
    given = local["shards/tokenizer.json"]
    s3.files.pipe_file(f"{s3.folder}/given.json", given)
    one = {"corpora": {"table": {"read": {"format": "parquet", "paths": f"{sources}/table.parquet"}}}}
    run(parse({**one, "shards": {"tokenizer": "path:given.json"}}, base=s3.folder), f"{s3.folder}/run")
    assert s3.files.cat_file(f"{s3.folder}/run/shards/tokenizer.json") == given
    with pytest.raises(RecipeError, match=r"none\.json: no such file"):
        parse({**one, "shards": {"tokenizer": "path:none.json"}}, base=s3.folder)


def test_a_source_on_s3_that_changed_is_read_again(s3, tmp_path):
    rows = [json.dumps(row).encode() for row in documents(6)]
    one = {"corpora": {"web": {"read": {"format": "jsonl", "paths": "a.jsonl"}}}}
    for count in (4, 6):
        s3.files.pipe_file(f"{s3.folder}/a.jsonl", b"\n".join(rows[:count]))
        outcome = run(parse(one, base=s3.folder), f"{s3.folder}/run")
        assert (outcome.already, outcome.manifest["documents"]["read"]) == (False, count)


def test_a_write_that_is_cut_publishes_nothing_and_the_rerun_gives_the_same_bytes(s3, sources, local):
    one = parse(few_books(), base=str(sources))
    always = 10**6
    s3.proxy.faults.append((b"PUT /" + s3.folder.removeprefix("s3://").encode() + b"/run/shards/", 0, "cut"))
    s3.proxy.faults.append((b"run/work/shards/", always, "cut"))
    with pytest.raises(RunError, match="the run failed") as failed:
        run(one, f"{s3.folder}/run")
    assert "\n" not in str(failed.value)
    assert s3.proxy.met
    left = s3.objects("run")
    assert not [name for name in left if name.startswith(("shards/", "work/shards/", "manifest.json"))]
    s3.proxy.faults.clear()
    run(one, f"{s3.folder}/run")
    assert remote(s3) == local
    after = s3.objects("run")
    assert {name: after[name] for name in left if name.startswith("work/")} == {
        name: data for name, data in left.items() if name.startswith("work/")
    }


def test_a_few_cuts_and_busy_answers_are_waited_out(s3, sources, local):
    one = parse(few_books(), base=str(sources))
    root = s3.folder.removeprefix("s3://").encode() + b"/run/"
    kinds: list[tuple[bytes, str | int]] = [
        (b"PUT /" + root + b"work/read/", "cut"),
        (b"PUT /" + root + b"recipe", 503),
    ]
    kinds += [(b"GET /" + root + b"work/read/", 500), (b"HEAD /" + root + b"work/measured/", 503)]
    kinds += [(b"GET /" + root + b"work/measured/", "cut"), (b"PUT /" + root + b"manifest.json", 500)]
    s3.proxy.faults += [(kind, 1, fault) for kind, fault in kinds]
    run(one, f"{s3.folder}/run")
    assert len(s3.proxy.met) == len(kinds)
    assert remote(s3) == local


@pytest.mark.parametrize(("request_line", "status"), [(b"GET /", 503), (b"PUT /", 500), (b"HEAD /", 403)])
def test_storage_that_stays_away_is_told_in_one_line(s3, sources, capsys, request_line, status, tmp_path):
    (tmp_path / "recipe.yaml").write_text(
        f"corpora: {{web: {{read: {{format: jsonl, paths: {sources}/web/b.jsonl.gz}}}}}}", encoding="utf-8"
    )
    s3.proxy.faults.append((request_line, 10**6, status))
    assert main(["run", str(tmp_path / "recipe.yaml"), "--out", f"{s3.folder}/run", "--workers", "1"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(s3.folder)


def test_a_bucket_that_is_not_there_and_a_protocol_nobody_speaks_are_told_in_one_line(s3, sources, capsys, tmp_path):
    (tmp_path / "recipe.yaml").write_text(
        f"corpora: {{web: {{read: {{format: jsonl, paths: {sources}/web/b.jsonl.gz}}}}}}", encoding="utf-8"
    )
    for out, message in (("s3://no-such-bucket/run", "bucket"), ("nosuch://x/run", "nosuch")):
        assert main(["run", str(tmp_path / "recipe.yaml"), "--out", out, "--workers", "1"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert out in line
        assert message in line


def test_a_source_that_breaks_off_is_an_error_and_no_reject(uploaded):
    s3 = uploaded
    one = {"corpora": {"table": {"read": {"format": "parquet", "paths": "table.parquet"}}}}
    plan = parse(one, base=f"{s3.folder}/sources")
    s3.proxy.faults.append((b"GET /corpora/" + s3.folder.rsplit("/", 1)[1].encode() + b"/sources/table", 10**6, 500))
    with pytest.raises(RunError, match=r"sources/table\.parquet: cannot be read"):
        run(plan, f"{s3.folder}/run")


def test_training_says_how_to_fetch_shards_from_s3(capsys):
    assert main(["train", "s3://corpora/run"]) == 2
    assert "fsspec.url_to_fs('s3://corpora/run/shards/')" in capsys.readouterr().err


def test_a_store_sees_at_once_what_another_writes(s3):
    root = f"{s3.folder}/run"
    ours, theirs = Store(root), Store(root)
    assert ours.names("a") == []
    assert not ours.exists("a/one")
    s3.files.pipe_file(f"{root}/a/one", b"1")  # as another process does, of which our store hears nothing
    assert ours.exists("a/one")
    assert (ours.names("a"), ours.size("a/one")) == (["a/one"], 1)
    theirs.write("a/one", b"22")
    assert (ours.read("a/one"), ours.size("a/one"), ours.read_range("a/one", 1, 2)) == (b"22", 2, b"2")
    theirs.link("a/one", "b/two")
    theirs.remove("a/one")
    assert (ours.names("a"), ours.names("b"), ours.read("b/two")) == ([], ["b/two"], b"22")
    with pytest.raises(FileNotFoundError):
        ours.read("a/one")
    with ours.open("b/two") as file:
        assert file.read() == b"22"


def test_a_write_that_fails_leaves_the_old_object(s3):
    store = Store(f"{s3.folder}/run")
    store.write("x", b"old")
    with pytest.raises(ZeroDivisionError), store.create("x") as file:
        file.write(b"new")
        raise ZeroDivisionError
    assert store.read("x") == b"old"
    s3.proxy.faults.append((b"PUT /", 10**6, "cut"))
    with pytest.raises(RemoteError, match=r"run/x: "):
        store.write("x", b"new" * 10**6)
    s3.proxy.faults.clear()
    assert store.read("x") == b"old"


def test_uploads_that_a_killed_run_did_not_end_are_aborted_and_no_others(s3, sources):
    client = boto3.client("s3", endpoint_url=s3.environment["AWS_ENDPOINT_URL"])
    folder = s3.folder.removeprefix("s3://corpora/")
    for key in (f"{folder}/run/work/shards/half", f"{folder}/other/half"):
        started = client.create_multipart_upload(Bucket="corpora", Key=key)
        client.upload_part(Bucket="corpora", Key=key, PartNumber=1, UploadId=started["UploadId"], Body=b"half")
    one = {"corpora": {"web": {"read": {"format": "jsonl", "paths": "web/b.jsonl.gz"}}}}
    run(parse(one, base=str(sources)), f"{s3.folder}/run")
    left = client.list_multipart_uploads(Bucket="corpora").get("Uploads", [])
    assert [upload["Key"] for upload in left if upload["Key"].startswith(folder)] == [f"{folder}/other/half"]
    client.close()
