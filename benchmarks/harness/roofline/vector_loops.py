"""Two loops that reach the limits of a core, written in LLVM's vector instructions through Numba.

`fma_chains` is bound by the floating-point units alone: chains of fused multiply-adds that never leave the registers.
`add_vectors` is bound by memory alone. Both run without the GIL.
"""

from __future__ import annotations

from collections.abc import Callable

import numba
from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.extending import intrinsic

# By vector width in bytes. A core starts two FMAs a cycle and each takes 4 or 5 cycles, so it takes 10 independent
# chains to keep it busy. 12 fit into the 16 registers of AVX2 beside the two operands; 24 into the 32 of AVX-512.
CHAINS = {64: 24, 32: 12, 16: 12}
UNROLL = 4
_IR = {types.float64: ir.DoubleType(), types.float32: ir.FloatType()}


def _vector_bytes() -> int:
    """Width in bytes of the widest vector registers of this CPU."""
    features = binding.get_host_cpu_features()
    return 64 if features.get("avx512f") else 32 if features.get("avx") else 16


VECTOR_BYTES = _vector_bytes()


def _vector(dtype) -> ir.VectorType:
    return ir.VectorType(_IR[dtype], VECTOR_BYTES // (8 if dtype == types.float64 else 4))


def _loop(builder: ir.IRBuilder, count: ir.Value, start: list[ir.Value], body: Callable) -> list[ir.Value]:
    """Emit ``for i in range(count): state = body(i, state)`` with the state in registers; returns the last state."""
    before = builder.block
    head, done = builder.append_basic_block("head"), builder.append_basic_block("done")
    zero = ir.Constant(count.type, 0)
    builder.cbranch(builder.icmp_signed(">", count, zero), head, done)
    builder.position_at_end(head)
    index = builder.phi(count.type)
    state = [builder.phi(v.type) for v in start]
    index.add_incoming(zero, before)
    new = body(index, state)
    following = builder.add(index, ir.Constant(count.type, 1))
    index.add_incoming(following, head)
    builder.cbranch(builder.icmp_signed("<", following, count), head, done)
    builder.position_at_end(done)
    out = []
    for phi, first, last in zip(state, start, new, strict=True):
        phi.add_incoming(first, before)
        phi.add_incoming(last, head)
        end = builder.phi(phi.type)
        end.add_incoming(first, before)
        end.add_incoming(last, head)
        out.append(end)
    return out


def _sum_lanes(builder: ir.IRBuilder, vectors: list[ir.Value]) -> ir.Value:
    total = vectors[0]
    for v in vectors[1:]:
        total = builder.fadd(total, v)
    lanes = [builder.extract_element(total, ir.Constant(ir.IntType(32), i)) for i in range(total.type.count)]
    out = lanes[0]
    for lane in lanes[1:]:
        out = builder.fadd(out, lane)
    return out


def _splat(builder: ir.IRBuilder, kind: ir.VectorType, value: ir.Value) -> ir.Value:
    out = ir.Constant(kind, ir.Undefined)
    for i in range(kind.count):
        out = builder.insert_element(out, value, ir.Constant(ir.IntType(32), i))
    return out


@intrinsic
def _fma_chains(typingctx, a, b, count):
    """count x UNROLL x chains fused multiply-adds acc = acc * a + b, one vector each."""

    def codegen(context, builder, signature, args):
        kind = _vector(signature.args[0])
        factor, addend = (_splat(builder, kind, v) for v in args[:2])
        name = f"llvm.fma.v{kind.count}f{8 * VECTOR_BYTES // kind.count}"
        fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind] * 3), name)
        start = [ir.Constant(kind, [float(i)] * kind.count) for i in range(CHAINS[VECTOR_BYTES])]

        def body(index, state):
            for _ in range(UNROLL):
                state = [builder.call(fma, [acc, factor, addend]) for acc in state]
            return state

        return _sum_lanes(builder, _loop(builder, args[2], start, body))

    return a(a, b, count), codegen


@intrinsic
def _add_vectors(typingctx, address, count):
    """Sum of count x 8 vectors of doubles from ``address`` on: 8 chains, so that only loads limit it."""

    def codegen(context, builder, signature, args):
        kind = _vector(types.float64)
        base = builder.inttoptr(args[0], kind.as_pointer())
        start = [ir.Constant(kind, [0.0] * kind.count)] * 8

        def body(index, state):
            first = builder.mul(index, ir.Constant(index.type, len(state)))
            out = []
            for i, acc in enumerate(state):
                place = builder.gep(base, [builder.add(first, ir.Constant(index.type, i))])
                load = builder.load(place)
                load.align = 8
                out.append(builder.fadd(acc, load))
            return out

        return _sum_lanes(builder, _loop(builder, args[1], start, body))

    return types.float64(types.intp, types.intp), codegen


@numba.njit(nogil=True)
def fma_chains(a, b, count):
    """``count * flops_per_iteration(dtype of a)`` flops; a and b are float64 or float32."""
    return _fma_chains(a, b, count)


@numba.njit(nogil=True)
def add_vectors(address, count):
    """Read ``count * bytes_per_iteration()`` bytes of float64 from ``address`` on."""
    return _add_vectors(address, count)


def flops_per_iteration(itemsize: int) -> int:
    return 2 * (VECTOR_BYTES // itemsize) * CHAINS[VECTOR_BYTES] * UNROLL


def bytes_per_iteration() -> int:
    return 8 * VECTOR_BYTES
