"""`python -m mixit_jax` is `mixit-jax`."""

import sys

from mixit_jax.cli import main

if __name__ == "__main__":
  sys.exit(main())
