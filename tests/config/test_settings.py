"""Production does not start with an unsafe setting, and says which one and what to do."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

ROOT = Path(__file__).parents[2]
# The same in every process that collects the tests.
SAME_KEY = base64.urlsafe_b64encode(bytes(32)).decode()
GOOD = {
    "DJANGO_SETTINGS_MODULE": "config.settings.production",
    "SECRET_KEY": "k3" * 40,
    "SECRETS_KEYS": f"{Fernet.generate_key().decode()},{Fernet.generate_key().decode()}",
    "ALLOWED_HOSTS": "factory.example",
    "PUBLIC_URL": "https://factory.example",
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",
    "AGENT_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",
    "REDIS_URL": "redis://127.0.0.1:1/0",
    "INSTALLATION_ID": "prod1",
    "RUNTIME_DRIVER": "docker",
    "TRUSTED_PROXIES": "1",
}


def start(**changes: str) -> subprocess.CompletedProcess[str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in ("PATH", "HOME", "LANG") or name.startswith(("COV", "COVERAGE"))
    }
    return subprocess.run(
        [sys.executable, "-c", "import django; django.setup()"],
        cwd=ROOT,
        env=kept | GOOD | changes,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_production_starts_with_good_settings() -> None:
    done = start()

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SECRET_KEY", "short"),
        ("SECRET_KEY", "insecure-" + "x" * 60),
        ("ALLOWED_HOSTS", ""),
        ("ALLOWED_HOSTS", "*"),
        ("PUBLIC_URL", "http://factory.example"),
        ("RUNTIME_DRIVER", "process"),
        ("SECRETS_KEYS", ""),
        ("SECRETS_KEYS", "not-a-fernet-key"),
        ("SECRETS_KEYS", f"{SAME_KEY},ümlaut"),
        ("INSTALLATION_ID", ""),
        ("INSTALLATION_ID", "Has_Other-Characters"),
        ("TRUSTED_PROXIES", "-1"),
    ],
)
def test_production_refuses_an_unsafe_setting(name: str, value: str) -> None:
    done = start(**{name: value})

    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"django.core.exceptions.ImproperlyConfigured: {name}: ")
    assert "not-a-fernet-key" not in done.stderr
