"""The HTTP gateway and the command line of Mana Core Auth."""

from importlib.metadata import version

__version__ = version("mana-core-auth")
