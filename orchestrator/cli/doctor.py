"""`graphstalk doctor`: gather the facts, judge them, say what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from orchestrator.cli.exits import Exit
from orchestrator.cli.options import as_json_option, connecting, graphs_option
from orchestrator.cli.output import colour_allowed, plain, say, show, show_json

if TYPE_CHECKING:
    from orchestrator.checkpoint.audit import Damage
    from orchestrator.cli.audit import Orphan
    from orchestrator.cli.findings import Finding

__all__ = ["doctor"]

COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command()
@click.option("--threads", is_flag=True, help="Look at every stored thread instead.")
@click.option(
    "--repair", is_flag=True, help="With --threads: put right what is wrong, where it can be."
)
@click.option(
    "--accept-loss",
    is_flag=True,
    help="Let everything go on although the server lost what it had; what was lost may run again.",
)
@graphs_option
@as_json_option
@connecting
def doctor(
    *,
    threads: bool,
    repair: bool,
    accept_loss: bool,
    graphs: dict[str, str],
    as_json: bool,
    url: str | None,
) -> int:
    """Say what would hurt: the server, its settings, imports, graphs, workers.

    With --threads: which stored threads are damaged, or have a graph that no living worker knows.

    Exit code 1 if something is found that loses work or keeps it from running.
    """
    if repair and not threads:
        raise click.UsageError("--repair goes with --threads: there is nothing else to repair")
    if accept_loss:
        return _accept(url, as_json=as_json)
    if threads:
        return _threads(url, repair=repair, as_json=as_json)
    from orchestrator.cli.facts import gather  # --help must not pay for it.
    from orchestrator.cli.findings import judge

    findings = judge(gather(url, graphs))
    failed = any(finding.level == "fail" for finding in findings)
    if as_json:
        show_json({"ok": not failed, "findings": [plain(finding) for finding in findings]})
    else:
        show(listing(findings))
    return Exit.FAILURE if failed else Exit.OK


def _accept(url: str | None, *, as_json: bool) -> int:
    from orchestrator.cli.audit import accepted

    found = {partition: str(halt) for partition, halt in accepted(url).items()}
    if as_json:
        show_json({"accepted": found})
    elif found:
        for what in dict.fromkeys(found.values()):
            say(f"accepted: {what}")
        say("everything goes on; look at your threads with: graphstalk doctor --threads")
    else:
        say("there is nothing to accept: nothing is halted")
    return Exit.OK


def _threads(url: str | None, *, repair: bool, as_json: bool) -> int:
    from orchestrator.cli.audit import audited, orphans

    count, damages = audited(url, repair=repair)
    found: list[Damage | Orphan] = [*damages, *orphans(url)]
    broken = [damage for damage in found if not damage.repaired]
    if as_json:
        listed = [plain(damage) for damage in found]
        show_json({"ok": not broken, "threads": count, "findings": listed})
    else:
        for damage in found:
            show(damage_lines(damage))
        say(f"{count} threads, {len(found)} findings, {len(broken)} of them not repaired")
    return Exit.FAILURE if broken else Exit.OK


def damage_lines(damage: Damage | Orphan) -> str:
    """Return a damage for people: a line, with what to do under what is not repaired."""
    level = "warn" if damage.repaired else "fail"
    mark = "DONE" if damage.repaired else "FAIL"
    if colour_allowed():
        mark = click.style(mark, fg=COLOURS[level], bold=True)
    where = f"{damage.thread_id}: " if damage.thread_id else ""
    line = f"{mark}  {where}{damage.why} [{damage.code}]"
    return f"{line}\n      → {damage.remedy}" if damage.remedy else line


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
