"""Production: everything from the environment, and no start with an unsafe default."""

from cryptography.fernet import Fernet, MultiFernet
from django.core.exceptions import ImproperlyConfigured

from config.settings.base import *  # noqa: F403 - settings are one namespace
from config.settings.base import (
    ALLOWED_HOSTS,
    BASE_DIR,
    INSTALLATION_ID,
    PUBLIC_URL,
    RUNTIME_DRIVER,
    SECRET_KEY,
    SECRETS_KEYS,
    TRUSTED_PROXIES,
    env,
)
from provisioning.names import checked_installation

_MIN_SECRET_KEY_LENGTH = 50

if len(SECRET_KEY) < _MIN_SECRET_KEY_LENGTH or "insecure" in SECRET_KEY:
    raise ImproperlyConfigured("SECRET_KEY: set 50 or more random characters.")
if not env.str("ALLOWED_HOSTS", default="") or "*" in ALLOWED_HOSTS:
    raise ImproperlyConfigured("ALLOWED_HOSTS: name the hosts that people use, without '*'.")
if not PUBLIC_URL.startswith("https://"):
    raise ImproperlyConfigured("PUBLIC_URL: give the https:// address that people use.")
try:
    MultiFernet([Fernet(key) for key in SECRETS_KEYS])
except ValueError:
    # Without its cause, which may show a part of a key.
    raise ImproperlyConfigured(
        "SECRETS_KEYS: give one or more Fernet keys, newest first, separated by commas."
    ) from None
try:
    checked_installation(INSTALLATION_ID)
except ValueError as error:
    raise ImproperlyConfigured(f"INSTALLATION_ID: {error}") from None
if TRUSTED_PROXIES < 0:
    raise ImproperlyConfigured("TRUSTED_PROXIES: give the number of proxies in front, 0 for none.")
if RUNTIME_DRIVER == "process":
    raise ImproperlyConfigured(
        "RUNTIME_DRIVER: local processes are not isolated. Use docker in production."
    )

CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", default=True)
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_SECURE = True
SECURE_HSTS_SECONDS = env.int("SECURE_HSTS_SECONDS", default=31_536_000)
SECURE_HSTS_INCLUDE_SUBDOMAINS = True
SECURE_HSTS_PRELOAD = True
SERVESTATIC_USE_FINDERS = False
STATIC_ROOT = env.str("STATIC_ROOT", default=str(BASE_DIR / "staticfiles"))
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "servestatic.storage.CompressedManifestStaticFilesStorage"},
}
