"""Whom the service talks to: the payment provider. No SQL and no web in here."""
