"""Who may call which method of which view."""

from typing import Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from accounts.callers import caller_of
from accounts.roles import Action


class HasAction(BasePermission):
    """Allows what the view's ``required_actions`` names, if the caller's role includes it.

    A method that is not in the map is denied to everybody: forgetting one can't open it.
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        """Whether the request may go on; leaves the caller on the view."""
        if not request.user or not request.user.is_authenticated:
            return False
        required_actions: dict[str, Action] = getattr(view, "required_actions", {})
        method = "GET" if request.method in ("HEAD", "OPTIONS") else str(request.method)
        action = required_actions.get(method)
        if action is None:
            return False
        view.caller = caller_of(request)
        view.caller.require(action)
        return True
