"""Forms for signing in and about one's own account."""

from typing import Any

from django import forms
from django.contrib.auth.forms import AuthenticationForm, SetPasswordForm
from django.core.exceptions import ValidationError
from unfold.forms import AuthenticationForm as UnfoldAuthenticationForm

from accounts.outages import OUTAGES
from accounts.throttles import seconds_to_wait


class _SlowedDown(AuthenticationForm):
    """Looks at the password only if there were not too many attempts before."""

    def clean(self) -> dict[str, Any]:
        """Count the attempt, then check user name and password."""
        if self.request is not None:
            try:
                wait = seconds_to_wait(self.request)
            except OUTAGES:
                # Unlimited guessing would be worse than waiting for the counter to come back.
                raise ValidationError(
                    "Signing in is not possible right now. Try again soon.", code="unavailable"
                ) from None
            if wait:
                raise ValidationError(
                    f"Too many attempts to sign in. Try again in {wait} seconds.", code="throttled"
                )
        return super().clean()


class SignInForm(_SlowedDown):
    """User name and password."""


class AdminSignInForm(_SlowedDown, UnfoldAuthenticationForm):  # type: ignore[misc]  # unfold ships no types
    """User name and password of somebody of the staff."""


class NewPasswordForm(SetPasswordForm):  # type: ignore[type-arg]  # not subscriptable at run time
    """The old password (only when it is not being replaced by order) and the new one twice."""

    old_password = forms.CharField(
        label="Current password",
        strip=False,
        max_length=200,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )
    field_order = ("old_password", "new_password1", "new_password2")

    def clean_old_password(self) -> str:
        """Check the current password."""
        password: str = self.cleaned_data["old_password"]
        if not self.user.check_password(password):
            raise ValidationError("This is not your current password.", code="password_incorrect")
        return password

    def clean(self) -> dict[str, Any]:
        """Refuse the old password as the new one."""
        cleaned = super().clean() or {}
        if cleaned.get("new_password1") and cleaned["new_password1"] == cleaned.get("old_password"):
            raise ValidationError("Choose a password that differs from the current one.")
        return cleaned


class ApiTokenForm(forms.Form):
    """What a new API token is for."""

    name = forms.CharField(
        label="New token for",
        max_length=100,
        # The page says by itself what is wrong, and keeps what was typed.
        widget=forms.TextInput(attrs={"placeholder": "CI, a notebook, …", "autocomplete": "off"}),
        error_messages={
            "required": "Say what the token is for, so that you know later which one to revoke.",
            "max_length": "Say in at most 100 characters what the token is for.",
        },
    )
