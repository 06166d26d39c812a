"""Letting go of sign-ins that have run out."""

from datetime import timedelta
from importlib import import_module

from django.conf import settings
from django.utils import timezone
from rest_framework_simplejwt.token_blacklist.models import OutstandingToken

from accounts.models import ApiToken
from ledger.retention import delete_in_batches


def delete_expired_sign_ins() -> None:
    """Delete what can't be used to sign in any more.

    Sessions and refresh tokens, blacklisted ones too, when they have run out; API tokens
    ``KEEP_EXPIRED_TOKENS_DAYS`` later, so that their owners see for a while why they fail.
    """
    now = timezone.now()
    import_module(settings.SESSION_ENGINE).SessionStore.clear_expired()
    delete_in_batches(OutstandingToken.objects.filter(expires_at__lt=now))
    limit = now - timedelta(days=settings.KEEP_EXPIRED_TOKENS_DAYS)
    delete_in_batches(ApiToken.objects.filter(expiry__lt=limit))
