"""Types of other packages that are stored without being registered: numpy, langchain, pydantic.

Also the engine's own types that a state may hold (`Send`, `Command`, `Interrupt`, `Overwrite`).

Rule 1: nothing here is imported before a value or a tag of the package turns up.
Rule 2: the tags and the packages they need are the fixed tables below. A tag that is not in them
        imports nothing, also if it begins with a package's name. (INV-10)
Rule 3: memory of numpy is never read as Python objects: a dtype that holds some is refused both
        ways. Dtype, shape, order and being writable come back; a decoded array owns its memory and
        is contiguous.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Callable
from typing import Any

from orchestrator.errors import UnknownTypeError
from orchestrator.serde.classes import Form, adds_nothing_to_str, class_form, only

_Forms = dict[type, Form]

_KINDS = ("AI", "Chat", "Function", "Human", "System", "Tool")
_MESSAGES = {
    **{
        f"langchain_core.messages.{kind.lower()}.{kind}Message{chunk}": f"{kind}Message{chunk}"
        for kind in _KINDS
        for chunk in ("", "Chunk")
    },
    "langchain_core.messages.modifier.RemoveMessage": "RemoveMessage",
}
# A `str` in all but name: `message.text`, which old programs call.
_TEXTS = frozenset({"langchain_core.messages.base.TextAccessor"})
_DOCUMENT = "langchain_core.documents.base.Document"
_SECRETS = ("SecretStr", "SecretBytes")
_URLS = (
    *("AnyUrl", "AnyHttpUrl", "HttpUrl", "AnyWebsocketUrl", "WebsocketUrl", "FileUrl", "FtpUrl"),
    *("PostgresDsn", "CockroachDsn", "AmqpDsn", "RedisDsn", "MongoDsn", "KafkaDsn", "NatsDsn"),
    *("MySQLDsn", "MariaDBDsn", "ClickHouseDsn", "SnowflakeDsn"),
)
_CORE_URLS = ("Url", "MultiHostUrl")
_ARRAY, _SCALAR = "numpy.ndarray", "numpy.generic"
_OWN = {  # Tag → module and name of the class.
    "graphstalk.Send": ("orchestrator.graph.routing", "Send"),
    "graphstalk.TimeoutPolicy": ("orchestrator.graph.policy", "TimeoutPolicy"),
    "graphstalk.Interrupt": ("orchestrator.model.checkpoint", "Interrupt"),
    "graphstalk.Overwrite": ("orchestrator.channels.base", "Overwrite"),
    "graphstalk.Command": ("orchestrator.graph.routing", "Command"),
    # Where langchain is not installed.
    "graphstalk.RemoveMessage": ("orchestrator.graph.conversation", "PlainRemoveMessage"),
}


def third_party_form(cls: type) -> Form | None:
    """Return how instances of exactly `cls` are stored, if `cls` is of a package known here."""
    package = str(cls.__module__).partition(".")[0]
    load = _PACKAGES.get(package)
    return load().get(cls) if load else None


def text_of(value: Any) -> str | None:
    """Return the text that a value is stored as, if its class adds nothing to that of `str`."""
    cls = type(value)
    if not issubclass(cls, str) or getattr(value, "__dict__", None):
        return None
    if not (adds_nothing_to_str(cls) or f"{cls.__module__}.{cls.__qualname__}" in _TEXTS):
        return None
    return str.__str__(value)


def is_third_party_tag(tag: str) -> bool:
    """Return whether `tag` is taken by a type of a package known here."""
    return tag in _TAGS


def third_party_tag(tag: str) -> Form | None:
    """Return the form of `tag`, if it is of a package known here.

    Raises:
        UnknownTypeError: if it is, and this process does not have that package.
    """
    package = _TAGS.get(tag)
    if package is None:
        return None
    try:
        forms = _PACKAGES[package]()
    except ImportError as error:
        msg = f"a stored value has the type {tag!r}, and {package} is not installed: install it"
        raise UnknownTypeError(msg) from error
    return next((form for form in forms.values() if form.tag == tag), None)


# ---- numpy ----------------------------------------------------------------------------------


@functools.cache
def _numpy() -> dict[type, Form]:
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
    # numpy's own types only: a subclass may hold anything.
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


# ---- langchain and pydantic -----------------------------------------------------------------


@functools.cache
def _langchain() -> _Forms:
    from langchain_core import documents, messages  # noqa: PLC0415 - optional, and slow to import

    found = [(tag, getattr(messages, name, None)) for tag, name in _MESSAGES.items()]
    found.append((_DOCUMENT, documents.Document))
    return {cls: class_form(cls, tag) for tag, cls in found if cls is not None}


@functools.cache
def _pydantic() -> _Forms:
    import pydantic  # noqa: PLC0415 - plain states do not need it
    import pydantic_core  # noqa: PLC0415

    forms: _Forms = {}
    for name in _SECRETS:
        forms.update(_form(f"pydantic.{name}", getattr(pydantic, name), _secret_plain))
    for module, names in ((pydantic, _URLS), (pydantic_core, _CORE_URLS)):
        for name in names:
            cls = getattr(module, name, None)
            if isinstance(cls, type):  # In older versions some are aliases of others.
                forms.update(_form(f"{module.__name__}.{name}", cls, _url_plain))
    forms.update(_form("pydantic.ByteSize", pydantic.ByteSize, int))
    zone = pydantic_core.TzInfo  # The zone of a datetime that pydantic read from text.
    forms.update(_form("pydantic_core.TzInfo", zone, _offset_plain))
    return forms


def _form(tag: str, cls: Any, to_plain: Callable[[Any], Any]) -> _Forms:
    return {cls: Form(tag, cls, to_plain, cls)}


def _secret_plain(value: Any) -> Any:
    return value.get_secret_value()


def _url_plain(value: Any) -> str:
    text = str(value)
    if type(value)(text) != value:
        msg = f"it reads {text!r:.200}, which makes another {type(value).__name__}: store the text"
        raise ValueError(msg)
    return text


def _offset_plain(value: Any) -> int:
    return int(value.utcoffset(None).total_seconds())


# ---- the engine's own -----------------------------------------------------------------------


@functools.cache
def _engine() -> _Forms:
    # These live in layers that this one does not know. The package loads its public names when they
    # are first asked for, from a table of its own; `TimeoutPolicy` comes with `Send`, and
    # `PlainRemoveMessage` with `add_messages`.
    package = sys.modules[__name__.partition(".")[0]]
    names = package.Send, package.Interrupt, package.Overwrite, package.Command
    _ = *names, package.add_messages
    forms: _Forms = {}
    for tag, (module, name) in _OWN.items():
        cls = getattr(sys.modules[module], name)
        if name == "Overwrite":
            forms.update(_form(tag, cls, lambda value: value.value))
        elif name == "Command":
            forms[cls] = Form(tag, cls, _command_plain, functools.partial(_command, cls))
        else:
            forms[cls] = class_form(cls, tag)
    return forms


def _command_plain(command: Any) -> dict[str, Any]:
    """Return the arguments of a command by name; an absent answer has no stored form."""
    return {
        each.name: value
        for each in dataclasses.fields(command)
        if (value := getattr(command, each.name)) is not each.default
    }


def _command(cls: Any, plain: Any) -> Any:
    return cls(**only(dict, plain))


_PACKAGES: dict[str, Callable[[], _Forms]] = {
    "numpy": _numpy,
    "langchain_core": _langchain,
    "pydantic": _pydantic,
    "pydantic_core": _pydantic,
    "orchestrator": _engine,
}
_TAGS: dict[str, str] = {
    **dict.fromkeys((_ARRAY, _SCALAR), "numpy"),
    **dict.fromkeys((*_MESSAGES, _DOCUMENT), "langchain_core"),
    **{f"pydantic.{name}": "pydantic" for name in (*_SECRETS, *_URLS, "ByteSize")},
    **{f"pydantic_core.{name}": "pydantic" for name in (*_CORE_URLS, "TzInfo")},
    **dict.fromkeys(_OWN, "orchestrator"),
}
