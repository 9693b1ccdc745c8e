"""The doctor's questions about this machine are answered without importing what they are about."""

from pathlib import Path

import pytest

from orchestrator.cli.deployment import places_of
from orchestrator.cli.exits import line_of
from orchestrator.config import without_password, without_secrets

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("redis://:secret@h:1/0", "redis://:***@h:1/0"),
        ("rediss://user:p%40ss@h:1/0?ssl=1", "rediss://user:***@h:1/0?ssl=1"),
        ("redis://u:a/b@c@h:1/0", "redis://u:***@h:1/0"),
        ("redis://h:1/0?password=secret&db=2", "redis://h:1/0?password=***&db=2"),
        ("amqp://a:x@h1//;amqp://a:y@h2//", "amqp://a:***@h2//"),
        ("http://[", "http://["),
    ],
)
def test_a_password_is_never_shown(url: str, shown: str) -> None:
    assert without_password(url) == shown


@pytest.mark.parametrize(
    ("url", "text", "shown"),
    [
        ("", "cannot reach amqp://u:secret@h1//, nor amqp://u:secret@h2//", None),
        ("redis://:secret@h:1/0", "AUTH secret was refused", "AUTH *** was refused"),
        ("amqp://u:se%2Fcret@h//", "no login with 'se/cret'", "no login with '***'"),
        ("amqp://u:sec/ret@h//", "no port: 'sec'", "no port: '***'"),
        ("redis://h/0?password=secret", "no option secret", "no option ***"),
        ("amqp://u:secret@h//", "vhost nosuch not found", "vhost nosuch not found"),
    ],
)
def test_no_error_shows_a_password(url: str, text: str, shown: str | None) -> None:
    found = without_secrets(text, url)
    assert found == (shown or "cannot reach amqp://u:***@h1//, nor amqp://u:***@h2//")


def test_an_error_of_a_command_shows_no_password() -> None:
    line = line_of(RuntimeError("cannot reach redis://u:secret@h:1/0"))
    assert "redis://u:***@h:1/0" in line
    assert "secret" not in line


def test_our_names_lead_to_us_from_anywhere(tmp_path: Path) -> None:
    place = places_of(["orchestrator"], tmp_path)["orchestrator"]
    assert place.found == place.expected == str(ROOT / "orchestrator")


@pytest.mark.parametrize("made", ["workers/__init__.py", "workers.py"])
def test_a_local_folder_or_file_of_our_name_is_seen(made: str, tmp_path: Path) -> None:
    path = tmp_path / made
    path.parent.mkdir(exist_ok=True)
    path.touch()
    place = places_of(["workers"], tmp_path)["workers"]
    shadow = path.parent if path.name == "__init__.py" else path
    assert (place.found, place.expected) == (str(shadow), str(ROOT / "workers"))


def test_a_local_folder_that_is_no_package_does_not_win(tmp_path: Path) -> None:
    (tmp_path / "workers").mkdir()
    place = places_of(["workers"], tmp_path)["workers"]
    assert place.found == place.expected


def test_a_name_we_do_not_ship_is_not_looked_for(tmp_path: Path) -> None:
    assert places_of(["no_such_package_of_ours"], tmp_path) == {}
