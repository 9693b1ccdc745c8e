"""The files that deploy graphstalk name only what exists, and say what they must.

Whether their commands run against a real server is what tests/integration/test_deploy_commands.py
asks.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib import metadata
from pathlib import PurePosixPath
from typing import Any

import click
import jsonschema
import pytest
from flower.options import default_options

from orchestrator.cli import cli
from tests.fixtures.deployment import (
    ROOT,
    MissingVariableError,
    Service,
    compose,
    dockerfile,
    environment_file,
    seconds,
    services,
    unit,
    variables,
)

EXAMPLE = ROOT / "deploy" / "compose.env.example"
OFFLINE = "FLOWER_PURGE_OFFLINE_WORKERS"
AS_FLOWER_READS_IT = """
import workers.app
from flower.command import apply_env_options, options
apply_env_options()
print(options.purge_offline_workers)
"""
ENV = {**environment_file(EXAMPLE), "FLOWER_PASSWORD": "secret"}
SERVICES = services(ENV)
OURS = [name for name, service in SERVICES.items() if service.is_ours]
WORKERS = [name for name in OURS if SERVICES[name].argv[1] == "worker"]
INSTRUCTIONS = dockerfile()
CONTEXT_COPIES = [rest for word, rest in INSTRUCTIONS if word == "COPY" and "--from" not in rest]


def schema() -> dict[str, Any]:
    path = ROOT / "tests" / "fixtures" / "compose-spec.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def check(document: dict[str, Any]) -> None:
    """Hold a compose file against the schema."""
    jsonschema.Draft202012Validator(schema()).validate(document)


def start_check(argv: list[str]) -> None:
    """Let a command's own parser accept its arguments.

    Raises:
        click.UsageError: if it does not.
    """
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    program, *arguments = argv
    match program:
        case "graphstalk":
            assert scripts["scripts"][program] == "orchestrator.cli:main"
            assert callable(importlib.import_module("orchestrator.cli").main)
            accept_graphstalk(arguments)
        case "celery":
            (script,) = metadata.entry_points(group="console_scripts", name=program)
            assert callable(script.load())
            accept_flower(arguments)
        case "python":
            accept_python(arguments)
        case _:
            msg = f"{program!r} is not in our image"
            raise click.UsageError(msg)


def accept_graphstalk(arguments: list[str]) -> None:
    name, *rest = arguments
    command = cli.get_command(click.Context(cli), name)
    if command is None:
        msg = f"graphstalk has no command {name!r}"
        raise click.UsageError(msg)
    command.make_context(name, list(rest)).close()


def accept_flower(arguments: list[str]) -> None:
    """Flower drops options it does not know without a word; here they are an error."""
    flag, app, name, *options = arguments
    assert (flag, app, name) == ("-A", "workers.app", "flower")
    assert importlib.util.find_spec(app), app
    (plugin,) = metadata.entry_points(group="celery.commands", name=name)
    assert isinstance(plugin.load(), click.Command)
    for option in options:
        word = option.removeprefix("--").partition("=")[0]
        if word not in default_options:
            msg = f"Flower has no option {option!r}"
            raise click.UsageError(msg)


def accept_python(arguments: list[str]) -> None:
    flag, what, *_ = arguments
    if flag == "-m":
        assert importlib.util.find_spec(what), what
    else:
        assert flag == "-c"
        compile(what, "<healthcheck>", "exec")


def health_command(test: list[str]) -> list[str]:
    """Return the words of an exec-form health check."""
    form, *words = test
    assert form == "CMD", "a shell would hide the exit code and needs to be there"
    return words


# The compose file


def test_the_compose_file_follows_the_specification() -> None:
    check(compose())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda services: services["worker"].update(comand=["worker"]),
        lambda services: services["valkey"].update(ports={"6379": "6379"}),
        lambda services: services["valkey"]["healthcheck"].update(interval=5),
        lambda services: services["worker"]["depends_on"]["valkey"].update(condition="healthy"),
    ],
    ids=["unknown key", "ports as a mapping", "interval without unit", "unknown condition"],
)
def test_the_specification_refuses_mistakes(spoil: Callable[[dict[str, Any]], None]) -> None:
    document = copy.deepcopy(compose())
    spoil(document["services"])
    with pytest.raises(jsonschema.ValidationError):
        check(document)


def test_the_example_of_an_environment_names_every_variable() -> None:
    assert set(environment_file(EXAMPLE)) == variables()


def test_only_the_password_of_flower_has_no_default() -> None:
    with pytest.raises(MissingVariableError, match="FLOWER_PASSWORD"):
        services({})
    assert services({"FLOWER_PASSWORD": "secret"}).keys() == SERVICES.keys()


def test_defaults_are_the_ones_in_the_example() -> None:
    assert services({"FLOWER_PASSWORD": "secret"}) == SERVICES


@pytest.mark.parametrize("name", SERVICES)
def test_nothing_is_published_to_other_hosts(name: str) -> None:
    for port in SERVICES[name].spec.get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_contained(name: str) -> None:
    spec = SERVICES[name].spec
    assert spec["read_only"] is True
    assert spec["cap_drop"] == ["ALL"]
    assert spec["security_opt"] == ["no-new-privileges:true"]
    assert spec["restart"] == "unless-stopped"
    assert {"cpus", "memory", "pids"} == spec["deploy"]["resources"]["limits"].keys()
    assert not re.search(r":latest$|^[^:]+$", spec["image"])


def test_the_server_keeps_what_it_is_told() -> None:
    valkey = SERVICES["valkey"]
    assert valkey.option("--appendonly") == "yes"
    assert valkey.option("--appendfsync") == "everysec"
    assert valkey.option("--maxmemory-policy") == "noeviction"
    assert valkey.spec["volumes"] == ["valkey-data:/data"]
    assert "valkey-data" in compose()["volumes"]


def test_the_server_asks_everybody_for_the_password() -> None:
    changed = services({**ENV, "VALKEY_PASSWORD": "another"})
    valkey = changed["valkey"]
    assert valkey.option("--requirepass") == "another"
    assert valkey.spec["environment"]["VALKEYCLI_AUTH"] == "another"
    for name in OURS:
        url = changed[name].spec["environment"]["REDIS_URL"]
        assert url == "redis://:another@valkey:6379/0"


def test_the_server_has_room_to_rewrite_its_file() -> None:
    limit = SERVICES["valkey"].spec["deploy"]["resources"]["limits"]["memory"]
    data = SERVICES["valkey"].option("--maxmemory")
    assert int(data.removesuffix("mb")) * 1.5 <= int(limit.removesuffix("m"))


def test_there_are_workers_for_different_queues() -> None:
    queues = [SERVICES[name].option("--queues") for name in WORKERS]
    assert sorted(queues) == ["cpu", "graphstalk"]


@pytest.mark.parametrize("name", OURS)
def test_our_services_wait_for_a_healthy_server(name: str) -> None:
    assert SERVICES[name].spec["depends_on"] == {"valkey": {"condition": "service_healthy"}}
    assert SERVICES[name].spec["init"] is True


def test_one_service_builds_the_image_and_all_use_it() -> None:
    builds = [service.spec["build"] for service in SERVICES.values() if "build" in service.spec]
    (build,) = builds
    assert (ROOT / build["context"] / build["dockerfile"]).is_file()
    assert len({SERVICES[name].spec["image"] for name in OURS}) == 1


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_is_healthy_by_its_heartbeat(name: str) -> None:
    spec = SERVICES[name].spec
    assert spec["healthcheck"]["test"] == ["CMD", "python", "-m", "workers.health", "15"]
    heartbeat = PurePosixPath(spec["environment"]["GRAPHSTALK_HEARTBEAT_FILE"])
    writable = [PurePosixPath(mount.partition(":")[0]) for mount in spec["tmpfs"]]
    assert any(heartbeat.is_relative_to(folder) for folder in writable)


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_has_time_to_finish(name: str) -> None:
    app = importlib.import_module("workers.app").app
    grace_s = seconds(SERVICES[name].spec["stop_grace_period"])
    assert grace_s > app.conf.worker_soft_shutdown_timeout
    assert grace_s == int(unit()["TimeoutStopSec"][0])


def test_flower_can_only_look_and_asks_for_a_password() -> None:
    flower = SERVICES["flower"]
    assert "--read_only=true" in flower.argv
    assert flower.spec["environment"]["FLOWER_BASIC_AUTH"] == "graphstalk:secret"


@pytest.mark.parametrize(("given", "shown"), [({}, "60"), ({OFFLINE: "5"}, "5")])
def test_flower_removes_workers_that_are_gone(given: dict[str, str], shown: str) -> None:
    env = {k: v for k, v in os.environ.items() if not k.startswith("FLOWER_")}
    argv = [sys.executable, "-c", AS_FLOWER_READS_IT]
    done = subprocess.run(
        argv, env={**env, **given}, cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == shown


# Commands


@pytest.mark.parametrize("name", OURS)
def test_the_command_of_a_service_exists_and_is_accepted(name: str) -> None:
    start_check(SERVICES[name].argv)


@pytest.mark.parametrize("name", OURS)
def test_the_health_check_of_a_service_needs_no_shell_and_exists(name: str) -> None:
    start_check(health_command(SERVICES[name].spec["healthcheck"]["test"]))


@pytest.mark.parametrize(
    "argv",
    [
        ["graphstalk", "wroker"],
        ["graphstalk", "worker", "--queue", "cpu"],
        ["graphstalk", "worker", "--concurrency", "many"],
        ["celery", "-A", "workers.app", "flower", "--readonly=true"],
        ["sh", "-c", "graphstalk worker"],
    ],
    ids=" ".join,
)
def test_a_command_that_does_not_exist_is_noticed(argv: list[str]) -> None:
    with pytest.raises(click.UsageError):
        start_check(argv)


# The image


def test_the_image_runs_without_root_and_without_a_shell() -> None:
    last = dict(INSTRUCTIONS)
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last["USER"])
    assert Service("image", {"image": "graphstalk:test", "command": []}).argv == ["graphstalk"]
    assert json.loads(last["CMD"]) == ["--help"]


def test_the_image_is_healthy_by_the_heartbeat() -> None:
    options, _, words = dict(INSTRUCTIONS)["HEALTHCHECK"].partition(" CMD ")
    check_of_compose = SERVICES["worker"].spec["healthcheck"]
    assert ["CMD", *json.loads(words)] == check_of_compose["test"]
    for option in options.split():
        name, _, value = option.removeprefix("--").replace("-", "_").partition("=")
        assert str(check_of_compose[name]) == value


def test_the_image_holds_hashed_packages_only() -> None:
    installs = [rest for word, rest in INSTRUCTIONS if word == "RUN" and "pip install" in rest]
    locked, project = installs
    assert "--require-hashes" in locked
    assert "--no-deps" in project
    assert "--no-build-isolation" in project
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    backend = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]
    for requirement in [*backend["requires"], "celery", "flower"]:
        name = re.split(r"[<>=~]", requirement)[0]
        assert re.search(rf"^{name}==\S+.*\\\n +--hash=sha256:", lock, re.MULTILINE), name


def test_stages_start_from_one_python() -> None:
    bases = {rest.split()[0] for word, rest in INSTRUCTIONS if word == "FROM"}
    assert bases == {"python:3.13-slim"}


@pytest.mark.parametrize("copied", CONTEXT_COPIES)
def test_what_the_image_copies_exists_and_reaches_the_builder(copied: str) -> None:
    ignore = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignore
    for source in copied.split()[:-1]:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in ignore


# The unit and the users


def test_the_unit_starts_a_worker_for_the_queue_in_its_name() -> None:
    (command,) = unit()["ExecStart"]
    path, *arguments = command.replace("%i", "cpu").split()
    assert PurePosixPath(path).is_absolute()
    start_check([PurePosixPath(path).name, *arguments])
    assert arguments[:3] == ["worker", "--queues", "cpu"]


def test_the_unit_lets_a_worker_finish_and_brings_it_back() -> None:
    directives = unit()
    assert directives["Type"] == ["exec"]
    assert directives["KillMode"] == ["mixed"]
    assert directives["Restart"] == ["always"]
    assert directives["User"] != ["root"]


def test_the_unit_keeps_the_heartbeat_where_it_may_write() -> None:
    directives = unit()
    (folder,) = directives["RuntimeDirectory"]
    assert f"GRAPHSTALK_HEARTBEAT_FILE=/run/{folder}/heartbeat" in directives["Environment"]


def test_the_users_of_the_server_are_shipped_without_passwords() -> None:
    lines = (ROOT / "deploy" / "valkey.acl").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "user default off"
    for line in lines:
        word, _, *rules = line.split()
        assert word == "user"
        assert not [rule for rule in rules if rule[0] in "><#" or rule == "nopass"]
