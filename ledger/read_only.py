"""What the admin shows and nobody changes there: services are the only writers."""

from typing import Any

from django.http import HttpRequest


class ReadOnly:
    """Mixin for an admin or an inline whose rows can only be looked at."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody."""
        return False
