"""A langchain handler for the stream mode `messages`; the rules are LangGraph's.

It hears the tokens of the language models that a step calls, and what the step's node returns.
Importing this module imports langchain-core, so only code that needs it does.

Rule 1: it shows its own step only. Steps of a subgraph have handlers of their own, and inherit this
        one.
Rule 2: a token is shown as it comes. A whole message is shown unless the node was given it or its
        tokens were shown, and it is marked: the reader may know it from another step.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, LLMResult

from orchestrator.ids import new_uuid

__all__ = ["MessagesHandler", "Show", "ids_in"]

_SILENT = "nostream"  # The tag of a model whose tokens are not streamed.
_INTERNAL = "seq:step"  # How tags begin by which langchain numbers the parts of a sequence.

# Shows a message with its metadata; the flag marks a whole one.
Show = Callable[[BaseMessage, Mapping[str, Any], bool], None]


class MessagesHandler(BaseCallbackHandler):
    """Shows what happens in one step."""

    run_inline = True  # In the thread of the model, so that tokens keep their order.

    def __init__(self, ns: str, show: Show) -> None:
        self._ns, self._show = ns, show
        self._runs: dict[UUID, dict[str, Any]] = {}  # Of models, with metadata.
        self._of_node: Mapping[str, Any] = {}
        self._known: set[str] = set()  # The ids of messages given to the node, or shown.

    # ---- models -------------------------------------------------------------------------------

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        **more: Any,
    ) -> None:
        """Remember a model that begins to speak."""
        del serialized, messages
        tags = more.get("tags") or []
        if self._is_own(more.get("metadata")) and _SILENT not in tags:
            metadata = dict(more["metadata"])
            shown = [tag for tag in tags if not tag.startswith(_INTERNAL)]
            self._runs[run_id] = {**metadata, "tags": shown} if shown else metadata

    def on_llm_new_token(self, token: Any, *, chunk: Any = None, run_id: UUID, **more: Any) -> None:
        """Show a token."""
        del token, more
        metadata = self._runs.get(run_id)
        if metadata is not None and isinstance(chunk, ChatGenerationChunk):
            self._emit(chunk.message, metadata, whole=False)

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **more: Any) -> None:
        """Show the whole message, for models that do not stream."""
        del more
        metadata = self._runs.pop(run_id, None)
        if metadata is None or not (response.generations and response.generations[0]):
            return
        generation = response.generations[0][0]
        if isinstance(generation, ChatGeneration):
            self._emit(generation.message, metadata)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **more: Any) -> None:
        """Forget a model that failed."""
        del error, more
        self._runs.pop(run_id, None)

    # ---- the node -----------------------------------------------------------------------------

    def begin(self, metadata: Mapping[str, Any], seen: Any) -> None:
        """Remember what is known of the node, and which messages it is called with."""
        self._of_node = metadata
        self._known |= ids_in(seen)

    def returned(self, values: Iterable[Any]) -> None:
        """Show the messages that the node returned, as values of keys."""
        for message in _held(values):
            self._emit(message, self._of_node)

    # ---- both -----------------------------------------------------------------------------------

    def _is_own(self, metadata: Any) -> bool:
        return bool(metadata) and metadata.get("langgraph_checkpoint_ns") == self._ns

    def _emit(
        self, message: BaseMessage, metadata: Mapping[str, Any], *, whole: bool = True
    ) -> None:
        if message.id is None:
            message.id = new_uuid()  # So that the state keeps it under the id that was shown.
        elif whole and message.id in self._known:
            return
        self._known.add(message.id)
        self._show(message, metadata, whole)

    # By these two methods langchain recognizes who wants tokens, also from `model.invoke()`.

    def tap_output_aiter(self, run_id: UUID, output: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Change nothing about what a runnable streams."""
        del run_id
        return output

    def tap_output_iter(self, run_id: UUID, output: Iterator[Any]) -> Iterator[Any]:
        """Change nothing about what a runnable streams."""
        del run_id
        return output


# ---- where messages are -------------------------------------------------------------------------


def ids_in(seen: Any) -> set[str]:
    """Return the ids of the messages that a node is called with."""
    return {message.id for message in _held(_values(seen)) if message.id is not None}


def _held(values: Iterable[Any]) -> Iterator[BaseMessage]:
    """Return the messages among values, and in lists among them."""
    for value in values:
        if isinstance(value, BaseMessage):
            yield value
        elif _is_list(value):
            yield from (item for item in value if isinstance(item, BaseMessage))


def _values(state: Any) -> list[Any]:
    if isinstance(state, dict):
        return list(state.values())
    if isinstance(state, type):
        return []
    if hasattr(type(state), "model_fields"):
        return [getattr(state, name) for name in type(state).model_fields]
    if is_dataclass(state):
        return [getattr(state, each.name) for each in fields(state)]
    return []


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))
