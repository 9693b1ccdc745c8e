"""The rendered message is the one that Celery itself would send."""

import base64
import json

import pytest
from celery import Celery
from kombu.connection import Connection
from kombu.entity import Queue

from orchestrator.dispatch.message import (
    STEP_TASK,
    MessageRenderer,
    StepMessage,
    celery_template,
    parse_message,
    step_arguments,
)
from orchestrator.model.commit import ReadyStep

NOW_MS = 1_763_000_000_123

ODD_IDS = [
    "plain",
    'it\'s "quoted"',
    "naïve ☃ 線",
    "{braces} {0} %s %(x)s",
    "back\\slash \\u0041 \\n",
    "@@0@@ @@3@@",
    "</script>&amp;",
    "a:b:c",
    "x" * 255,
]


PREFIX = "mine:queue:"


def ready(thread_id="thread", **more):
    fields = {"graph": "my-graph", "node": "work", "number": 3, "queue": "steps"} | more
    return ReadyStep(thread_id=thread_id, step_id="ab" * 16, checkpoint_id=5, **fields)


@pytest.fixture(scope="module")
def template():
    return celery_template()


@pytest.fixture
def render(template):
    return MessageRenderer(template, PREFIX)


def sent_by_celery(step, now_ms=NOW_MS):
    """The message that Celery puts on the queue when it is asked to send the task."""
    app = Celery("graphstalk", broker="memory://", set_as_current=False)
    captured = []
    with Connection("memory://") as connection, connection.channel() as channel:
        channel._put = lambda queue, message, **_: captured.append((queue, message))
        app.send_task(
            STEP_TASK,
            kwargs=step_arguments(step, now_ms),
            task_id=step.task_id,
            shadow=f"{step.graph}.{step.node}",
            queue=Queue(PREFIX + step.queue),
            producer=app.amqp.Producer(channel),
            ignore_result=True,
        )
    (sent,) = captured
    return sent


def taken_by_a_worker(data):
    """What a consumer of kombu makes of the message."""
    with Connection("memory://") as connection, connection.channel() as channel:
        return channel.message_to_python(json.loads(data))


@pytest.mark.parametrize("thread_id", ODD_IDS)
@pytest.mark.parametrize("index", [-1, 7])
def test_the_message_is_celerys_own_field_by_field(render, thread_id, index):
    step = ready(thread_id, index=index)
    their_queue, theirs = sent_by_celery(step)
    queue, data = render(step, NOW_MS)
    ours = json.loads(data)
    assert queue == their_queue == "mine:queue:steps"
    assert set(ours) == set(theirs)
    assert json.loads(ours.pop("body")) == json.loads(base64.b64decode(theirs.pop("body")))
    properties, their_properties = ours.pop("properties"), theirs.pop("properties")
    headers, their_headers = ours.pop("headers"), theirs.pop("headers")
    # For people only; Celery's own form of it leaves backslashes as they are.
    assert headers.pop("kwargsrepr").replace("\\\\", "\\") == their_headers.pop("kwargsrepr")
    assert headers == their_headers
    assert ours == theirs
    # These differ on purpose: readable body, own tags, nobody to reply to.
    mine = {"body_encoding", "delivery_tag", "reply_to"}
    assert set(properties) == set(their_properties)
    assert [k for k in properties if k not in mine and properties[k] != their_properties[k]] == []
    assert (properties["body_encoding"], properties["reply_to"]) == ("utf-8", "")


@pytest.mark.parametrize("thread_id", ODD_IDS)
def test_a_consumer_reads_the_arguments_that_were_sent(render, thread_id):
    message = taken_by_a_worker(render(ready(thread_id), NOW_MS)[1])
    args, kwargs, embed = message.decode()
    assert args == []
    assert kwargs == {"thread": thread_id, "step": "ab" * 16, "sent": NOW_MS}
    assert set(embed) == {"callbacks", "errbacks", "chain", "chord"}
    assert message.headers["task"] == STEP_TASK


@pytest.mark.parametrize(
    ("index", "task_id"), [(-1, "thread:3:work"), (0, "thread:3:work:0"), (12, "thread:3:work:12")]
)
def test_the_task_id_tells_thread_superstep_node_and_index(render, index, task_id):
    message = json.loads(render(ready(index=index), NOW_MS)[1])
    assert message["headers"]["id"] == message["headers"]["root_id"] == task_id
    assert message["properties"]["correlation_id"] == task_id


def test_people_see_graph_and_node_as_the_tasks_name(render):
    message = json.loads(render(ready(), NOW_MS)[1])
    assert message["headers"]["shadow"] == "my-graph.work"
    assert message["headers"]["kwargsrepr"] == repr(step_arguments(ready(), NOW_MS))


def test_no_two_messages_share_a_delivery_tag_even_of_one_step(render):
    messages = [json.loads(render(ready(), NOW_MS)[1]) for _ in range(200)]
    assert len({message["properties"]["delivery_tag"] for message in messages}) == 200


def test_a_message_is_rendered_for_the_queue_graph_and_node_of_its_step(render):
    one = ready()
    for step in (one, ready(queue="gpu"), ready(graph="other"), ready(node="é"), one):
        queue, data = render(step, NOW_MS)
        message = json.loads(data)
        assert queue == PREFIX + step.queue == message["properties"]["delivery_info"]["routing_key"]
        assert message["headers"]["shadow"] == f"{step.graph}.{step.node}"


def test_names_that_look_like_blanks_of_the_template_stay_names(render):
    step = ready("@@2@@", graph="@@5@@", node="@@4@@", queue="@@3@@")
    message = json.loads(render(step, NOW_MS)[1])
    assert message["headers"]["id"] == "@@2@@:3:@@4@@"


def test_the_template_is_text_that_another_process_can_use(template):
    step = ready()
    one, other = (
        MessageRenderer(template, PREFIX),
        MessageRenderer(str(json.loads(json.dumps(template))), PREFIX),
    )
    ours, theirs = json.loads(one(step, 1)[1]), json.loads(other(step, 1)[1])
    for message in (ours, theirs):
        del message["properties"]["delivery_tag"]
    assert ours == theirs
    assert one.template == template


def test_nobody_waits_for_a_result(render):
    assert json.loads(render(ready(), NOW_MS)[1])["headers"]["ignore_result"] is True


@pytest.mark.parametrize("thread_id", ODD_IDS)
def test_a_message_says_again_what_it_was_made_of(template, thread_id):
    step = ready(thread_id, node="naïve")
    _, message = MessageRenderer(template, PREFIX)(step, NOW_MS)
    said = StepMessage(step.task_id, "my-graph.naïve", thread_id, step.step_id, NOW_MS)
    assert parse_message(message) == said


def test_a_message_that_celery_encoded_is_read_too(template):
    _, message = MessageRenderer(template, PREFIX)(ready(), NOW_MS)
    coded = json.loads(message)
    coded["body"] = base64.b64encode(coded["body"].encode()).decode()
    coded["properties"]["body_encoding"] = "base64"
    assert parse_message(json.dumps(coded).encode()) == parse_message(message)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\x00",
        b"null",
        b"[]",
        b"{}",
        b'{"headers": {"task": "graphstalk.step"}, "body": "", "properties": {}}',
        b'{"headers": {"task": "of.another"}, "body": "[[], {}, {}]", "properties": {}}',
        (
            b'{"headers": {"task": "graphstalk.step", "id": "1"}, "body": "[[], {}, {}]", '
            b'"properties": {"body_encoding": "utf-8"}}'
        ),
        (
            b'{"headers": {"task": "graphstalk.step", "id": "1"}, "body": "%%%", '
            b'"properties": {"body_encoding": "base64"}}'
        ),
    ],
)
def test_what_is_no_message_of_a_step_is_none(data):
    assert parse_message(data) is None
