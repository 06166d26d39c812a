"""Make the first admin, unattended or with a password shown once."""

import secrets
from typing import Any

import environ
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from accounts.services import ensure_first_admin

USERNAME = "admin"


class Command(BaseCommand):
    """``manage.py bootstrap_admin``."""

    help = (
        "Makes the first admin. Uses FACTORY_ADMIN_PASSWORD if set, else makes a password, prints "
        "it once and asks for a new one at the first sign-in. Does nothing if there is a user."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the command."""
        given = environ.Env().str("FACTORY_ADMIN_PASSWORD", default="")
        if given:
            try:
                validate_password(given)
            except ValidationError as error:
                raise CommandError("FACTORY_ADMIN_PASSWORD: " + " ".join(error.messages)) from None
        password = given or secrets.token_urlsafe(12)
        user = ensure_first_admin(username=USERNAME, password=password, must_change=not given)
        if user is None:
            return
        if given:
            self.stdout.write(f"First admin: {USERNAME}, with the password you gave.")
        else:
            self.stdout.write(
                f"First admin: {USERNAME}, password: {password} (shown this once; you choose "
                "a new one when you first sign in)"
            )
