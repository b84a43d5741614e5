"""What `mana` does to a system: run, migrate, back up, maintain, measure."""
