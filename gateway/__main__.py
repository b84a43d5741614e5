"""``python -m gateway`` is ``mana``."""

from gateway.cli import main

main(prog_name="mana")
