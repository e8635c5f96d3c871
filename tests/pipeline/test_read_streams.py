"""Streams: what was packed is unpacked, and damage costs the member it is in."""

from __future__ import annotations

import gzip
import io
import zlib

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.read.streams import Damage, Feed, Start, events

parts = st.lists(st.binary(max_size=300), max_size=6)


def unpack(data: bytes) -> tuple[bytes, list[int], list[Damage]]:
    found = list(events(io.BytesIO(data)))
    return (
        b"".join(event for event in found if isinstance(event, bytes)),
        [event.at for event in found if isinstance(event, Start)],
        [event for event in found if isinstance(event, Damage)],
    )


def zstd(data: bytes, checksum: bool = True, known_size: bool = True) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=checksum, write_content_size=known_size).compress(data)


@given(parts)
@settings(deadline=None)
def test_gzip_members_unpack_to_what_was_packed_and_start_where_they_start(several: list[bytes]) -> None:
    members = [gzip.compress(part, mtime=0) for part in several]
    starts = [sum(map(len, members[:index])) for index in range(len(members))]
    assert unpack(b"".join(members)) == (b"".join(several), starts, [])


@given(parts, st.booleans(), st.booleans())
@settings(deadline=None)
def test_zstd_frames_unpack_to_what_was_packed_and_start_where_they_start(
    several: list[bytes], checksum: bool, known_size: bool
) -> None:
    frames = [zstd(part, checksum, known_size) for part in several]
    starts = [sum(map(len, frames[:index])) for index in range(len(frames))]
    assert unpack(b"".join(frames)) == (b"".join(several), starts, [])


@pytest.mark.parametrize("level", [1, 3, 19])
def test_zstd_of_many_blocks_and_no_block_header_is_taken_for_another(level: int) -> None:
    text = b"".join(b"%d lines of text\n" % (number * 7919 % 10007) for number in range(60_000)) + bytes(1 << 20)
    assert unpack(zstandard.ZstdCompressor(level=level).compress(text)) == (text, [0], [])


def test_skippable_zstd_frames_are_skipped() -> None:
    skippable = b"\x53\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"notes"
    assert unpack(skippable + zstd(b"a") + skippable + zstd(b"b")) == (b"ab", [13, 13 + len(zstd(b"a")) + 13], [])


def test_zeros_between_and_after_gzip_members_are_padding() -> None:
    one = gzip.compress(b"one")
    assert unpack(one + bytes(100) + gzip.compress(b"two") + bytes(2000)) == (b"onetwo", [0, len(one) + 100], [])


def test_plain_bytes_pass_and_stop_where_told() -> None:
    assert unpack(b"\x1f text that is not packed")[0] == b"\x1f text that is not packed"
    assert b"".join(map(bytes, events(io.BytesIO(b"0123456789"), 3, 7))) == b"3456"  # type: ignore[arg-type]


@given(st.integers(0, 399), st.integers(0, 7))
@settings(deadline=None, max_examples=200)
def test_a_flipped_bit_in_a_gzip_member_costs_no_other_member(place: int, bit: int) -> None:
    texts = [b"member %d " % number * 40 for number in range(5)]
    members = [gzip.compress(text, mtime=0) for text in texts]
    data = bytearray(b"".join(members))
    first, second = len(members[0]), len(members[0]) + len(members[1])
    at = first + place % len(members[1])
    data[at] ^= 1 << bit
    bytes_read, starts, damage = unpack(bytes(data))
    assert {0, second} <= set(starts)
    assert bytes_read.startswith(texts[0])
    assert bytes_read.endswith(b"".join(texts[2:]))
    if damage:
        assert [one.at for one in damage] == [first]
    else:  # the time, the system and the like say nothing about the data
        assert bytes_read == b"".join(texts)


@given(st.integers(1, 10_000))
@settings(deadline=None, max_examples=50)
@pytest.mark.parametrize("pack", [gzip.compress, zstd])
def test_what_comes_before_a_truncation_is_read(pack: object, cut: int) -> None:
    first, second = (b"%d " % number * 3000 for number in (1, 2))
    whole = [pack(first), pack(second)]  # type: ignore[operator]
    cut = 1 + cut % (len(whole[1]) - 1)
    bytes_read, _, damage = unpack((whole[0] + whole[1])[:-cut])
    assert bytes_read.startswith(first)
    assert (first + second).startswith(bytes_read)
    assert [one.at for one in damage] == [len(whole[0])]


def test_a_damaged_zstd_frame_is_passed_over() -> None:
    frames = [zstd(b"frame %d " % number * 50) for number in range(3)]
    spoilt = bytearray(b"".join(frames))
    spoilt[len(frames[0]) + len(frames[1]) - 1] ^= 1  # in its checksum
    bytes_read, _, damage = unpack(bytes(spoilt))
    assert damage == [Damage(len(frames[0]), "zstd checksum does not match")]
    assert bytes_read.endswith(b"frame 2 " * 50)


def test_trailing_garbage_is_damage_and_nothing_more() -> None:
    data = gzip.compress(b"text")
    assert unpack(data + b"garbage") == (
        b"text",
        [0],
        [Damage(len(data), "no gzip member where one should start")],
    )


def test_a_bomb_is_unpacked_in_bounded_pieces() -> None:
    bomb = io.BytesIO(zlib.compress(bytes(100 << 20), 9, 31))
    assert max(len(event) for event in events(bomb) if isinstance(event, bytes)) <= 17 << 20
    bomb = io.BytesIO(zstd(bytes(100 << 20)))
    assert max(len(event) for event in events(bomb) if isinstance(event, bytes)) <= 128 << 10


@given(st.binary(max_size=400))
@settings(deadline=None, max_examples=300)
@pytest.mark.parametrize("head", [b"\x1f\x8b\x08\x00", b"\x28\xb5\x2f\xfd", b"\x28\xb5\x2f\xfd\x24\x05", b""])
def test_no_bytes_raise(head: bytes, junk: bytes) -> None:
    unpack(head + junk)


@given(st.binary(max_size=50), st.integers(0, 60), st.integers(0, 60))
def test_a_feed_gives_the_bytes_at_any_place_in_any_order(data: bytes, position: int, size: int) -> None:
    feed = Feed(io.BytesIO(data))
    for at in (position, 0, position // 2):
        assert bytes(feed.at(at, size)) == data[at : at + size]
