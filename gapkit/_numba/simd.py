"""Eight doubles at a time: a vector type for Numba, because its compiler does not vectorise short loops by itself.

The loops of the engine run over n_max ≈ 8 radial functions, too few for the loop vectoriser. With arrays padded to a
multiple of `LANES` they are written with these few operations instead; LLVM maps a vector to one 512-bit register, two
of 256 or four of 128 bits. Without the compiler (NUMBA_DISABLE_JIT=1) the same names are NumPy functions.

    load(a, i)            a[i : i + LANES] of a one-dimensional contiguous float64 array
    store(a, i, v)        a[i : i + LANES] = v
    zeros()               0
    axpy(x, v, w)         x v + w, x a number
    axpy_at(a, i, v, w)   a[i] v + w, a as for load
    multiply_add(u, v, w) u v + w, element by element
    total(v)              sum of the elements
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.extending import intrinsic, models, register_model

LANES = 8
_FLAGS = ("reassoc", "contract", "arcp", "nsz")
_VECTOR = ir.VectorType(ir.DoubleType(), LANES)
_INT = ir.IntType(32)


def padded(n: int) -> int:
    """`n` rounded up to a multiple of `LANES`."""
    return -(-n // LANES) * LANES


class Vector(types.Type):
    """Numba's type of `LANES` doubles in registers."""

    def __init__(self) -> None:
        super().__init__(name=f"float64x{LANES}")


vector = Vector()


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, frontend_type):
        super().__init__(manager, frontend_type, _VECTOR)


def _indices(first: int, stop: int) -> ir.Constant:
    return ir.Constant(ir.VectorType(_INT, stop - first), list(range(first, stop)))


def _pointer(context, builder, array_type, array, index):
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), _VECTOR.as_pointer())


def _splat(builder, number):
    empty = ir.Constant(_VECTOR, ir.Undefined)
    one = builder.insert_element(empty, number, ir.Constant(_INT, 0))
    return builder.shuffle_vector(one, empty, ir.Constant(ir.VectorType(_INT, LANES), [0] * LANES))


def _multiply_add(builder, u, v, w):
    return builder.fadd(builder.fmul(u, v, flags=_FLAGS), w, flags=_FLAGS)


def operation(plain):
    """Decorator of code generators: an operation for compiled loops or, without the compiler, the function `plain`."""
    return (lambda generator: plain) if config.DISABLE_JIT else intrinsic


@operation(lambda a, i: a[i : i + LANES].copy())
def load(typing, a, i):
    def generate(context, builder, signature, arguments):
        value = builder.load(_pointer(context, builder, signature.args[0], *arguments))
        value.align = 8
        return value

    return vector(a, types.intp), generate


@operation(lambda a, i, v: a.__setitem__(slice(i, i + LANES), v))
def store(typing, a, i, v):
    def generate(context, builder, signature, arguments):
        builder.store(arguments[2], _pointer(context, builder, signature.args[0], *arguments[:2]), align=8)
        return context.get_dummy_value()

    return types.void(a, types.intp, vector), generate


@operation(lambda: np.zeros(LANES))
def zeros(typing):
    def generate(context, builder, signature, arguments):
        return ir.Constant(_VECTOR, [0.0] * LANES)

    return vector(), generate


@operation(lambda x, v, w: x * v + w)
def axpy(typing, x, v, w):
    def generate(context, builder, signature, arguments):
        return _multiply_add(builder, _splat(builder, arguments[0]), arguments[1], arguments[2])

    return vector(types.float64, vector, vector), generate


@operation(lambda a, i, v, w: a[i] * v + w)
def axpy_at(typing, a, i, v, w):
    def generate(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        number = builder.load(builder.gep(data, [arguments[1]]))
        return _multiply_add(builder, _splat(builder, number), arguments[2], arguments[3])

    return vector(a, types.intp, vector, vector), generate


@operation(lambda u, v, w: u * v + w)
def multiply_add(typing, u, v, w):
    def generate(context, builder, signature, arguments):
        return _multiply_add(builder, *arguments)

    return vector(vector, vector, vector), generate


@operation(lambda v: v.sum())
def total(typing, v):
    def generate(context, builder, signature, arguments):
        value, n = arguments[0], LANES
        while n > 1:
            empty, n = ir.Constant(value.type, ir.Undefined), n // 2
            low = builder.shuffle_vector(value, empty, _indices(0, n))
            high = builder.shuffle_vector(value, empty, _indices(n, 2 * n))
            value = builder.fadd(low, high, flags=_FLAGS)
        return builder.extract_element(value, ir.Constant(_INT, 0))

    return types.float64(vector), generate
