"""The Celery message of a step, rendered so that a script can push it.

The message is built once by Celery itself and kept as a template: what a Celery upgrade changes, it
changes here too. Only the ids, the name that Flower shows, the queue and the arguments are
filled in.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import uuid
from typing import Any, NamedTuple

from orchestrator.model.commit import ReadyStep

__all__ = [
    "STEP_TASK",
    "MessageRenderer",
    "StepMessage",
    "celery_template",
    "importing",
    "parse_message",
    "step_arguments",
]

STEP_TASK = "graphstalk.step"  # The Celery task that does a step.

importing = threading.Lock()  # Celery's names appear one by one: it must be imported by one only.

_ID, _SHADOW, _QUEUE, _BODY, _TAG, _REPR = (f"@@{i}@@" for i in range(6))


class StepMessage(NamedTuple):
    """What the message of a step says."""

    task_id: str
    shadow: str  # The name that Flower shows.
    thread: str
    step: str
    sent_ms: int


def parse_message(data: bytes) -> StepMessage | None:
    """Return what a message on a broker's list says; `None` if it is not that of a step."""
    try:
        message = json.loads(data)
        headers, body = message["headers"], message["body"]
        if headers["task"] != STEP_TASK:
            return None
        if message["properties"]["body_encoding"] == "base64":
            body = base64.b64decode(body)
        _, given, _ = json.loads(body)
        shadow = str(headers.get("shadow") or STEP_TASK)
        sent_ms = int(given.get("sent", 0))
        return StepMessage(headers["id"], shadow, given["thread"], given["step"], sent_ms)
    except (ValueError, LookupError, TypeError, AttributeError):
        return None


def step_arguments(step: ReadyStep, now_ms: int) -> dict[str, Any]:
    """Return the keyword arguments of a step's task: which step, and when the message was sent."""
    return {"thread": step.thread_id, "step": step.step_id, "sent": now_ms}


def celery_template() -> str:
    """Return the template, as this process's Celery renders it.

    The message goes through a producer on kombu's in-memory transport, whose messages have the form
    that the Redis transport puts on a list.
    """
    with importing:
        from celery import Celery  # noqa: PLC0415 - only those who send need Celery
    from kombu.connection import Connection  # noqa: PLC0415
    from kombu.entity import Queue  # noqa: PLC0415

    app = Celery("graphstalk", broker="memory://", set_as_current=False)
    app.conf.task_ignore_result = True
    captured: list[dict[str, Any]] = []
    with Connection("memory://") as connection, connection.channel() as channel:
        channel._put = lambda _queue, message, **_: captured.append(message)  # noqa: SLF001
        app.send_task(
            STEP_TASK,
            kwargs={},
            task_id=_ID,
            shadow=_SHADOW,
            queue=Queue(_QUEUE),
            producer=app.amqp.Producer(channel),
            ignore_result=True,
        )
    message = captured[0]
    body = json.loads(base64.b64decode(message["body"]))
    message["body"] = _BODY
    message["headers"]["kwargsrepr"] = _REPR
    properties = message["properties"]
    properties["body_encoding"] = "utf-8"  # The body stays readable; base64 is only the default.
    properties["delivery_tag"] = _TAG
    properties["reply_to"] = ""
    return json.dumps({"message": json.dumps(message), "embed": body[2]})


class MessageRenderer:
    """Fills the template in: (step, store's time) → (queue list, message)."""

    def __init__(self, template: str, queue_prefix: str) -> None:
        """Take the template apart.

        Args:
            template: see `celery_template`.
            queue_prefix: what the broker's names of queues begin with.
        """
        self.template, self._queue_prefix = template, queue_prefix
        parsed = json.loads(template)
        self._message: str = parsed["message"]
        self._embed = json.dumps(parsed["embed"])
        self._of_node: dict[tuple[str, str, str], tuple[str, list[str]]] = {}

    def __call__(self, step: ReadyStep, now_ms: int) -> tuple[str, bytes]:
        """Return the list that the step's queue is, and the message."""
        node = (step.graph, step.node, step.queue)
        cut = self._of_node.get(node)
        if cut is None:
            cut = self._of_node[node] = self._cut(step)
        queue, pieces = cut
        arguments = step_arguments(step, now_ms)
        values = {
            _ID: _escaped(step.task_id),
            _BODY: _escaped(f"[[], {json.dumps(arguments)}, {self._embed}]"),
            _TAG: uuid.uuid4().hex,
            _REPR: _escaped(repr(arguments)),
        }
        return queue, "".join([values.get(piece, piece) for piece in pieces]).encode()

    def _cut(self, step: ReadyStep) -> tuple[str, list[str]]:
        """Return a node's queue, and its template, cut so that each blank is a piece of its own."""
        queue = self._queue_prefix + step.queue
        text = self._message.replace(_SHADOW, _escaped(step.shadow))
        text = text.replace(_QUEUE, _escaped(queue))
        return queue, re.split(f"({_ID}|{_BODY}|{_TAG}|{_REPR})", text)


def _escaped(text: str) -> str:
    return json.dumps(text)[1:-1]
