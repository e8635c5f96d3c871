"""Recipe files: YAML 1.2 in, plain values and the line of each out."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

from pipeline.remote import filesystem, is_url, said

MAX_BYTES = 1 << 20
MAX_NODES = 100_000


class RecipeError(ValueError):
    """What is wrong with a recipe: every fault, one line each."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


Lines = dict[tuple[str | int, ...], int]


def read_yaml(path: str) -> tuple[dict[str, Any], Lines]:
    """Return the mapping in a YAML file and the line (from 1) of every key and item; raise RecipeError for bad YAML."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        with _opened(path) as file:
            content = file.read(MAX_BYTES + 1)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise RecipeError([f"{path}: cannot be read: {error.strerror or said(error)}"]) from None
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise RecipeError([f"{path}:{line}: byte {error.start} is not UTF-8; a recipe is UTF-8 text"]) from None
    if len(content) > MAX_BYTES:
        raise RecipeError([f"{path}: more than {MAX_BYTES} bytes; a recipe is a page of YAML"])
    reader = YAML(typ="rt", pure=True)  # keeps positions, and makes no objects: an unknown tag stays a tagged value
    reader.allow_duplicate_keys = False
    try:
        root = reader.load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = (error.problem or error.context or "not YAML").splitlines()[0]
        if problem.startswith("but ") and error.context:  # ruamel's sentence goes over both
            problem = f"{error.context.splitlines()[0]}, {problem}"
        raise RecipeError([f"{path}:{mark.line + 1 if mark else 1}: {problem}"]) from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise RecipeError([f"{path}: not YAML: {str(error).splitlines()[0]}"]) from None
    if not isinstance(root, dict):
        found = "nothing" if root is None else "a list" if isinstance(root, list) else repr(root)[:60]
        raise RecipeError([f"{path}:1: a recipe is a mapping that starts with 'corpora:'; found {found}"])
    lines: Lines = {}
    return _plain(root, (), lines, path), lines


def _opened(path: str) -> IO[bytes]:
    if not is_url(path):
        return Path(path).open("rb")
    files, name = filesystem(path)
    opened: IO[bytes] = files.open(name, "rb")
    return opened


def _plain(node: Any, at: tuple[str | int, ...], lines: Lines, path: str) -> Any:
    """Turn ruamel's nodes into plain values, noting lines; aliases are followed, up to a number of nodes in all."""
    if len(lines) > MAX_NODES:
        raise RecipeError([f"{path}: more than {MAX_NODES} values after following aliases"])
    if isinstance(node, dict):
        result: dict[Any, Any] = {}
        for key, value in node.items():
            lines[(*at, key)] = _line(node, key, lines.get(at, 1))
            result[key] = _plain(value, (*at, key), lines, path)
        return result
    if isinstance(node, list):
        items = []
        for index, value in enumerate(node):
            lines[(*at, index)] = _line(node, index, lines.get(at, 1))
            items.append(_plain(value, (*at, index), lines, path))
        return items
    if isinstance(node, bool) or node is None:
        return node
    for kind in (int, float, str):
        if isinstance(node, kind):
            return kind(node)
    raise RecipeError([f"{path}:{lines.get(at, 1)}: {'.'.join(map(str, at))}: {_kind(node)} has no place here"])


def _kind(node: Any) -> str:
    tag = getattr(getattr(node, "tag", None), "value", None)
    return f"a value with the tag {tag}" if tag else f"a {type(node).__name__}"


def _line(node: Any, key: Any, around: int) -> int:
    """Return the line of a key or an item; that of what is around it where a merge or an alias brought it in."""
    found = (node.lc.data or {}).get(key)
    return found[0] + 1 if found else around
