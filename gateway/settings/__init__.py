"""Settings from the environment, typed and checked once at the start.

`parsers` turns text into values, `variables` reads the environment. The settings themselves are in the
module of the command that reads them: `serving`, `maintenance` and `migration`.
"""
