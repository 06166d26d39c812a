"""What the portal's pages share: sign-in, the caller, and errors a person can act on."""

from typing import Any, ClassVar

import structlog
from django.contrib import messages
from django.contrib.auth.mixins import LoginRequiredMixin
from django.db import DataError
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.utils.cache import patch_cache_control, patch_vary_headers
from django.views import View

from accounts.callers import Caller, caller_of
from accounts.outages import OUTAGES, outage_response
from accounts.roles import Action
from ledger.errors import DomainError, InvalidInput

log = structlog.get_logger(__name__)


class PortalMixin(LoginRequiredMixin, View):
    """A page for people of an organisation.

    ``required_action`` is what the caller's role must include to open it. A ``DomainError`` that a
    view does not handle becomes a page that says what to do, with the error's status; so does a
    value that the database can't hold, and a database or queue that does not answer.
    """

    required_action: ClassVar[Action] = Action.VIEW
    caller: Caller

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Find the caller, then answer; nothing of it is kept by the browser.

        A page and a part of it have the same address, and a page that is gone back to after signing
        out is for nobody.
        """
        response = self._answer(request, *args, **kwargs)
        patch_vary_headers(response, ("HX-Request", "HX-Target"))
        patch_cache_control(response, no_store=True, private=True)
        return response

    def _answer(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not request.user.is_authenticated:
            return self.handle_no_permission()
        try:
            self.caller = caller_of(request)
            self.caller.require(self.required_action)
            return super().dispatch(request, *args, **kwargs)
        except DomainError as error:
            return self.handle_domain_error(request, error)
        except DataError:
            # What PostgreSQL can't hold, such as a null character in a text.
            return self.handle_domain_error(
                request,
                InvalidInput(
                    "invalid_input", "A value has characters that can't be stored. Remove them."
                ),
            )
        except OUTAGES as error:
            log.exception("a backing service does not answer", error=str(error))
            return outage_response(request)

    def handle_domain_error(self, request: HttpRequest, error: DomainError) -> HttpResponse:
        """Return the page for an error that the view itself did not handle."""
        return render(request, "factory/problem.html", {"error": error}, status=error.status)

    def say(self, error: DomainError) -> None:
        """Show the error at the top of the next page."""
        messages.error(self.request, error.message)
