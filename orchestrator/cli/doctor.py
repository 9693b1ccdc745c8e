"""`graphstalk doctor | check`: problems of a deployment, and threads that a deploy would break."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from orchestrator.cli.command_options import as_json_option, connecting, graphs_option, open_client
from orchestrator.cli.exits import Exit
from orchestrator.cli.output import colour_allowed, plain, say, show, show_json
from orchestrator.ids import shown_thread

if TYPE_CHECKING:
    from orchestrator.cli.deployment import Orphan
    from orchestrator.cli.findings import Finding
    from orchestrator.model.audit import Damage

COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command()
@click.option("--threads", is_flag=True, help="Check every stored thread instead.")
@click.option(
    "--repair", is_flag=True, help="With --threads: repair the damage that can be repaired."
)
@click.option(
    "--accept-loss",
    is_flag=True,
    help="Continue although the server lost commits; the lost steps may run again.",
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
    """Check the deployment: the server, its settings, imports, graphs, workers.

    With --threads: which stored threads are damaged, or have a graph that no living worker knows.

    Exit code 1 if something is found that loses work or keeps it from running.
    """
    if repair and not threads:
        raise click.UsageError("--repair goes with --threads: there is nothing else to repair")
    if accept_loss:
        return _accept(url, as_json=as_json)
    if threads:
        return _threads(url, repair=repair, as_json=as_json)
    from orchestrator.cli.deployment import gather  # --help must not pay for it.
    from orchestrator.cli.findings import judge

    findings = judge(gather(url, graphs))
    failed = any(finding.level == "fail" for finding in findings)
    if as_json:
        show_json({"ok": not failed, "findings": [plain(finding) for finding in findings]})
    else:
        show(listing(findings))
    return Exit.FAILURE if failed else Exit.OK


def _accept(url: str | None, *, as_json: bool) -> int:
    from orchestrator.cli.deployment import accepted

    found = {partition: str(halt) for partition, halt in accepted(url).items()}
    if as_json:
        show_json({"accepted": found})
    elif found:
        for what in dict.fromkeys(found.values()):
            say(f"accepted: {what}")
        say("everything continues; check your threads with: graphstalk doctor --threads")
    else:
        say("there is nothing to accept: nothing is halted")
    return Exit.OK


def _threads(url: str | None, *, repair: bool, as_json: bool) -> int:
    from orchestrator.cli.deployment import audited, orphans

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
    """Return a damage for people: a line, with the remedy if it is not repaired."""
    level = "warn" if damage.repaired else "fail"
    mark = "DONE" if damage.repaired else "FAIL"
    if colour_allowed():
        mark = click.style(mark, fg=COLOURS[level], bold=True)
    where = f"{shown_thread(damage.thread_id)}: " if damage.thread_id else ""
    line = f"{mark}  {where}{damage.why} [{damage.code}]"
    return f"{line}\n      → {damage.remedy}" if damage.remedy else line


def listing(findings: Sequence[Finding]) -> str:
    """Return findings for people: a line each, with the remedy under each problem."""
    lines = []
    for finding in findings:
        mark = f"{finding.level.upper():<4}"
        if colour_allowed():
            mark = click.style(mark, fg=COLOURS[finding.level], bold=True)
        lines.append(f"{mark}  {finding.what}" + (f" [{finding.code}]" if finding.remedy else ""))
        if finding.remedy:
            lines.append(f"      → {finding.remedy}")
    return "\n".join(lines)


# ---- graphstalk check -----------------------------------------------------------------------


@click.command()
@graphs_option
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=10_000,
    show_default=True,
    help="Check at most N threads, the latest changed first.",
)
@as_json_option
@connecting
def check(*, graphs: dict[str, str], limit: int, as_json: bool, url: str | None) -> int:
    """Load stored threads with the graphs of this code, and list what would stall or fail.

    Run it before a deploy, with the new code. Nothing is changed. Exit code 1 if something is
    found. With --json one object a line, and a summary last.
    """
    from orchestrator.cli.command_options import from_workers  # --help must not pay for it.

    client = open_client(url, graphs or from_workers(".configuration").configured())
    count = found = 0
    for trouble in client.check(limit=limit):
        count += 1
        if trouble is None:
            continue
        found += 1
        if as_json:
            show_json(asdict(trouble))
        else:
            where = f"{shown_thread(trouble.thread_id)} ({trouble.graph})"
            show(f"{where}: {trouble.why} [{trouble.code}]")
    if as_json:
        show_json({"threads": count, "troubles": found})
    elif found:
        show(f"{found} of {count} threads cannot continue")
    else:
        show(f"all {count} threads can continue")
    return Exit.FAILURE if found else Exit.OK
