"""Types of other packages that are stored without being registered: numpy, langchain, pydantic.

Also the engine's own types that a state may hold (`Send`, `Command`, `Interrupt`, `Overwrite`).

Rule 1: nothing here is imported before a value or a tag of the package turns up.
Rule 2: the tags and the packages they need are the fixed tables below. A tag that is not in them
        imports nothing, whatever it begins with. (INV-10)
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Callable
from typing import Any

from orchestrator.errors import UnknownTypeError
from orchestrator.serde.arrays import ARRAY_TAGS, array_forms
from orchestrator.serde.classes import adds_nothing_to_str, class_form
from orchestrator.serde.forms import Form, only

__all__ = ["foreign_form", "foreign_tag", "is_foreign_tag", "text_of"]

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
# What is a `str` in all but name: `message.text`, which old programs call.
_TEXTS = frozenset({"langchain_core.messages.base.TextAccessor"})
_DOCUMENT = "langchain_core.documents.base.Document"
_SECRETS = ("SecretStr", "SecretBytes")
_URLS = (
    *("AnyUrl", "AnyHttpUrl", "HttpUrl", "AnyWebsocketUrl", "WebsocketUrl", "FileUrl", "FtpUrl"),
    *("PostgresDsn", "CockroachDsn", "AmqpDsn", "RedisDsn", "MongoDsn", "KafkaDsn", "NatsDsn"),
    *("MySQLDsn", "MariaDBDsn", "ClickHouseDsn", "SnowflakeDsn"),
)
_CORE_URLS = ("Url", "MultiHostUrl")
_OWN = {  # Tag → where it is; it is public there, in the package itself, or part of what is.
    "graphstalk.Send": ("orchestrator.graph.routing", "Send"),
    "graphstalk.TimeoutPolicy": ("orchestrator.graph.policy", "TimeoutPolicy"),
    "graphstalk.Interrupt": ("orchestrator.checkpoint.model", "Interrupt"),
    "graphstalk.Overwrite": ("orchestrator.channels.base", "Overwrite"),
    "graphstalk.Command": ("orchestrator.graph.routing", "Command"),
    # Where langchain is not installed.
    "graphstalk.RemoveMessage": ("orchestrator.graph.plain_messages", "PlainRemoveMessage"),
}


def foreign_form(cls: type) -> Form | None:
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


def is_foreign_tag(tag: str) -> bool:
    """Return whether `tag` is taken by a type of a package known here."""
    return tag in _TAGS


def foreign_tag(tag: str) -> Form | None:
    """Return the form that `tag` stands for, if it is of a package known here.

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
    """Return what a command says, by name: that an answer is absent cannot be stored."""
    return {
        each.name: value
        for each in dataclasses.fields(command)
        if (value := getattr(command, each.name)) is not each.default
    }


def _command(cls: Any, plain: Any) -> Any:
    return cls(**only(dict, plain))


_PACKAGES: dict[str, Callable[[], _Forms]] = {
    "numpy": array_forms,
    "langchain_core": _langchain,
    "pydantic": _pydantic,
    "pydantic_core": _pydantic,
    "orchestrator": _engine,
}
_TAGS: dict[str, str] = {
    **dict.fromkeys(ARRAY_TAGS, "numpy"),
    **dict.fromkeys((*_MESSAGES, _DOCUMENT), "langchain_core"),
    **{f"pydantic.{name}": "pydantic" for name in (*_SECRETS, *_URLS, "ByteSize")},
    **{f"pydantic_core.{name}": "pydantic" for name in (*_CORE_URLS, "TzInfo")},
    **dict.fromkeys(_OWN, "orchestrator"),
}
