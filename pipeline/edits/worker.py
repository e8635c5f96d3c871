"""The process that extracts the pages which may be slow: `python -m pipeline.edits.worker main_text`.

It reads requests from its standard input and answers each on its standard output, both as frames: a status byte, the
length as four bytes, and that many bytes of UTF-8. It ends when its input is closed, so it does not outlive its parent;
and the kernel ends it when a page takes too long, even inside a C library, so no one needs to be alive to kill it.
"""

from __future__ import annotations

import os
import resource
import signal
import struct
import sys
import traceback
from typing import IO

DEADLINE_SECONDS = 3.0
"""Processor time for one page. Processor time, not time on the clock: a busy machine must not change what is kept."""
STALL_SECONDS = 120.0
"""Time on the clock for one page: only a process that waits for something can reach it."""
MEMORY_BYTES = 4 << 30

READY, TEXT, UNREADABLE, BROKEN = b"+", b"=", b"?", b"!"
"""Statuses: started; the page's text; why this page has none; a traceback: the fault is not the page's."""
FRAME = struct.Struct("<cI")


def write_frame(stream: IO[bytes], status: bytes, payload: bytes = b"") -> None:
    stream.write(FRAME.pack(status, len(payload)))
    stream.write(payload)
    stream.flush()


def read_frame(stream: IO[bytes]) -> tuple[bytes, bytes] | None:
    """Return (status, payload) of the next frame; None where the stream ends, in the middle of a frame too."""
    head = stream.read(FRAME.size)
    if len(head) < FRAME.size:
        return None
    status, length = FRAME.unpack(head)
    payload = stream.read(length)
    return (status, payload) if len(payload) == length else None


def serve(name: str, requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer until the requests end."""
    from pipeline.edits.extract import EXTRACTORS, UnreadableError

    extract = EXTRACTORS[name]
    extract("<p>The first page loads what is loaded late.</p>")
    write_frame(answers, READY)
    while (request := read_frame(requests)) is not None:
        signal.setitimer(signal.ITIMER_PROF, DEADLINE_SECONDS)
        signal.setitimer(signal.ITIMER_REAL, STALL_SECONDS)
        try:
            status, answer = TEXT, extract(request[1].decode("utf-8", "replace"))
        except UnreadableError as error:
            status, answer = UNREADABLE, str(error)
        except MemoryError:
            status, answer = UNREADABLE, "memory"
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        write_frame(answers, status, answer.encode("utf-8", "replace"))


def main() -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it too, and closes our input
    for alarm in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(alarm, signal.SIG_DFL)  # which is to die, wherever the program is
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    try:
        serve(sys.argv[1], sys.stdin.buffer, answers)
    except BrokenPipeError:
        return 0
    except Exception:
        write_frame(answers, BROKEN, traceback.format_exc().encode("utf-8", "replace"))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
