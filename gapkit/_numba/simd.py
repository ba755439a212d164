"""Eight or four doubles at a time: vector types for Numba, because its compiler does not vectorise short loops.

The loops of the engine run over n_max ≈ 8 radial functions, too few for the loop vectoriser. With arrays padded to a
multiple of `NARROW` they are written with these few operations instead; LLVM maps a vector to registers of 512, 256 or
128 bits. Without the compiler (NUMBA_DISABLE_JIT=1) the same names are NumPy functions.

    wide(), narrow()        zeros: 8 or 4 of them
    load(a, i, like)        a[i : i + width] of a one-dimensional contiguous float64 array, as wide as the vector `like`
    store(a, i, v)          a[i : i + width] = v
    axpy(x, v, w)           x v + w, x a number
    axpy_at(a, i, v, w)     a[i] v + w, a as for load
    multiply_add(u, v, w)   u v + w, element by element
    total(v)                sum of the elements

A loop over n takes wide vectors as long as they fit, and a narrow one if something is left.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.extending import intrinsic, models, register_model

WIDE, NARROW = 8, 4
_FLAGS = ("reassoc", "contract", "arcp", "nsz")
_INT = ir.IntType(32)


def padded(n: int) -> int:
    """`n` rounded up to a multiple of `NARROW`."""
    return -(-n // NARROW) * NARROW


class Vector(types.Type):
    """Numba's type of `width` doubles in registers."""

    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__(name=f"float64x{width}")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, frontend_type):
        super().__init__(manager, frontend_type, _ir_type(frontend_type))


def _ir_type(vector: Vector) -> ir.VectorType:
    return ir.VectorType(ir.DoubleType(), vector.width)


def _indices(first: int, stop: int) -> ir.Constant:
    return ir.Constant(ir.VectorType(_INT, stop - first), list(range(first, stop)))


def _pointer(context, builder, array_type, array, index, vector):
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), _ir_type(vector).as_pointer())


def _splat(builder, number, kind):
    empty = ir.Constant(kind, ir.Undefined)
    one = builder.insert_element(empty, number, ir.Constant(_INT, 0))
    return builder.shuffle_vector(one, empty, ir.Constant(ir.VectorType(_INT, kind.count), [0] * kind.count))


def _multiply_add(builder, u, v, w):
    return builder.fadd(builder.fmul(u, v, flags=_FLAGS), w, flags=_FLAGS)


def operation(plain):
    """Decorator of code generators: an operation for compiled loops or, without the compiler, the function `plain`."""
    return (lambda generator: plain) if config.DISABLE_JIT else intrinsic


@operation(lambda: np.zeros(WIDE))
def wide(typing):
    return _zeros(Vector(WIDE))


@operation(lambda: np.zeros(NARROW))
def narrow(typing):
    return _zeros(Vector(NARROW))


def _zeros(vector):
    def generate(context, builder, signature, arguments):
        return ir.Constant(_ir_type(vector), [0.0] * vector.width)

    return vector(), generate


@operation(lambda a, i, like: a[i : i + len(like)].copy())
def load(typing, a, i, like):
    def generate(context, builder, signature, arguments):
        value = builder.load(_pointer(context, builder, signature.args[0], *arguments[:2], like))
        value.align = 8
        return value

    return like(a, types.intp, like), generate


@operation(lambda a, i, v: a.__setitem__(slice(i, i + len(v)), v))
def store(typing, a, i, v):
    def generate(context, builder, signature, arguments):
        builder.store(arguments[2], _pointer(context, builder, signature.args[0], *arguments[:2], v), align=8)
        return context.get_dummy_value()

    return types.void(a, types.intp, v), generate


@operation(lambda x, v, w: x * v + w)
def axpy(typing, x, v, w):
    def generate(context, builder, signature, arguments):
        return _multiply_add(builder, _splat(builder, arguments[0], _ir_type(v)), arguments[1], arguments[2])

    return v(types.float64, v, v), generate


@operation(lambda a, i, v, w: a[i] * v + w)
def axpy_at(typing, a, i, v, w):
    def generate(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        number = builder.load(builder.gep(data, [arguments[1]]))
        return _multiply_add(builder, _splat(builder, number, _ir_type(v)), arguments[2], arguments[3])

    return v(a, types.intp, v, v), generate


@operation(lambda u, v, w: u * v + w)
def multiply_add(typing, u, v, w):
    def generate(context, builder, signature, arguments):
        return _multiply_add(builder, *arguments)

    return u(u, u, u), generate


@operation(lambda v: v.sum())
def total(typing, v):
    def generate(context, builder, signature, arguments):
        value, n = arguments[0], v.width
        while n > 1:
            empty, n = ir.Constant(value.type, ir.Undefined), n // 2
            low = builder.shuffle_vector(value, empty, _indices(0, n))
            high = builder.shuffle_vector(value, empty, _indices(n, 2 * n))
            value = builder.fadd(low, high, flags=_FLAGS)
        return builder.extract_element(value, ir.Constant(_INT, 0))

    return types.float64(v), generate
