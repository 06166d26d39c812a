"""Encryption at rest of what must never be read back by people.

Fernet (AES-128-CBC with HMAC-SHA256) under the keys of ``settings.SECRETS_KEYS``: the first
encrypts, all decrypt, so a key is rotated by putting a new one in front.
"""

from functools import cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings

from ledger.errors import Unavailable


def encrypt(plaintext: bytes) -> bytes:
    """Return ``plaintext`` encrypted under the newest key."""
    return _box(tuple(settings.SECRETS_KEYS)).encrypt(plaintext)


def decrypt(ciphertext: bytes | memoryview) -> bytes:
    """Return what was encrypted.

    Raises:
        Unavailable: none of the present keys made this ciphertext.

    """
    try:
        return _box(tuple(settings.SECRETS_KEYS)).decrypt(bytes(ciphertext))
    except InvalidToken:
        raise Unavailable(
            "secret_unreadable",
            "A stored secret can't be read with the present keys. Put the key that it was written "
            "with back into SECRETS_KEYS, or write the secret again.",
        ) from None


@cache
def _box(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(key) for key in keys])
