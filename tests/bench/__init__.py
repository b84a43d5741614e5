"""How fast the service is, and what that costs: `make bench`."""
