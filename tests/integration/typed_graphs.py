"""A graph whose state names classes that other processes do not know."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TypedDict

from pydantic import BaseModel

from orchestrator import START, StateGraph, interrupt


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Item:
    name: str
    cents: int


class Order(BaseModel):
    items: list[Item] = []


class State(TypedDict, total=False):
    order: Order
    colours: list[Colour]
    answer: str


def fill(state: State) -> State:
    return {"order": Order(items=[Item("tea", 350)]), "colours": [Colour.RED, Colour.BLUE]}


def ask(state: State) -> State:
    return {"answer": interrupt(Item("coffee", 400))}


shop = (
    StateGraph(State)
    .add_node(fill)
    .add_node(ask)
    .add_edge(START, "fill")
    .add_edge("fill", "ask")
    .compile(name="shop")
)
