"""Arithmetic of the generated code against longer numbers, over the whole range."""

import ctypes

import numpy as np
import pytest
from llvmlite import ir

from unspool.engine import kernels
from unspool.engine.vectors import FLOATS, Vectors

TYPES = {"float32": np.float32, "float64": np.float64}
# Units in the last place, by function and format; the true value is that of the wider format.
BOUNDS = {
    ("exp", "float32"): 2, ("exp", "float64"): 2,
    ("tanh", "float32"): 2, ("tanh", "float64"): 2,
    ("sigmoid", "float32"): 3, ("sigmoid", "float64"): 3,
    ("log", "float32"): 2, ("log", "float64"): 2,
    ("rsqrt", "float32"): 2, ("rsqrt", "float64"): 2,
}  # fmt: skip
EXACT = {
    "exp": np.exp,
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "log": np.log,
    "rsqrt": lambda x: 1 / np.sqrt(x),
}
POSITIVE = ("log", "rsqrt")


def registers():
    """Every way to lay out vectors on this host: its own, without AVX-512's shortcuts, narrow."""
    here = kernels.host()
    ways = {"narrow": (16, False), "plain": (here.vector_bytes, False)}
    if "+avx512f" in here.features:
        ways["avx512"] = (here.vector_bytes, True)
    return ways


every_function = pytest.mark.parametrize(("name", "dtype"), BOUNDS)
every_way = pytest.mark.parametrize("way", registers())


def compiled(name, dtype, way):
    """A function from array to array, from a kernel of one loop."""
    width, avx512 = registers()[way]
    form = FLOATS[dtype]
    lanes = width // form.bytes
    word = ir.IntType(64)
    module = ir.Module("test")
    kind = ir.FunctionType(ir.VoidType(), [word.as_pointer()])
    function = ir.Function(module, kind, "program")
    b = ir.IRBuilder(function.append_basic_block("entry"))
    v = Vectors(b, form, lanes, avx512)
    words = [b.load(b.gep(function.args[0], [word(k)])) for k in range(3)]
    source, target = (b.inttoptr(w, v.type.as_pointer()) for w in words[:2])
    before = b.block
    loop, after = function.append_basic_block("loop"), function.append_basic_block("after")
    b.branch(loop)
    b.position_at_end(loop)
    i = b.phi(word)
    i.add_incoming(word(0), before)
    loaded = b.load(b.gep(source, [i]))
    loaded.align = form.bytes
    value = v.intrinsic("log", loaded) if name == "log" else getattr(v, name)(loaded)
    b.store(value, b.gep(target, [i])).align = form.bytes
    following = b.add(i, word(1))
    i.add_incoming(following, b.block)
    b.cbranch(b.icmp_signed("<", following, words[2]), loop, after)
    b.position_at_end(after)
    b.ret_void()
    kernel = kernels.kernel(str(module))

    def call(x):
        padded = np.concatenate([x, np.zeros(-len(x) % lanes, x.dtype)])
        result = np.empty_like(padded)
        array = (ctypes.c_int64 * 3)(padded.ctypes.data, result.ctypes.data, len(padded) // lanes)
        kernel(ctypes.addressof(array), 1)
        return result[: len(x)]

    return call


def every_exponent(dtype, each):
    """Numbers of every exponent and both signs, denormal ones too, and all that is special."""
    rng = np.random.default_rng(3)
    bits, mantissa = {"float32": (32, 23), "float64": (64, 52)}[dtype]
    whole = {32: np.uint32, 64: np.uint64}[bits]
    exponents = np.arange(2 ** (bits - 1 - mantissa) - 1, dtype=whole)
    low = rng.integers(0, 2**mantissa, (len(exponents), each), dtype=whole)
    low[:, 0], low[:, 1] = 0, 2**mantissa - 1
    positive = ((exponents[:, None] << whole(mantissa)) | low).ravel().view(TYPES[dtype])
    return np.concatenate([positive, -positive])


def dense(dtype, number):
    """Numbers where exp is finite, evenly spaced."""
    return np.linspace(-110, 110, number).astype(TYPES[dtype])


def ulps(found, exact):
    """Distance in units of the last place of the format that was found."""
    with np.errstate(invalid="ignore", over="ignore"):
        rounded = exact.astype(found.dtype)
        unit = np.spacing(np.abs(rounded)).astype(exact.dtype)
        error = np.abs(found.astype(exact.dtype) - exact) / unit
    error[(found == rounded)] = 0
    return error


def measured(name, dtype, way, x):
    """Errors over points, in ulps."""
    x = np.abs(x[x != 0]) if name in POSITIVE else x
    wide = x.astype(np.float64 if dtype == "float32" else np.longdouble)
    with np.errstate(over="ignore", under="ignore", divide="ignore"):
        exact = EXACT[name](wide)
    return x, ulps(compiled(name, dtype, way)(x), exact), exact


def wide_enough(dtype):
    if dtype == "float64" and np.finfo(np.longdouble).nmant <= 52:
        pytest.skip("this machine has no number format longer than float64 to compare with")


@every_way
@every_function
def test_function_is_within_a_few_units_in_the_last_place_over_the_whole_range(name, dtype, way):
    wide_enough(dtype)
    each = 200 if dtype == "float32" else 20
    _, error, exact = measured(name, dtype, way, every_exponent(dtype, each))
    if name == "sigmoid":  # below the smallest normal number it may be zero
        error = error[exact >= np.finfo(TYPES[dtype]).tiny]
    assert np.nanmax(error) <= BOUNDS[name, dtype]
    assert not np.isnan(error).any()


@every_way
@every_function
def test_function_is_within_a_few_units_in_the_last_place_where_it_bends(name, dtype, way):
    wide_enough(dtype)
    _, error, exact = measured(name, dtype, way, dense(dtype, 40_000))
    if name == "sigmoid":
        error = error[exact >= np.finfo(TYPES[dtype]).tiny]
    assert np.max(error) <= BOUNDS[name, dtype]


@every_way
@every_function
def test_what_is_not_a_number_stays_so(name, dtype, way):
    x = np.array([np.nan, -np.nan, np.nan], TYPES[dtype])
    assert np.isnan(compiled(name, dtype, way)(x)).all()


@every_way
@pytest.mark.parametrize("dtype", TYPES)
def test_infinities_come_out_as_the_limits(dtype, way):
    x = np.array([np.inf, -np.inf], TYPES[dtype])
    expected = {
        "exp": [np.inf, 0], "tanh": [1, -1], "sigmoid": [1, 0], "relu": [np.inf, 0],
    }  # fmt: skip
    for name, limits in expected.items():
        assert compiled(name, dtype, way)(x).tolist() == limits, name
    assert compiled("rsqrt", dtype, way)(x[:1]).tolist() == [0]
    log = compiled("log", dtype, way)(np.array([np.inf, 0.0, -1.0], TYPES[dtype]))
    assert log[:2].tolist() == [np.inf, -np.inf]
    assert np.isnan(log[2])


@every_way
@pytest.mark.parametrize("dtype", TYPES)
def test_sign_of_zero_is_kept(dtype, way):
    x = np.array([0.0, -0.0], TYPES[dtype])
    found = compiled("tanh", dtype, way)(x)
    assert found.tolist() == [0, 0]
    assert np.signbit(found).tolist() == [False, True]
    assert compiled("exp", dtype, way)(x).tolist() == [1, 1]


@every_way
@pytest.mark.parametrize("dtype", TYPES)
def test_denormal_numbers_pass_through_tanh_and_out_of_exp(dtype, way):
    info = np.finfo(TYPES[dtype])
    small = np.array([1, 3, 1000], TYPES[dtype]) * info.smallest_subnormal
    assert (compiled("tanh", dtype, way)(small) == small).all()
    low = np.array([np.log(np.float64(info.tiny)) - k for k in (1, 5, 10)], TYPES[dtype])
    assert (compiled("exp", dtype, way)(low) > 0).all()


@every_way
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", ["tanh", "sigmoid"])
def test_squashing_function_never_leaves_its_range(name, dtype, way):
    found = compiled(name, dtype, way)(every_exponent(dtype, 20))
    assert np.abs(found).max() <= 1
    if name == "sigmoid":
        assert found.min() >= 0


@pytest.mark.parametrize("dtype", TYPES)
def test_larger_of_two_is_not_a_number_if_either_is_not(dtype):
    form = FLOATS[dtype]
    nan, one = TYPES[dtype](np.nan), TYPES[dtype](1)
    module = ir.Module("test")
    word = ir.IntType(64)
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [word.as_pointer()]), "program")
    b = ir.IRBuilder(function.append_basic_block("entry"))
    v = Vectors(b, form, 16 // form.bytes)
    places = [b.load(b.gep(function.args[0], [word(k)])) for k in range(3)]
    left, right, target = (b.inttoptr(place, v.type.as_pointer()) for place in places)
    left, right = (b.load(p) for p in (left, right))
    left.align = right.align = form.bytes
    b.store(v.maximum(left, right), target).align = form.bytes
    b.ret_void()
    cases = [(nan, one), (one, nan), (one, -one), (-one, one)]
    for first, second in cases:
        arrays = [np.full(16 // form.bytes, value) for value in (first, second, one)]
        words = (ctypes.c_int64 * 3)(*(array.ctypes.data for array in arrays))
        kernels.kernel(str(module))(ctypes.addressof(words), 1)
        expected = np.maximum(first, second)
        assert np.array_equal(arrays[2][0], expected, equal_nan=True)
