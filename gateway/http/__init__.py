"""From a socket to a call of the database, and back."""
