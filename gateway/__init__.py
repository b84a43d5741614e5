"""The HTTP gateway and the command line of Mana Core Auth."""
