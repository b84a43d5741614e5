"""The API as data: requests, answers and routes."""
