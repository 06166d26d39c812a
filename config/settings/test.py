"""Tests: real PostgreSQL and Redis, started by ``tests/conftest.py`` before this is read."""

from config.settings.base import *  # noqa: F403 - settings are one namespace

# Fast, and safe for passwords that live for one test.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
EGRESS_ALLOW_PRIVATE = True
