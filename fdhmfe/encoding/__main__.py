"""python -m fdhmfe.encoding: see encode.py."""

import sys

from fdhmfe.encoding.encode import main

if __name__ == "__main__":
    sys.exit(main())
