"""A buffer over a stream, for records that say how long they are."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

from pipeline.read.streams import Damage, Event, Start


class Window:
    """The bytes from the current place on, as many as were asked for, and where they come from.

    Reading stops at damage: `want` is False, `damage` says why, and `resume` goes on behind it.
    """

    def __init__(self, events: Iterator[Event], start: int = 0) -> None:
        self.data = bytearray()
        self.damage: Damage | None = None
        self._places: list[int] = []  # where in the stream the members start that are not left behind …
        self._members: list[int] = []  # … and at which byte of the file
        self.place = start  # of data[0] in the stream
        self._events = events

    def want(self, size: int) -> bool:
        """Hold at least `size` bytes; False if the stream ends or breaks before."""
        while len(self.data) < size:
            if self.damage is not None:
                return False
            event = next(self._events, None)
            if event is None:
                return False
            if isinstance(event, bytes):
                self.data += event
            elif isinstance(event, Start):
                self._places.append(self.place + len(self.data))
                self._members.append(event.at)
            else:
                self.damage = event
        return True

    def skip(self, size: int) -> int:
        """Leave `size` bytes behind, holding none of them; return how many there were."""
        left = size
        while left > len(self.data):
            left -= len(self.data)
            self._leave(len(self.data))
            if not self.want(1):
                return size - left
        self._leave(left)
        return size

    def origin(self, at: int = 0) -> int:
        """Return the byte of the file where the member of data[at] starts; its place if the file is not packed."""
        index = bisect_right(self._places, self.place + at) - 1
        return self._members[index] if index >= 0 else self.place + at

    def starts_member(self, at: int) -> bool:
        """Whether data[at] is the first byte of a member or frame."""
        return self.place + at in self._places

    def spoilt(self, at: int) -> bool:
        """Whether the damage ahead is in the member of data[at]."""
        return self.damage is not None and self.damage.at == self.origin(at)

    def close(self) -> None:
        """Read nothing more of the stream."""
        self._events = iter(())
        self.damage = None

    def resume(self) -> None:
        """Go on behind the damage: at the next member or frame."""
        self._leave(len(self.data))
        self.damage = None

    def _leave(self, size: int) -> None:
        del self.data[:size]
        self.place += size
        index = bisect_right(self._places, self.place) - 1
        if index > 0:
            del self._places[:index]
            del self._members[:index]
