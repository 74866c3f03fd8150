"""The versions: of the package, and of the value contract."""

__version__ = "0.1.0"

# Values change only with a new number here, a changelog entry and new goldens, in one commit.
STREAM_VERSION = 3
