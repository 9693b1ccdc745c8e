"""`python -m workers`."""

import sys

from workers import main

if __name__ == "__main__":
    sys.exit(main())
