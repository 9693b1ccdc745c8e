"""Let `python -m orchestrator.cli` be the command `graphstalk`."""

import sys

from orchestrator.cli import main

sys.exit(main())
