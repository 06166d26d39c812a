"""The sandbox's part of the API."""
