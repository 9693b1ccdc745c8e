"""Arrays and scalars of numpy as bytes and back.

Rule 1: numpy is imported when the first array or tag of one turns up; it need not be installed.
Rule 2: memory is never read as Python objects: a dtype that holds some is refused both ways.
Rule 3: dtype, shape, order and being writable come back; an array owns its memory then, whoever
        owned it before, and is contiguous.
"""

from __future__ import annotations

import functools
from typing import Any

from orchestrator.serde.forms import Form, only

__all__ = ["ARRAY_TAGS", "array_forms"]

ARRAY_TAGS = _ARRAY, _SCALAR = "numpy.ndarray", "numpy.generic"


@functools.cache
def array_forms() -> dict[type, Form]:
    """Return how arrays and scalars are stored.

    Raises:
        ImportError: if numpy is not installed.
    """
    import numpy as np  # type: ignore[import-not-found,unused-ignore] # noqa: PLC0415 - optional

    scalar = Form(
        _SCALAR, np.generic, functools.partial(_scalar_plain, np), functools.partial(_scalar, np)
    )
    array = Form(
        _ARRAY,
        np.ndarray,
        functools.partial(_array_plain, np),
        functools.partial(_array, np),
    )
    # numpy's own types: a subclass of one of them holds who knows what.
    kinds = {each for each in vars(np).values() if isinstance(each, type)}
    scalars = {each: scalar for each in kinds if issubclass(each, np.generic)}
    return {**scalars, np.ndarray: array}


def _array_plain(np: Any, value: Any) -> list[Any]:
    flags = value.flags
    order = "F" if flags.f_contiguous and not flags.c_contiguous else "C"
    return [
        *(_dtype_plain(np, value.dtype), list(value.shape), order, flags.writeable),
        value.tobytes(order),
    ]


def _array(np: Any, plain: Any) -> Any:
    descr, shape, order, writeable, data = plain
    stored = np.ndarray(shape, _dtype(np, descr), only(bytes, data), order=order)
    if stored.nbytes != len(data) or list(stored.shape) != shape:
        msg = f"an array of {stored.dtype} and shape {shape} is stored in {len(data)} bytes"
        raise ValueError(msg)
    value = stored.copy(order)
    value.flags.writeable = writeable
    return value


def _scalar_plain(np: Any, value: Any) -> list[Any]:
    # As arrays, texts and bytes would lose the NUL characters at their end.
    if type(value) is np.str_:
        return [None, str.__str__(value)]
    if type(value) is np.bytes_:
        return [None, b"".join([value])]
    return [_dtype_plain(np, value.dtype), value.tobytes()]


def _scalar(np: Any, plain: Any) -> Any:
    descr, data = plain
    if descr is None:
        return np.str_(data) if type(data) is str else np.bytes_(only(bytes, data))
    return np.ndarray((), _dtype(np, descr), only(bytes, data)).copy()[()]


def _dtype_plain(np: Any, dtype: Any) -> Any:
    if dtype.hasobject:
        msg = f"its dtype is {dtype}, which holds Python objects: use a list, or another dtype"
        raise TypeError(msg)
    if dtype.names is not None:
        plain = np.lib.format.dtype_to_descr(dtype)
    else:
        plain = dtype.str
        if np.dtype(plain).num != dtype.num:  # `longlong` is as long as `int64`, and is not it.
            plain = plain[0] + dtype.char
    if _dtype(np, plain) != dtype or dtype.metadata:
        msg = f"its dtype is {dtype}, which does not come back as it is: convert it first"
        raise TypeError(msg)
    return plain


def _dtype(np: Any, plain: Any) -> Any:
    dtype = np.lib.format.descr_to_dtype(plain)
    if dtype.hasobject:  # Bytes as pointers: never.
        msg = f"stored bytes as {dtype}"
        raise TypeError(msg)
    return dtype
