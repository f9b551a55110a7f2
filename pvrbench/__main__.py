"""`python -m pvrbench` is the command line."""

import sys

from pvrbench.benchmark.cli import main

sys.exit(main())
