"""From a call to PostgreSQL and back. Nothing here knows what a route is."""
