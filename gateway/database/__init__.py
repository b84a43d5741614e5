"""From a call to PostgreSQL."""
