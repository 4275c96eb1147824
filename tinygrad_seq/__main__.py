"""``python -m tinygrad_seq``."""

import sys

from tinygrad_seq.charlm.commands import main

if __name__ == "__main__":
    sys.exit(main())
