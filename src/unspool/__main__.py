"""``python -m unspool``: the command line where the script is not at hand."""

import sys

from unspool.cli import main

sys.exit(main())
