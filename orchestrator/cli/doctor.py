"""`graphstalk doctor`: gather the facts, judge them, say what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from orchestrator.cli.exits import Exit
from orchestrator.cli.options import as_json_option, connecting, graphs_option
from orchestrator.cli.output import colour_allowed, plain, show, show_json

if TYPE_CHECKING:
    from orchestrator.cli.findings import Finding

__all__ = ["doctor"]

COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command()
@graphs_option
@as_json_option
@connecting
def doctor(*, graphs: dict[str, str], as_json: bool, url: str | None) -> int:
    """Say what would hurt: the server, its settings, imports, graphs, workers.

    Exit code 1 if something is found that loses work or keeps it from running.
    """
    from orchestrator.cli.facts import gather  # --help must not pay for it.
    from orchestrator.cli.findings import judge

    findings = judge(gather(url, graphs))
    failed = any(finding.level == "fail" for finding in findings)
    if as_json:
        show_json({"ok": not failed, "findings": [plain(finding) for finding in findings]})
    else:
        show(listing(findings))
    return Exit.FAILURE if failed else Exit.OK


def listing(findings: Sequence[Finding]) -> str:
    """Return findings for people: a line each, with what to do under what is not well."""
    lines = []
    for finding in findings:
        mark = f"{finding.level.upper():<4}"
        if colour_allowed():
            mark = click.style(mark, fg=COLOURS[finding.level], bold=True)
        lines.append(f"{mark}  {finding.what}" + (f" [{finding.code}]" if finding.remedy else ""))
        if finding.remedy:
            lines.append(f"      → {finding.remedy}")
    return "\n".join(lines)
