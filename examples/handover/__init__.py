"""Two agents that hand a customer over to each other, with a model that only pretends.

An agent asks its model, and the model says either what to answer or who knows better. The agent
returns a `Command`: the message it adds, and where the conversation goes next. Any real model with
the same two abilities fits in the place of `FakeModel`.
"""

import operator
from typing import Annotated, Literal, NamedTuple, TypedDict

from orchestrator import END, START, Command, StateGraph


class Talk(TypedDict, total=False):
    """A conversation: who said what."""

    lines: Annotated[list[tuple[str, str]], operator.add]


class Reply(NamedTuple):
    """What a model says: some text, and perhaps an agent to hand over to."""

    text: str
    hand_over_to: str | None = None


class FakeModel:
    """Says what its rules say for a word in the question."""

    def __init__(self, rules: dict[str, Reply], otherwise: Reply) -> None:
        """Take the rules, by word."""
        self._rules, self._otherwise = rules, otherwise

    def ask(self, question: str) -> Reply:
        """Return the reply of the first rule whose word occurs."""
        found = (reply for word, reply in self._rules.items() if word in question.lower())
        return next(found, self._otherwise)


sales_model = FakeModel(
    {
        "broken": Reply("That is for our technicians.", "support"),
        "price": Reply("It costs 12 euros."),
    },
    otherwise=Reply("What would you like to buy?"),
)
support_model = FakeModel(
    {
        "buy": Reply("My colleague in sales helps you.", "sales"),
        "broken": Reply("Please turn it off and on again."),
    },
    otherwise=Reply("What is broken?"),
)

Next = Literal["sales", "support", "__end__"]


def _speak(name: str, model: FakeModel, talk: Talk) -> Command[Next]:
    asked = [text for speaker, text in talk["lines"] if speaker == "customer"]
    reply = model.ask(asked[-1])
    return Command(update={"lines": [(name, reply.text)]}, goto=reply.hand_over_to or END)


def sales(talk: Talk) -> Command[Next]:
    """Sell, or hand over to support."""
    return _speak("sales", sales_model, talk)


def support(talk: Talk) -> Command[Next]:
    """Mend, or hand over to sales."""
    return _speak("support", support_model, talk)


builder = StateGraph(Talk)
builder.add_node(sales)
builder.add_node(support)
builder.add_edge(START, "sales")
