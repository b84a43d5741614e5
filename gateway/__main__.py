"""``python -m gateway`` is ``mana``."""

from gateway.operate.cli import main

main(prog_name="mana")
