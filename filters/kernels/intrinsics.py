"""What numba has no word for, as LLVM IR: masks of 64 bytes, loads at any address, the folded 128-bit product.

LLVM makes of it what the machine has (AVX-512, AVX2, SSE2, NEON); results are the same on every little-endian machine.
Addresses are those of `array.ctypes.data`; whoever calls guarantees that what is read there may be read.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_BYTE, _WORD, _DOUBLE = ir.IntType(8), ir.IntType(64), ir.IntType(128)
_BLOCK = ir.VectorType(_BYTE, 64)


def _load(builder: Any, address: Any, kind: Any) -> Any:
    value = builder.load(builder.inttoptr(address, kind.as_pointer()))
    value.align = 1
    return value


def _every(byte: int) -> Any:
    return ir.Constant(_BLOCK, [byte] * 64)


@intrinsic
def load64(typing_context: Any, address: Any) -> Any:
    """Return the 8 bytes at `address` as uint64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _load(builder, arguments[0], _WORD)

    return types.uint64(types.intp), generate


@intrinsic
def ascii_word_mask(typing_context: Any, address: Any) -> Any:
    """Return 64 bits: bit i is set where byte i at `address` is an ASCII letter or digit."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        block = _load(builder, arguments[0], _BLOCK)
        lowered = builder.or_(block, _every(0x20))
        letter = builder.icmp_unsigned("<", builder.sub(lowered, _every(ord("a"))), _every(26))
        digit = builder.icmp_unsigned("<", builder.sub(block, _every(ord("0"))), _every(10))
        return builder.bitcast(builder.or_(letter, digit), _WORD)

    return types.uint64(types.intp), generate


@intrinsic
def beyond_ascii_mask(typing_context: Any, address: Any) -> Any:
    """Return 64 bits: bit i is set where byte i at `address` is 0x80 or more."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        block = _load(builder, arguments[0], _BLOCK)
        return builder.bitcast(builder.icmp_signed("<", block, _every(0)), _WORD)

    return types.uint64(types.intp), generate


@intrinsic
def continuation_mask(typing_context: Any, address: Any) -> Any:
    """Return 64 bits: bit i is set where byte i at `address` continues a character of UTF-8: 0x80 to 0xBF."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        block = _load(builder, arguments[0], _BLOCK)
        return builder.bitcast(builder.icmp_signed("<", block, _every(-64)), _WORD)

    return types.uint64(types.intp), generate


@intrinsic
def trailing_zeros(typing_context: Any, bits: Any) -> Any:
    """Return the position of the lowest set bit as int64; `bits` is not 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


@intrinsic
def set_bits(typing_context: Any, bits: Any) -> Any:
    """Return how many bits are set, as int64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate


@intrinsic
def fold(typing_context: Any, one: Any, other: Any) -> Any:
    """Return the high half of the 128-bit product XOR its low half: one well mixed uint64 of two."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        product = builder.mul(*(builder.zext(argument, _DOUBLE) for argument in arguments))
        high = builder.trunc(builder.lshr(product, ir.Constant(_DOUBLE, 64)), _WORD)
        return builder.xor(high, builder.trunc(product, _WORD))

    return types.uint64(types.uint64, types.uint64), generate


@intrinsic
def times(typing_context: Any, one: Any, other: Any) -> Any:
    """Return the product of two numbers below 2^61 modulo the prime 2^61 - 1: at most 2^61 - 1, which stands for 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        product = builder.mul(*(builder.zext(argument, _DOUBLE) for argument in arguments))
        prime = ir.Constant(_WORD, (1 << 61) - 1)
        low = builder.and_(builder.trunc(product, _WORD), prime)
        total = builder.add(low, builder.trunc(builder.lshr(product, ir.Constant(_DOUBLE, 61)), _WORD))
        return builder.add(builder.and_(total, prime), builder.lshr(total, ir.Constant(_WORD, 61)))

    return types.uint64(types.uint64, types.uint64), generate
