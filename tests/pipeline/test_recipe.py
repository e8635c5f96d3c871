"""The recipe: every fault at once, with its line and what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.recipe import Recipe, load, parse
from pipeline.recipe_yaml import RecipeError

GOOD = """\
seed: 7
corpora:
  web:
    read: {format: warc, paths: "crawl/*.warc.gz"}
    edits: [main_text]
    presets: [gopher_quality, c4]
    rules:
      language: {in: [en, no]}
      language_score: {min: 0.65}
  books:
    read: {format: jsonl, paths: [a.jsonl, b.jsonl]}
    columns: {id: number}
deduplicate:
  priority: [books, web]
  exact: {unit: document}
  near: {threshold: 0.8}
sample:
  semantic: {model: bundled, clusters: 8, similarity: 0.95}
  mixture: {web: 0.5, books: 0.5}
shards: {tokenizer: {train: 1000}}
budget: {rejects: 0}
decontaminate: {quiz: {paths: quiz.csv, fields: [question, 2]}}
"""


def faults(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        load(path)
    return [fault.removeprefix(f"{path}:") for fault in caught.value.faults]


def test_reads_a_recipe_as_yaml_1_2(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(GOOD, encoding="utf-8")
    recipe = load(path)
    assert recipe.corpora["web"].rules["language"].among == ("en", "no")
    assert recipe.corpora["books"].read.paths == ("a.jsonl", "b.jsonl")
    assert recipe.budget.rejects == 0
    assert recipe.decontaminate["quiz"].fields == ("question", 2)
    assert recipe.base == str(tmp_path)


def test_a_recipe_says_the_same_as_the_object_it_is_read_from():
    recipe = parse({"corpora": {"a": {"read": {"format": "text", "paths": "*.txt"}}}})
    assert Recipe.model_validate({"corpora": {"a": {"read": {"format": "text", "paths": ["*.txt"]}}}}) == recipe


def test_json_of_a_recipe_reads_back_as_the_same_recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(GOOD, encoding="utf-8")
    recipe = load(path)
    (tmp_path / "again.yaml").write_text(recipe.to_json(), encoding="utf-8")
    assert load(tmp_path / "again.yaml").to_json() == recipe.to_json()


def test_names_every_fault_at_once_with_its_line(tmp_path):
    text = (
        GOOD.replace("language_score: {min", "language_scroe: {mim")
        .replace("gopher_quality", "gopher_qualty")
        .replace("main_text", "man_text")
        .replace("[books, web]", "[book, web]")
        .replace("format: jsonl", "format: josnl")
    )
    found = faults(tmp_path, text)
    assert [fault.split(":")[0] for fault in found] == ["5", "6", "9", "9", "11", "14"]
    assert "unknown edit 'man_text'; did you mean 'main_text'?" in found[0]
    assert "unknown preset 'gopher_qualty'; did you mean 'gopher_quality'?" in found[1]
    assert any("no signal writes 'language_scroe'; did you mean 'language_score'?" in fault for fault in found)
    assert any("corpora.web.rules.language_scroe.mim: unknown key; did you mean 'min'?" in fault for fault in found)
    assert "'josnl' is not one of" in found[4]
    assert "did you mean 'jsonl'?" in found[4]
    assert "no corpus is called 'book'; did you mean 'books'?" in found[5]


@pytest.mark.parametrize(
    ("change", "line", "message"),
    [
        (("seed: 7", "sed: 7"), 1, "sed: unknown key; did you mean 'seed'?"),
        (("seed: 7", "seed: -1"), 1, "seed: input should be greater than or equal to 0; found -1"),
        (("{min: 0.65}", "{min: 0.65, max: 0.1}"), 9, "min 0.65 is above max 0.1"),
        (("{min: 0.65}", "{}"), 9, "a rule needs min, max or in"),
        (("{min: 0.65}", "{in: [a]}"), 9, "'language_score' is a number: give min or max, not in"),
        (("{in: [en, no]}", "{min: 1}"), 8, "'language' is text: give in: [...], not min or max"),
        (("{in: [en, no]}", "{in: permisive}"), 8, "no set is called 'permisive'"),
        (("threshold: 0.8", "threshold: 1.5"), 16, "less than or equal to 1"),
        (("train: 1000", "train: 12"), 20, "greater than or equal to 260"),
        (("{tokenizer: {train: 1000}}", "{tokenizer: gpt2}"), 20, "'gpt2' is neither 'path:<tokenizer.json>' nor"),
        (("mixture: {web: 0.5, books: 0.5}", "mixture: {web: 0.5}"), 19, "corpus 'books' has no share"),
        (("model: bundled", "model: minilm"), 18, "model 'minilm' is none of the forms"),
        (("columns: {id: number}", "columns: {idd: number}"), 12, "idd"),
        (("[gopher_quality, c4]", "[c4, c4]"), 6, "preset 'c4' is named twice"),
        (("[main_text]", "{main_text: 1}"), 5, "a list is wanted here"),
        (("  near: {threshold: 0.8}", "  near: {threshold: 0.8}\n  near: {threshold: 0.9}"), 17, "duplicate key"),
        (("paths: quiz", "path: quiz"), 22, "decontaminate.quiz.path: unknown key; did you mean 'paths'?"),
        (("quiz: {", "a quiz: {"), 22, "decontaminate.a quiz: a name is made of letters"),
        (("{unit: document}", "{unit: linee}"), 15, "exact.unit: 'linee' is not one of document, line, paragraph"),
        (("{unit: document}", "[{unit: line}, {unit: line}]"), 13, "exact names the unit 'line' twice"),
        (("{unit: document}", "[{unit: line, occurrence: 2}]"), 15, "unknown key; did you mean 'occurrences'?"),
        (("{unit: document}", "{occurrences: 2}"), 15, "occurrences is for line, paragraph and sentence"),
        (("{unit: document}", "[{unit: line, corpora: wb}]"), 15, "no corpus is called 'wb'; did you mean 'web'?"),
        (("  near: {", "  substring: {}\n  near: {"), 16, "either in words or in bytes"),
        (("  near: {", "  substring: {words: 50, bytes: 500}\n  near: {"), 16, "either in words or in bytes"),
        (("  near: {", "  substring: {words: 5}\n  near: {"), 16, "words: input should be greater than or equal to 8"),
        (("seed: 7", "seed: [7"), 2, "expected"),
        (("seed: 7", "seed: true"), 1, "seed: true has no meaning here"),
        (("{web: 0.5, books: 0.5}", "{web: true, books: 0.5}"), 19, "a share is a number, found true"),
        (("{min: 0.65}", "{min: .nan}"), 9, "finite number"),
        (("{in: [en, no]}", "{in: []}"), 8, "at least one is wanted here"),
        (("{in: [en, no]}", "{in: [en, 3]}"), 8, "a text is wanted here, found 3"),
        (("language_score:", "bands:"), 9, "'bands' holds values of type fixed_size_binary[224]; a rule bounds"),
        (("[books, web]", "[books, web, books]"), 14, "corpus 'books' is named twice"),
        (("format: jsonl", "format: text"), 12, "the format text has no columns to rename"),
        (("  books:", "  my books:"), 10, "a name is made of letters"),
        (("model: bundled", "model: path:nowhere"), 18, "nowhere is not a sentence-transformers model"),
        (("model: bundled", "model: hf:team/model"), 18, "hf:organisation/name@revision"),
        (("{train: 1000}", "path:nowhere.json"), 20, "nowhere.json: No such file or directory"),
        (("{train: 1000}", "path:recipe.yaml"), 20, "not a tokenizer.json"),
        (("seed: 7", "seed: 7\n---"), 2, "expected a single document in the stream, but found another"),
    ],
)
def test_says_where_a_fault_is_and_what_would_be_right(tmp_path, change, line, message):
    found = faults(tmp_path, GOOD.replace(*change))
    assert any(fault.startswith(f"{line}:") and message in fault for fault in found), found


@pytest.mark.parametrize(
    "text",
    ["", "- a\n", "42\n", "\t\n", "corpora: {}\n", "corpora: 3\n", "a: &x [*x]\n", "seed: !!python/object:os.x\n"],
)
def test_refuses_what_is_no_recipe(tmp_path, text):
    assert faults(tmp_path, text)


def test_refuses_bytes_that_are_not_utf8(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(b"seed: 7\n\xff")
    with pytest.raises(RecipeError, match=r"recipe\.yaml:2: byte 8 is not UTF-8"):
        load(path)


def test_refuses_a_page_of_aliases_that_grow_without_end(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "values after following aliases" in faults(tmp_path, "\n".join(lines))[0]


def test_names_a_plugin_that_cannot_be_loaded(tmp_path):
    (tmp_path / "broken.py").write_text("def f(:\n", encoding="utf-8")
    found = faults(tmp_path, GOOD + "plugins: [broken.py, missing.py]\n")
    assert any("plugins.0: cannot be used" in fault and "broken.py" in fault for fault in found)
    assert any("plugins.1: cannot be used" in fault for fault in found)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def f(txt):\n    return txt", "signal 'f': nobody writes 'txt'; did you mean 'text'?"),
        ("def f(words):\n    return words", "which signal 'gopher_quality' writes already"),
        (
            "def f(other):\n    return other\n\n\n@signal(other=pa.int32())\ndef g(mine):\n    return mine",
            "signals read each other in a circle",
        ),
    ],
)
def test_names_what_a_plugins_signals_lack_before_any_work(tmp_path, source, message):
    column = "words" if "already" in message else "mine"
    head = "import pyarrow as pa\nfrom filters.signal import signal\n\n\n"
    (tmp_path / "own.py").write_text(f"{head}@signal({column}=pa.int32())\n{source}\n", encoding="utf-8")
    assert any(message in fault for fault in faults(tmp_path, GOOD + "plugins: [own.py]\n"))


def test_a_path_of_a_model_starts_at_the_recipes_folder(tmp_path):
    recipe = parse({"corpora": {"a": {"read": {"format": "text", "paths": "*.txt"}}}}, base=str(tmp_path))
    assert recipe.named("path:models/mine") == f"path:{tmp_path}/models/mine"
    assert recipe.named("path:/models/mine") == "path:/models/mine"
    assert recipe.named("bundled:minilm") == "bundled:minilm"


def test_relative_paths_start_at_the_base_that_a_recipe_names(tmp_path):
    one = {"corpora": {"a": {"read": {"format": "text", "paths": "*.txt"}}}}
    assert parse(one, base="/own").base == parse({**one, "base": None}, base="/own").base == "/own"
    assert parse({**one, "base": "../other"}, base="/own").base == "/other"
    assert parse({**one, "base": "s3://b/x"}, base="/own").base == "s3://b/x"
    assert parse({**one, "base": "../x"}, base="s3://b/own").base == "s3://b/x"
    assert parse({**one, "base": "/other"}, base="s3://b/own").base == "/other"
    with pytest.raises(RecipeError, match="base: a text is wanted here, found 3"):
        parse({**one, "base": 3})


@pytest.mark.parametrize("base", [".", "sub", "s3://corpora/sources"])
def test_the_file_of_a_recipe_means_the_same_wherever_it_lies(base, tmp_path):
    recipe = parse({"corpora": {"a": {"read": {"format": "text", "paths": "*.txt"}}}}, base=base)
    (tmp_path / "recipe.yaml").write_bytes(recipe.to_yaml())
    again = load(tmp_path / "recipe.yaml")
    assert again.to_json() == recipe.to_json()
    assert again.base == (base if "://" in base else str(Path(base).resolve()))
