"""`python -m tusserver` (floor 6)."""

import sys

from tusserver.cli import main

sys.exit(main())
