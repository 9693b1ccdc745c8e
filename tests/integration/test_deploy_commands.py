"""The commands of docker-compose.yml run as they are written, against a real server.

Changed is only what the container would provide: addresses, ports and the place of the heartbeat.
"""

from __future__ import annotations

import base64
import http.client
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis
from celery import Celery
from flower.urls import handlers

from orchestrator.cli.embedded import HOST, free_port
from tests.fixtures.deployment import (
    ROOT,
    Service,
    dockerfile,
    environment_file,
    services,
)
from tests.fixtures.own_server import OwnServer, own_server
from tests.fixtures.processes import exit_code, running

pytestmark = [pytest.mark.server, pytest.mark.slow]

ENV = {**environment_file(ROOT / "deploy" / "compose.env.example"), "FLOWER_PASSWORD": "secret"}
SERVICES = services(ENV)
PASSWORD = ENV["VALKEY_PASSWORD"]
HEARTBEAT = "GRAPHSTALK_HEARTBEAT_FILE"
# Everything that Flower's API would do rather than show.
CONTROLS = sorted(
    entry[0].replace("(.+)", "anything")
    for entry in handlers
    if isinstance(entry, tuple) and entry[0].startswith("/api/") and "post" in vars(entry[1])
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServer]:
    """The server as compose starts it."""
    folder = tmp_path_factory.mktemp("valkey")
    with own_server(folder, SERVICES["valkey"].argv[1:]) as server:
        yield server


@pytest.fixture(scope="module")
def flower(server: OwnServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Flower as compose starts it, and the port of this machine that compose would map to it."""
    service, port = SERVICES["flower"], free_port()
    argv = moved(service.argv, port)
    log = tmp_path_factory.mktemp("flower") / "log"
    with running(argv, at(server, service), log) as process:
        check = moved(service.spec["healthcheck"]["test"][1:], port)
        process.wait_until(lambda: exit_code(check, {}) == 0)
        yield port


def moved(argv: list[str], port: int) -> list[str]:
    """Return a command of the container Flower as it must be outside of one."""
    return [word.replace("5555", str(port)).replace("0.0.0.0", HOST) for word in argv]


def at(server: OwnServer, service: Service) -> dict[str, str]:
    """Return the environment of a service, with the server where it is."""
    return {**service.spec["environment"], "REDIS_URL": server.url(PASSWORD)}


def ask(port: int, method: str, path: str, *, password: str | None = None) -> tuple[int, str]:
    """Return the status and the text of an answer from Flower."""
    headers = {}
    if password is not None:
        words = base64.b64encode(f"{ENV['FLOWER_USER']}:{password}".encode()).decode()
        headers["Authorization"] = f"Basic {words}"
    connection = http.client.HTTPConnection(HOST, port, timeout=30)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8", "replace")
    finally:
        connection.close()


# The image


def test_what_the_image_copies_is_enough_to_build_the_project(tmp_path: Path) -> None:
    instructions = dockerfile()
    second_stage = [word for word, _ in instructions].index("FROM", 1)
    for word, rest in instructions[:second_stage]:
        if word == "COPY":
            copy_into(tmp_path, rest.split()[:-1])
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", "out"]
    subprocess.run(build, cwd=tmp_path, check=True, capture_output=True)
    (wheel,) = (tmp_path / "out").glob("graphstalk-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    for package in ("orchestrator", "workers"):
        for path in (ROOT / package).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert path.relative_to(ROOT).as_posix() in packed


def copy_into(folder: Path, sources: list[str]) -> None:
    """Copy as the instruction COPY does."""
    for source in sources:
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, folder / source)
        else:
            shutil.copy(ROOT / source, folder)


# The server


def test_the_server_keeps_everything_and_evicts_nothing(server: OwnServer) -> None:
    with server.client(PASSWORD) as client:
        assert client.config_get("append*")["appendonly"] == "yes"
        assert client.config_get("append*")["appendfsync"] == "everysec"
        assert client.config_get("save") == {"save": ""}
        assert client.config_get("maxmemory*")["maxmemory-policy"] == "noeviction"
        assert client.config_get("maxmemory") == {"maxmemory": str(768 * 1024 * 1024)}


def test_the_server_answers_nobody_without_the_password(server: OwnServer) -> None:
    with server.client() as client, pytest.raises(redis.AuthenticationError):
        client.get("k")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_password_does_not_stay_on_the_command_line(server: OwnServer) -> None:
    with server.client(PASSWORD) as client:
        pid = client.info("server")["process_id"]
    assert PASSWORD.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    options = SERVICES["valkey"].argv[1:]
    with own_server(tmp_path, options) as server, server.client(PASSWORD) as client:
        client.set("k", "v")
    with own_server(tmp_path, options) as server, server.client(PASSWORD) as client:
        assert client.get("k") == "v"


# The workers


@pytest.mark.parametrize("name", ["worker", "worker-cpu"])
def test_a_worker_starts_is_healthy_and_stops(name: str, server: OwnServer, tmp_path: Path) -> None:
    service, heartbeat = SERVICES[name], tmp_path / "heartbeats" / "one"
    env = {**at(server, service), HEARTBEAT: str(heartbeat)}
    check = service.spec["healthcheck"]["test"][1:]
    assert exit_code(check, env) == 1  # Nobody has started yet.

    with running(service.argv, env, tmp_path / "log") as worker:
        worker.wait_until(lambda: exit_code(check, env) == 0)
        with Celery(broker=server.url(PASSWORD), set_as_current=False) as app:
            queue = f"graphstalk:queue:{service.option('--queues')}"
            worker.wait_until(lambda: queues_of(app) == {queue})
        assert worker.terminate() == 0

    old_s = time.time() - float(check[-1]) - 1
    if heartbeat.exists():
        os.utime(heartbeat, (old_s, old_s))
    assert exit_code(check, env) == 1


def test_a_worker_that_waits_for_its_server_is_healthy(tmp_path: Path) -> None:
    heartbeat, young_s = tmp_path / "heartbeat", 4
    with ExitStack() as server_lives:
        server = server_lives.enter_context(own_server(tmp_path, ["--save", ""]))
        env = {"REDIS_URL": server.url(), HEARTBEAT: str(heartbeat)}
        with running(SERVICES["worker"].argv, env, tmp_path / "log") as worker:
            worker.wait_until(heartbeat.exists)
            server_lives.close()
            gone_s = time.monotonic()
            worker.wait_until(lambda: time.monotonic() - gone_s > 2 * young_s)
            assert exit_code(["python", "-m", "workers.health", str(young_s)], env) == 0


def queues_of(app: Celery) -> set[str]:
    """Return the queues that the workers of a server take from."""
    answers = app.control.inspect(timeout=2).active_queues() or {}
    return {queue["name"] for queues in answers.values() for queue in queues}


# Flower


def test_flower_shows_nothing_without_the_password(flower: int) -> None:
    for path in ("/", "/tasks", "/broker", "/api/workers", "/api/tasks"):
        assert ask(flower, "GET", path)[0] == 401, path
        assert ask(flower, "GET", path, password="guess")[0] == 401, path


def test_flower_shows_the_fleet_to_who_has_the_password(flower: int) -> None:
    assert ask(flower, "GET", "/", password="secret")[0] == 200
    assert ask(flower, "GET", "/api/tasks", password="secret") == (200, "{}")


def test_flower_has_controls_that_could_be_used() -> None:
    assert "/api/worker/shutdown/anything" in CONTROLS
    assert "/api/task/send-task/anything" in CONTROLS


@pytest.mark.parametrize("path", CONTROLS)
def test_flower_controls_nothing(flower: int, path: str) -> None:
    status, text = ask(flower, "POST", path, password="secret")
    assert (status, text) == (403, "Read only mode is enabled")
