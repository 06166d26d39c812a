"""Sign-in, password and the account page."""

import re
from typing import Any, Final

from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.mixins import LoginRequiredMixin
from django.contrib.auth.views import LoginView, LogoutView
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse_lazy
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.generic import FormView, TemplateView

from accounts.callers import ORGANIZATION_SESSION_KEY
from accounts.forms import ApiTokenForm, NewPasswordForm, SignInForm
from accounts.models import ApiToken, Membership
from accounts.portal import PortalMixin
from accounts.services import create_api_token, revoke_api_token

_SLUG: Final = re.compile(r"[-\w]+", re.ASCII)


class SignInView(LoginView):
    """The page where people sign in."""

    template_name = "accounts/sign_in.html"
    authentication_form = SignInForm
    redirect_authenticated_user = True


class SignOutView(LogoutView):
    """Ends the session."""


class PasswordChangeView(LoginRequiredMixin, FormView[NewPasswordForm]):
    """Choosing a new password, freely or because the first one was made by the platform."""

    template_name = "accounts/password_change.html"
    form_class = NewPasswordForm
    success_url = reverse_lazy("home")

    def get_form_kwargs(self) -> dict[str, Any]:
        """Give the form its user."""
        return {**super().get_form_kwargs(), "user": self.request.user}

    def form_valid(self, form: NewPasswordForm) -> HttpResponse:
        """Keep the new password and stay signed in."""
        user = form.save(commit=False)
        user.must_change_password = False
        user.save()
        update_session_auth_hash(self.request, user)
        messages.success(self.request, "Your new password is set.")
        return super().form_valid(form)


class AccountView(PortalMixin, TemplateView):
    """One's own account: organisations, password, API tokens."""

    template_name = "accounts/account.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Add tokens and memberships; a token just made is shown this once."""
        kwargs.setdefault("token_form", ApiTokenForm())
        return super().get_context_data(
            **kwargs,
            caller=self.caller,
            tokens=ApiToken.objects.filter(
                user=self.caller.user, organization=self.caller.organization
            ),
            memberships=Membership.objects.filter(user=self.caller.user).select_related(
                "organization"
            ),
        )


class ApiTokenCreateView(PortalMixin):
    """Makes a token and shows it once."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest) -> HttpResponse:
        """Make the token."""
        form = ApiTokenForm(request.POST)
        if not form.is_valid():
            return self._account(token_form=form)
        _, text = create_api_token(caller=self.caller, name=form.cleaned_data["name"])
        return self._account(new_token=text)

    def _account(self, **context: Any) -> HttpResponse:
        """Show the account in the answer itself: a redirect would have to keep it somewhere."""
        view = AccountView()
        view.setup(self.request)
        view.caller = self.caller
        return view.render_to_response(view.get_context_data(**context))


class ApiTokenRevokeView(PortalMixin):
    """Makes one of one's own tokens useless."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest, token_key: str) -> HttpResponse:
        """Revoke the token."""
        revoke_api_token(caller=self.caller, token_key=token_key)
        messages.success(request, "The token is revoked.")
        return redirect("account")


class OrganizationSwitchView(LoginRequiredMixin, TemplateView):
    """Chooses the organisation that the portal shows."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest) -> HttpResponse:
        """Remember the choice if the person is a member."""
        slug = request.POST.get("organization", "")[:40]
        membership = (
            Membership.objects.filter(
                user__pk=str(request.user.pk), organization__slug=slug, organization__is_active=True
            ).first()
            if _SLUG.fullmatch(slug)
            else None
        )
        if membership is None:
            messages.error(request, "You are not in that organisation.")
        else:
            request.session[ORGANIZATION_SESSION_KEY] = slug
        target = request.POST.get("next", "")
        if not url_has_allowed_host_and_scheme(target, allowed_hosts={request.get_host()}):
            target = str(reverse_lazy("home"))
        return redirect(target)
