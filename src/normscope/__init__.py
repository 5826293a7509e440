"""Train networks with batch normalization, see what it does inside them, and repair it."""

from normscope._version import __version__ as __version__
