"""The values of a state as they are read: decoded when asked for, or as they are stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from typing import Any

from orchestrator.errors import StateCorruptedError
from orchestrator.frozen import frozen
from orchestrator.model.tails import Encoded, whole


class Values(Mapping[str, Any]):
    """Values of a state, some of which are stored."""

    __slots__ = ()

    def encoded(self, key: str) -> tuple[str, Encoded] | None:
        """Return under which name the value of a key is stored, and its bytes, if they are here."""
        raise NotImplementedError


def encoded_in(values: Mapping[str, Any], key: str) -> tuple[str, Encoded] | None:
    """Return how the value of a key is stored, as `Values.encoded`; `None`: it is not."""
    find = getattr(values, "encoded", None)  # To ask for the class of a mapping takes far longer.
    return find(key) if find is not None else None


@frozen(kw_only=False)
class StoredValues(Values):
    """The values of a state, decoded anew at every look-up.

    So a node may do with its input what it likes: what is applied to the state later was never in
    its hands. And a value that no code reads is not decoded.
    """

    keys_: Mapping[str, str]  # Key of the state → blob.
    blobs: Mapping[str, Encoded]
    decode: Callable[[bytes], Any]
    # What a migration changed, to be stored with the next checkpoint; `MISSING`: it is gone.
    changes: Mapping[str, Any] = field(default_factory=dict)
    migrated: bool = False  # Then the bytes are not what is stored.

    def __getitem__(self, key: str) -> Any:
        """Return a fresh copy of the value of `key`.

        Raises:
            KeyError: if the key holds no value.
            StateCorruptedError: if it does, and the value is not there or damaged.
        """
        name = self.keys_[key]
        if name not in self.blobs:
            msg = f"the stored value of {key!r} is missing ({name!r})"
            raise StateCorruptedError(msg)
        data = self.blobs[name]
        return self.decode(data if isinstance(data, bytes) else whole(data))

    def get(self, key: str, default: Any = None) -> Any:
        """Return as `__getitem__`, or `default`; most keys are asked for in this way."""
        return self[key] if key in self.keys_ else default

    def __iter__(self) -> Iterator[str]:
        """Iterate over the keys that hold a value."""
        return iter(self.keys_)

    def __len__(self) -> int:
        """Return how many keys hold a value."""
        return len(self.keys_)

    def encoded(self, key: str) -> tuple[str, Encoded] | None:
        """Return how the value of a key is stored; see `Values.encoded`."""
        name = self.keys_.get(key, "")
        return (name, self.blobs[name]) if name in self.blobs and not self.migrated else None
