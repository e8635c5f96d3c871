"""Near-duplicate removal: its speed, memory, growth and quality, beside datatrove's and rensa's in the same run.

    benchmarks/peers.sh                                            once: datatrove and rensa, in environments of their own
    python benchmarks/dedup.py [--documents N] [--json]            10,000 documents by default, the peer on 3,000
    python benchmarks/dedup.py --documents 100000 --peer-documents 100000
    python benchmarks/dedup.py --documents 1000000 --no-peers --parts speed
    python benchmarks/dedup.py --parts quality adversarial

Every contender is a process of its own that reads Parquet files and writes the kept documents to others. CPU seconds are
user and system time of it and of all that it starts, imports included. Memory is the most of the whole tree, shared pages
counted once. What one process and two take is the median of `--rounds`. Seconds on the clock, so `two_cores_vs_one`, mean
something only on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from neardup import corpus, inside, quality
from neardup.measure import ROOT, Spent, spend

HERE = Path(__file__).resolve().parent
PEERS = Path(os.environ.get("CORPUSMILL_PEERS", HERE / ".peers"))
SHARED = Path(os.environ.get("CORPUSMILL_SHARED", ROOT.parent / "shared"))
PARTS = ("signatures", "speed", "quality", "adversarial")
Figures = dict[str, float]


def clear(target: Path) -> None:
    """Make room for another run in this folder: what lies there is emptied and put aside, to be removed at the end.

    For some minutes after files were removed, ext4 without a journal looks long for a number for each new one.
    """
    for path in target.rglob("*"):
        if path.is_file() and not path.is_symlink():
            os.truncate(path, 0)
    if target.exists():
        target.rename(tempfile.mkdtemp(prefix="done-", dir=target.parent))


def ours(source: Path, target: Path, *options: str) -> Spent:
    clear(target)
    return spend([sys.executable, "-m", "neardup.ours", str(source), str(target), *options])


def peer(name: str) -> str | None:
    """Return the Python of a peer's environment; None, and say so, where it has none."""
    python = PEERS / name / "bin" / "python"
    if python.exists():
        return str(python)
    print(f"no {name}: benchmarks/peers.sh sets it up")
    return None


def datatrove(source: Path, target: Path, workers: int = 1) -> Spent | None:
    python = peer("datatrove")
    clear(target)
    script = str(HERE / "neardup" / "with_datatrove.py")
    return spend([python, script, str(source), str(target), str(workers)]) if python else None


def middle(runs: list[Spent]) -> Spent:
    """Return the median of the times that the same run took, and the most of its memory."""
    return Spent(
        **{name: statistics.median([getattr(run, name) for run in runs]) for name in ("cpu_seconds", "seconds")},
        **{name: max(getattr(run, name) for run in runs) for name in ("peak_bytes", "processes")},
        output=runs[-1].output,
    )


def texts_of(folder: Path) -> dict[int, str]:
    tables = [pq.read_table(path) for path in sorted(folder.glob("*.parquet"))]
    return {int(row["id"]): row["text"] for table in tables for row in table.to_pylist()}


def cost_of_starting(scratch: Path) -> float:
    """Return the CPU seconds of a run of 100 documents: imports, and loading what numba has compiled."""
    source = corpus.write_generated(scratch / "100", 100)
    ours(source, scratch / "run")  # compiles what is not compiled yet
    return ours(source, scratch / "run").cpu_seconds


def signatures(scratch: Path, options: argparse.Namespace) -> Figures:
    """Documents per CPU-second from text to band hashes, and the permutations alone beside rensa's."""
    source = corpus.write_generated(scratch / "10000", 10_000)
    text = pq.read_table(source / "00000.parquet")["text"].combine_chunks()
    whole = inside.sign(text)
    figures = {"signatures_documents_per_second": len(text) / whole}
    mine = inside.permute(text, scratch / "hashes.npz")
    figures["permutations_documents_per_second"] = len(text) / mine
    python = peer("rensa") if options.peers else None
    if python:
        script, given = (
            str(HERE / "neardup" / "with_rensa.py"),
            [str(scratch / "hashes.npz"), f"{source}/00000.parquet"],
        )
        spent = spend([python, script, *given, str(inside.PERMUTATIONS)], {"RAYON_NUM_THREADS": "1"})
        theirs = json.loads(spent.output.splitlines()[0])
        figures |= {
            "rensa_documents_per_second": len(text) / theirs["hashes"],
            "signatures_vs_rensa": theirs["hashes"] / mine,
            "rensa_from_text_documents_per_second": len(text) / theirs["text"],
            "signatures_from_text_vs_rensa": theirs["text"] / whole,
        }
    return figures


def speed(scratch: Path, options: argparse.Namespace) -> Figures:
    """End to end: ours through Beam with one process and two, in a bare loop, and datatrove's four stages."""
    count = options.documents
    sizes = [size for size in (10_000, 100_000, 1_000_000) if size < count]
    sizes = [*(sizes or [count // 8]), count]
    start_up = cost_of_starting(scratch)
    runs = []
    for size in sizes:
        runs.append(ours(corpus.write_generated(scratch / str(size), size), scratch / "run"))
        print(f"{size:9,} documents: {runs[-1].cpu_seconds:.1f} CPU-s, {runs[-1].peak_bytes / 1e6:,.0f} MB", flush=True)
    source = scratch / str(count)
    held, linked = inside.clustering_state(scratch / "run", count)
    ones, twos = [runs[-1]], []
    for last in range(options.rounds):  # in turn: a machine that others use is faster now and slower then
        twos.append(ours(source, scratch / "run", "--workers", "2"))
        if last < options.rounds - 1:
            ones.append(ours(source, scratch / "run"))
    one, two = middle(ones), middle(twos)
    print(
        "seconds of one process and of two: "
        + ", ".join(f"{a.seconds:.1f} {b.seconds:.1f}" for a, b in zip(ones, twos, strict=True))
    )
    bare = ours(source, scratch / "run", "--bare")
    stages = json.loads(next(line for line in bare.output.splitlines() if line.startswith("{")))
    print("bare loop, CPU-s by stage: " + ", ".join(f"{name} {seconds:.2f}" for name, seconds in stages.items()))
    work = [max(0.01, run.cpu_seconds - start_up) for run in runs]
    figures = {
        "documents": count,
        "start_up_cpu_seconds": start_up,
        "cpu_seconds": one.cpu_seconds,
        "seconds": one.seconds,
        "near_duplicates_documents_per_cpu_second": count / one.cpu_seconds,
        "bare_loop_cpu_seconds": bare.cpu_seconds,
        "beam_share": (one.cpu_seconds - bare.cpu_seconds) / one.cpu_seconds,
        "two_processes_cpu_seconds": two.cpu_seconds,
        "two_processes_seconds": two.seconds,
        "two_cores_vs_one": one.seconds / two.seconds,
        "growth_exponent": float(np.polyfit(np.log(sizes), np.log(work), 1)[0]),
        "peak_bytes": one.peak_bytes,
        "two_processes_peak_bytes": two.peak_bytes,
        "peak_bytes_per_document": (one.peak_bytes - runs[0].peak_bytes) / (count - sizes[0]),
        "peak_within_1.5_gb_and_64_bytes_per_document": float(
            max(one.peak_bytes, two.peak_bytes) <= 1.5e9 + 64 * count
        ),
        "clustering_bytes_per_node": held / max(1, linked),
    }
    if options.peers:
        some = min(count, options.peer_documents)
        source = corpus.write_generated(scratch / str(some), some)
        theirs = datatrove(source, scratch / "datatrove")
        if theirs:
            each = theirs.cpu_seconds / some
            figures |= {
                "datatrove_documents": some,  # where these are fewer, their cost per document is taken as it is
                "datatrove_cpu_seconds": theirs.cpu_seconds,
                "datatrove_documents_per_cpu_second": 1 / each,
                "datatrove_peak_bytes": theirs.peak_bytes,
                "near_duplicates_vs_datatrove": each * count / one.cpu_seconds,
                "near_duplicates_vs_datatrove_two_processes": each * count / two.cpu_seconds,
            }
            if some <= 10_000:
                both = datatrove(source, scratch / "datatrove", 2)
                assert both is not None
                figures["datatrove_two_cores_vs_one"] = theirs.seconds / both.seconds
    return figures


def planted(scratch: Path, options: argparse.Namespace) -> Iterator[tuple[str, float]]:
    count = min(10_000, options.documents)
    source = corpus.write_generated(scratch / str(count), count)
    texts = texts_of(source)
    pairs = quality.planted_pairs(texts, dict(enumerate(corpus.sources(np.arange(count)).tolist())))
    yield "planted_pairs", len(pairs)
    yield from compared("planted", source, texts, pairs, scratch, options)


def compared(
    name: str, source: Path, texts: dict[int, str], pairs: set[quality.Pair], scratch: Path, options: argparse.Namespace
) -> Iterator[tuple[str, float]]:
    """Yield our figures on texts whose similar pairs are known, and datatrove's on the same texts."""
    ours(source, scratch / "run")
    found = inside.outcome(scratch / "run")
    kept = {number for number, document in found.items() if document.reason is None}
    yield f"removed_{name}", len(texts) - len(kept)
    yield f"recall_{name}", 1 - quality.missed(pairs, kept)
    yield f"missed_{name}", quality.missed(pairs, kept)
    yield f"precision_{name}", quality.verified(texts, found)[0]
    yield f"precision_of_neighbours_{name}", quality.justified(pairs, set(texts) - kept)
    if options.peers and datatrove(source, scratch / "datatrove"):
        kept = inside.kept(scratch / "datatrove" / "kept")
        yield f"datatrove_removed_{name}", len(texts) - len(kept)
        yield f"datatrove_recall_{name}", 1 - quality.missed(pairs, kept)
        yield f"datatrove_missed_{name}", quality.missed(pairs, kept)
        yield f"datatrove_precision_of_neighbours_{name}", quality.justified(pairs, set(texts) - kept)


def real(scratch: Path, options: argparse.Namespace) -> Iterator[tuple[str, float]]:
    if not (SHARED / "vectors").is_dir() or not (SHARED / "data").is_dir():
        print(f"no figures on real texts and on the chain: {SHARED} is not there (set CORPUSMILL_SHARED)")
        return
    texts, pairs = quality.real_texts(SHARED)
    yield "near_pairs", len(pairs)
    source = corpus.write_texts(scratch / "real", texts)
    yield from compared("near_pairs", source, dict(enumerate(texts)), pairs, scratch, options)
    texts = quality.chain(SHARED / "vectors")
    source = corpus.write_texts(scratch / "chain", texts)
    ours(source, scratch / "run")
    found = inside.outcome(scratch / "run")
    right, least = quality.verified(dict(enumerate(texts)), found)
    removed = sum(document.reason is not None for document in found.values())
    yield "chain_kept", len(texts) - removed
    yield "chain_removed_below_threshold", round((1 - right) * removed)
    yield "chain_least_similarity", least
    if options.peers and datatrove(source, scratch / "datatrove"):
        yield "datatrove_chain_kept", len(inside.kept(scratch / "datatrove" / "kept"))


def adversarial(scratch: Path, options: argparse.Namespace) -> Iterator[tuple[str, float]]:
    """CPU seconds of unkind corpora over those of the generated one of the same size, start-up taken off both."""
    count = min(options.documents, options.adversarial_documents)
    start_up = cost_of_starting(scratch)
    kind = ours(corpus.write_generated(scratch / str(count), count), scratch / "run").cpu_seconds - start_up
    yield "adversarial_documents", count
    for name, make in corpus.ADVERSARIAL.items():
        source = corpus.write_generated(scratch / name, count, make)
        yield f"adversarial_{name}", (ours(source, scratch / "run").cpu_seconds - start_up) / kind
        shutil.rmtree(source)


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    arguments.add_argument("--documents", type=int, default=10_000, metavar="N", help="at least 1,000")
    arguments.add_argument("--peer-documents", type=int, default=3000, metavar="N", help="that datatrove gets")
    arguments.add_argument(
        "--rounds", type=int, default=3, metavar="N", help="of one process and two, in turn: medians"
    )
    arguments.add_argument("--adversarial-documents", type=int, default=10_000, metavar="N")
    arguments.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS)
    arguments.add_argument("--peers", action=argparse.BooleanOptionalAction, default=True)
    arguments.add_argument("--scratch", type=Path, help="a folder for corpora, kept; default: a temporary one")
    arguments.add_argument("--json", action="store_true", help="print one object {figure: value} as the last line")
    options = arguments.parse_args()
    options.documents, options.rounds = max(1000, options.documents), max(1, options.rounds)

    figures: Figures = {}
    with tempfile.TemporaryDirectory() as temporary:
        scratch = options.scratch or Path(temporary)
        for part in options.parts:
            if part == "signatures":
                found = signatures(scratch, options).items()
            elif part == "speed":
                found = speed(scratch, options).items()
            elif part == "quality":
                found = (figure for group in (planted, real) for figure in group(scratch, options))
            else:
                found = adversarial(scratch, options)
            for name, value in found:
                figures[name] = value
                print(f"{name:56} {value:16,.{0 if abs(value) >= 100 or value == int(value) else 4}f}", flush=True)
        for done in scratch.glob("done-*"):
            shutil.rmtree(done)
    if options.json:
        print(json.dumps({name: round(value, 5) if math.isfinite(value) else None for name, value in figures.items()}))


if __name__ == "__main__":
    main()
