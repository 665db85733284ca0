"""The version of the package, the single place where it stands."""

__version__ = "0.1.0"
