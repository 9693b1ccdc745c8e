"""How values of classes were ever stored is kept, byte by byte, and read for ever.

When the form of a kind of class changes, `python -m tests.unit.test_codec_golden` adds the new
bytes. A line that is there is never changed.
"""

import dataclasses
import enum
import json
from pathlib import Path
from typing import Any, NamedTuple

import pydantic
import pytest

from orchestrator.serde.codec import ALL_PLAIN, Codec

FILE = Path(__file__).parents[1] / "fixtures" / "values.json"


class Pair(NamedTuple):
    left: Any
    right: Any = 5


class Noted(Pair):
    pass


class Colour(enum.Enum):
    RED = 1
    GREEN = 2


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class Bits(enum.IntFlag):
    ONE = 1


@dataclasses.dataclass
class Data:
    x: int
    y: list[int] = dataclasses.field(default_factory=list)
    never: int = dataclasses.field(init=False, repr=False, compare=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    x: int
    y: int = 2


class Model(pydantic.BaseModel):
    x: int
    y: list[int] = []
    _note: Any = pydantic.PrivateAttr(default=None)


class Open(pydantic.BaseModel, extra="allow"):
    x: int = 1


class Root(pydantic.RootModel[list[int]]):
    _note: int = pydantic.PrivateAttr(default=3)


def noted() -> Noted:
    value = Noted(1, 2)
    value.note = "kept"  # type: ignore[attr-defined]
    return value


def private() -> Model:
    value = Model(x=1)
    value._note = "kept"
    return value


def without(value: Any, name: str) -> Any:
    delattr(value, name)
    return value


VALUES: dict[str, Any] = {
    "pair": Pair(1, 2),
    "pair as key": {Pair(1, 2): "x"},
    "pair of pairs": Pair(Pair(1), [Pair(2)]),
    "noted": noted(),
    "enum": Colour.GREEN,
    "flags": Rights.READ | Rights.WRITE,
    "no flags": Rights(0),
    "bits": Bits(7),
    "data": Data(1, [2]),
    "data without": without(Data(1), "y"),
    "slotted": Slotted(1),
    "slotted as key": {Slotted(1): "x"},
    "model": Model(x=1, y=[2]),
    "private": private(),
    "open": Open(x=2, z=3),
    "root": Root([1]),
    "partial": Model.model_construct(y=[1]),
}
CLASSES = (Pair, Noted, Colour, Rights, Bits, Data, Slotted, Model, Open, Root)
GOLDEN: dict[str, list[str]] = json.loads(FILE.read_text("utf-8")) if FILE.exists() else {}


def codec() -> Codec:
    made = Codec()
    for cls in CLASSES:
        made.register_class(cls, f"golden.{cls.__name__}")
    return made


@pytest.mark.parametrize(
    ("name", "stored"), [(name, stored) for name, all_ in GOLDEN.items() for stored in all_]
)
def test_a_value_comes_back_from_every_form_in_which_it_was_stored(name, stored):
    loaded, value = codec().decode(bytes.fromhex(stored)), VALUES[name]
    assert type(loaded) is type(value)
    if dataclasses.is_dataclass(value) and hasattr(value, "__dict__"):
        assert vars(loaded) == vars(value)
    else:
        assert loaded == value
    assert getattr(loaded, "note", None) == getattr(value, "note", None)


@pytest.mark.parametrize("name", VALUES)
def test_a_value_is_stored_in_the_newest_form(name):
    assert codec().encode(VALUES[name]).hex() == GOLDEN[name][-1]


def test_a_key_of_a_class_is_read_without_the_class():
    for key in (Pair(1, 2), Slotted(1), Colour.RED, Rights.READ):
        ((plain, value),) = Codec().decode(codec().encode({key: 1}), ALL_PLAIN).items()
        assert (hash(plain) is not None, value) == (True, 1)


def add() -> None:
    for name, value in VALUES.items():
        stored, known = codec().encode(value).hex(), GOLDEN.setdefault(name, [])
        if stored not in known:
            known.append(stored)
    FILE.write_text(json.dumps(GOLDEN, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    add()
