"""`./run bench [--full] [--only W1,W4] [--json]`: the project beside what people would use instead.

A quick run takes about five minutes after the first one, which installs the peers. A full run does
all sizes and writes docs/benchmarks.md with its plots.
"""

from __future__ import annotations

import argparse
import json
import sys

from benchmarks import page
from benchmarks.contests import CONTESTS
from benchmarks.peers.contract import stop_in_order
from benchmarks.report import as_json, as_text
from benchmarks.running import runner


def main() -> int:
    """Measure and print; the last line is one object of JSON with `--json`."""
    parser = argparse.ArgumentParser(prog="./run bench", description=__doc__)
    parser.add_argument("--full", action="store_true", help="all sizes; writes docs/benchmarks.md")
    parser.add_argument("--page", action="store_true", help="write the page of a quick run, too")
    parser.add_argument(
        "--only", default="", metavar="W1,W4", help="some workloads, or contests as w1_rows"
    )
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    options = parser.parse_args()
    stop_in_order()
    wanted = {name.strip().upper() for name in options.only.split(",") if name.strip()}
    names = {contest.name.upper() for contest in CONTESTS}
    known = {contest.workload for contest in CONTESTS} | names
    if wanted - known:
        parser.error(f"no workload {', '.join(sorted(wanted - known))}; there are {sorted(known)}")
    with runner(full=options.full) as running:
        for contest in CONTESTS:
            if not wanted or wanted & {contest.workload, contest.name.upper()}:
                running.run(contest)
        found = running.found
    for line in as_text(found, full=options.full):
        print(line)
    told = as_json(found, full=options.full)
    if (options.full and not wanted) or options.page:
        page.write(found, told)
    if options.json:
        print(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
