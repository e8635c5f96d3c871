"""What a recipe must satisfy beyond its shape: names that exist, with the nearest spelling for those that do not.

The checks run on the data as written, so that faults of shape and faults of meaning are reported together.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, get_args, get_origin

import pyarrow as pa
from pydantic import BaseModel

from filters.signal import SignalError, needed
from pipeline.remote import located

Path_ = tuple[str | int, ...]
Fault = tuple[Path_, str]


def nearest(name: object, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the nearest spelling among `known`, else the list of what is known."""
    choices = sorted(known)
    close = difflib.get_close_matches(str(name), choices, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(choices)}" if choices else ""


def explain(error: Mapping[str, Any], root: type[BaseModel], data: Mapping[str, Any]) -> Fault | None:
    """Turn one of pydantic's errors on `data` into (path, message); None for those that only repeat another."""
    location = _as_written(tuple(part for part in error["loc"] if part not in ("[key]", "Train", "str", "int")), data)
    kind, found = error["type"], error.get("input")
    if kind == "extra_forbidden":
        return location, f"unknown key{nearest(location[-1], _keys(root, location[:-1]))}"
    if kind == "missing":
        return location[:-1], f"{location[-1]!r} is missing"
    if kind == "literal_error":
        allowed = [part.strip(" '") for part in error["ctx"]["expected"].replace(" or ", ", ").split(",")]
        return location, f"{found!r} is not one of {', '.join(allowed)}" + _did_you_mean(found, allowed)
    if kind == "too_short":
        return location, "at least one is wanted here, found none"
    if kind == "string_pattern_mismatch":
        return location, f"a name is made of letters, digits, - and _, and does not begin with - or _; found {found!r}"
    if kind == "string_type" and "Train" not in error["loc"] and "str" not in error["loc"]:
        return location, f"a text is wanted here, found {_shown(found)}"
    if kind == "model_type" or kind == "dict_type":
        return location, f"a mapping is wanted here, found {_shown(found)}"
    if kind == "tuple_type":
        return location, f"a list is wanted here, found {_shown(found)}"
    if kind == "string_type" and "Train" not in error["loc"] and "str" in error["loc"]:
        return None  # the other branch of `tokenizer` says more
    message = error["msg"].removeprefix("Value error, ")
    return location, f"{message[:1].lower()}{message[1:]}" + (
        "" if kind == "value_error" else f"; found {_shown(found)}"
    )


def check(data: Mapping[str, Any], base: str) -> list[Fault]:
    """Return the faults of meaning: unknown presets, edits, rule columns, corpora, sets, models, plugins."""
    from pipeline.recipe_files import named_faults

    faults: list[Fault] = []
    corpora = data.get("corpora")
    corpora = corpora if isinstance(corpora, Mapping) else {}
    kinds = _column_types(data, base, faults) if _names_columns(data, corpora) else {}
    for name, corpus in corpora.items():
        if isinstance(corpus, Mapping):
            faults += _check_corpus(("corpora", name), corpus, kinds)
    for path, named in (
        (("deduplicate", "priority"), _get(data, "deduplicate", "priority")),
        (("deduplicate", "substring", "corpora"), _get(data, "deduplicate", "substring", "corpora")),
        *_exact_corpora(_get(data, "deduplicate", "exact")),
        (("sample", "mixture"), _get(data, "sample", "mixture")),
    ):
        named = [named] if isinstance(named, str) else named
        for index, name in enumerate(named if isinstance(named, (list, tuple, Mapping)) else ()):
            if name not in corpora:
                where = (*path, name) if isinstance(named, Mapping) else (*path, index)
                faults.append((where, f"no corpus is called {name!r}{nearest(name, corpora)}"))
            elif isinstance(named, (list, tuple)) and name in named[:index]:
                faults.append(((*path, index), f"corpus {name!r} is named twice"))
    column = _get(data, "deduplicate", "keep", "quality")
    if column is not None and kinds is not None:
        where = ("deduplicate", "keep", "quality")
        if column not in kinds:
            faults.append((where, f"no signal writes {column!r}{nearest(column, kinds)}"))
        elif not (pa.types.is_integer(kinds[column]) or pa.types.is_floating(kinds[column])):
            faults.append((where, f"{column!r} is no number: the largest value stays"))
    mixture = _get(data, "sample", "mixture")
    if isinstance(mixture, Mapping):
        faults += [
            (("sample", "mixture", name), f"a share is a number, found {str(share).lower()}")
            for name, share in mixture.items()
            if isinstance(share, bool)
        ]
    if isinstance(mixture, Mapping) and mixture and all(isinstance(share, (int, float)) for share in mixture.values()):
        if sum(mixture.values()) <= 0:
            faults.append((("sample", "mixture"), "all shares are 0: nothing would be left"))
        faults += [
            (("sample", "mixture"), f"corpus {name!r} has no share; name every corpus (0 keeps nothing of it)")
            for name in corpora
            if name not in mixture
        ]
    faults += named_faults(data, base)
    return faults


def _exact_corpora(exact: Any) -> list[tuple[Path_, Any]]:
    """Return where corpora are named in `deduplicate.exact`, one mapping or a list of them, and which."""
    if isinstance(exact, (list, tuple)):
        return [(("deduplicate", "exact", index, "corpora"), _get(one, "corpora")) for index, one in enumerate(exact)]
    return [(("deduplicate", "exact", "corpora"), _get(exact, "corpora"))]


def _as_written(path: Path_, data: Any) -> Path_:
    """Return a path without the numbers of lists that the user wrote as the one thing that is in them."""
    written: list[str | int] = []
    for part in path:
        if isinstance(part, int) and not isinstance(data, (list, tuple)):
            continue
        written.append(part)
        if isinstance(data, Mapping):
            data = data.get(part)
        else:
            data = data[part] if isinstance(part, int) and part < len(data) else None
    return tuple(written)


def _check_corpus(at: Path_, corpus: Mapping[str, Any], kinds: Mapping[str, pa.DataType] | None) -> list[Fault]:
    from filters.presets import PRESETS, SETS
    from pipeline.edit import EDITS

    faults: list[Fault] = []
    for key, known, what in (("edits", EDITS, "edit"), ("presets", PRESETS, "preset")):
        names = corpus.get(key)
        for index, name in enumerate(names if isinstance(names, (list, tuple)) else ()):
            if name not in known:
                faults.append(((*at, key, index), f"unknown {what} {name!r}{nearest(name, known)}"))
            elif names is not None and name in names[:index]:
                faults.append(((*at, key, index), f"{what} {name!r} is named twice"))
    form = _get(corpus, "read", "format")
    if corpus.get("columns") and form in ("warc", "wet", "text", "code"):
        faults.append(((*at, "columns"), f"the format {form} has no columns to rename; jsonl and parquet have"))
    bounded = {column: kind for column, kind in (kinds or {}).items() if _can_be_bounded(kind)}
    rules = corpus.get("rules")
    for column, bound in rules.items() if isinstance(rules, Mapping) and kinds is not None else ():
        assert kinds is not None
        where = (*at, "rules", column)
        if column not in kinds:
            faults.append((where, f"no signal writes {column!r}{nearest(column, bounded)}"))
            continue
        if column not in bounded:
            faults.append((where, f"{column!r} holds values of type {kinds[column]}; a rule bounds numbers and texts"))
            continue
        if not isinstance(bound, Mapping):
            continue
        text = _is_text(kinds[column])
        bounds = {key for key, value in bound.items() if value is not None}
        if text and bounds & {"min", "max"}:
            faults.append((where, f"{column!r} is text: give in: [...], not min or max"))
        if not text and "in" in bounds:
            faults.append((where, f"{column!r} is a number: give min or max, not in"))
        if isinstance(bound.get("in"), str) and bound["in"] not in SETS:
            faults.append(
                ((*where, "in"), f"no set is called {bound['in']!r}; give a list, or one of {', '.join(SETS)}")
            )
    return faults


def _can_be_bounded(kind: pa.DataType) -> bool:
    numbers = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal)
    return _is_text(kind) or any(is_number(kind) for is_number in numbers)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _names_columns(data: Mapping[str, Any], corpora: Mapping[str, Any]) -> bool:
    """Tell whether the recipe names columns of signals, or plugins: only then are all signals, which are compiled, loaded."""
    rules = any(_get(corpus, "rules") for corpus in corpora.values())
    return bool(rules or data.get("plugins") or _get(data, "deduplicate", "keep", "quality"))


def _column_types(data: Mapping[str, Any], base: str, faults: list[Fault]) -> Mapping[str, pa.DataType] | None:
    """Return every column a rule may name, with its type; None if a plugin cannot be loaded (its fault is added)."""
    from pipeline.plugins import GIVEN, column_types, plugin_source, writers

    plugins = data.get("plugins") or ()
    plugins = [plugins] if isinstance(plugins, str) else plugins
    names = [str(path) for path in plugins] if isinstance(plugins, (list, tuple)) else []
    broken, loaded = False, []
    for index, name in enumerate(names):
        try:
            path = located(base, name)
            loaded.append((path, plugin_source(path)))
            writers(loaded[-1:])
        except Exception as error:  # a user's file may fail in any way; the recipe's fault list names it
            faults.append((("plugins", index), f"cannot be used: {error}"))
            broken = True
    if broken:
        return None
    try:
        every = writers(loaded)
        for one in {signal.name: signal for signal in every.values()}.values():
            for column in one.reads:
                if column not in every and column not in GIVEN:
                    raise SignalError(
                        f"signal {one.name!r}: nobody writes {column!r}{nearest(column, (*every, *GIVEN))}"
                    )
            needed(one.writes, every, GIVEN)  # finds circles
        return column_types(every)
    except SignalError as error:
        faults.append((("plugins",), str(error)))
        return None


def _keys(model: type[BaseModel], path: Path_) -> list[str]:
    """Return the keys that the part of the recipe at `path` may have."""
    current: Any = model
    named = False  # the next part is a name the user chose, a key of a mapping
    for part in path:
        if isinstance(part, int):
            continue
        if named or not (isinstance(current, type) and issubclass(current, BaseModel)):
            named = False
            continue
        field = next((f for name, f in current.model_fields.items() if part in (name, f.alias)), None)
        current = _model_in(field.annotation) if field else None
        named = field is not None and get_origin(field.annotation) is dict
    if not (isinstance(current, type) and issubclass(current, BaseModel)):
        return []
    return [field.alias or name for name, field in current.model_fields.items()]


def _model_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part)) is not None), None)


def _get(data: Any, *path: str) -> Any:
    for key in path:
        data = data.get(key) if isinstance(data, Mapping) else None
    return data


def _did_you_mean(found: object, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(str(found), list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
