"""``python -m textok.cli``, the same as ``textok``."""

import sys

from textok.cli import main

sys.exit(main())
