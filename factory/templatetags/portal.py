"""How the portal writes fields, states, times, money and JSON."""

import json
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from django import template
from django.forms import BoundField, CheckboxInput, Select, Textarea
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince

from factory.prose import to_html

register = template.Library()

_TONES: Final = {
    "active": ("ok", "check_circle"),
    "running": ("ok", "check_circle"),
    "completed": ("ok", "check_circle"),
    "healthy": ("ok", "favorite"),
    "passed": ("ok", "check_circle"),
    "published": ("ok", "check_circle"),
    "draft": ("accent", "edit_note"),
    "paused": ("warn", "pause_circle"),
    "degraded": ("warn", "heart_broken"),
    "undone": ("warn", "undo"),
    "rolling_back": ("warn", "undo"),
    "stopping": ("warn", "hourglass_top"),
    "cancelled": ("", "cancel"),
    "deprecated": ("", "archive"),
    "stopped": ("", "stop_circle"),
    "failed": ("bad", "error"),
    "error": ("bad", "error"),
    "errored": ("bad", "error"),
    "rollback_failed": ("bad", "error"),
    "unreachable": ("bad", "heart_broken"),
    "not_connected": ("", "link_off"),
    "not_deployed": ("", "cloud_off"),
    "provisioning": ("info", "progress_activity"),
    "in_progress": ("info", "progress_activity"),
    "queued": ("info", "hourglass_top"),
    "pending": ("", "schedule"),
    "skipped": ("", "skip_next"),
}
_SECONDS_PER_MINUTE: Final = 60
_MILLISECONDS: Final = 1000


def tone_of(status: str) -> tuple[str, str]:
    """Return the colour and the icon that stand for ``status`` on every page."""
    # A deployment that is running is there; a scenario that is RUNNING is under way.
    if str(status) == "RUNNING":
        return _TONES["in_progress"]
    return _TONES.get(str(status).lower(), ("", "radio_button_unchecked"))


@register.simple_tag
def control(field: BoundField, **attrs: str) -> SafeString:
    """Write a form field's control with the portal's class and its error announced."""
    widget = field.field.widget
    css = "input"
    if isinstance(widget, Textarea):
        css = "textarea"
    elif isinstance(widget, Select):
        css = "select"
    elif isinstance(widget, CheckboxInput):
        css = ""
    css = f"{css} {widget.attrs.get('class', '')}".strip()
    described = [field.auto_id + "_helptext"] if field.help_text else []
    if field.errors:
        described.append(f"{field.auto_id}_error")
        attrs["aria-invalid"] = "true"
    if described:
        attrs["aria-describedby"] = " ".join(described)
    if css:
        attrs["class"] = css
    return field.as_widget(attrs={name.replace("_", "-"): value for name, value in attrs.items()})


@register.inclusion_tag("factory/parts/status.html")
def status(value: str, label: str = "") -> dict[str, str]:
    """Write a status as a badge: colour, icon and word, so that colour is never alone."""
    tone, icon = tone_of(value)
    return {
        "tone": tone,
        "icon": icon,
        "label": label or str(value).replace("_", " ").lower().capitalize(),
        "value": str(value),
    }


_STEP_ICONS: Final = {
    "done": ("ok", "check_circle"),
    "working": ("info", "progress_activity"),
    "undoing": ("info", "progress_activity"),
    "failed": ("bad", "error"),
    "left": ("bad", "cleaning_services"),
    "undone": ("warn", "undo"),
    "never": ("", "remove"),
}


@register.simple_tag
def step_icon(state: str) -> SafeString:
    """Write the icon of a step; its state stands beside it in words."""
    tone, icon = _STEP_ICONS.get(state, ("", "schedule"))
    return format_html(
        '<span class="state-icon {}"><span class="material-symbols-outlined" '
        'aria-hidden="true">{}</span></span>',
        tone,
        icon,
    )


@register.simple_tag
def when(value: datetime | None, empty: str = "never") -> SafeString | str:
    """Write a time as people say it, exact on hover."""
    if value is None:
        return empty
    ago = timesince(value, timezone.now()).split(",")[0]
    text = "just now" if ago.startswith("0") else f"{ago} ago"
    exact = timezone.localtime(value)
    return format_html(
        '<time datetime="{}" title="{}" data-local>{}</time>',
        exact.isoformat(),
        exact.strftime("%d %B %Y, %H:%M:%S %Z"),
        text,
    )


@register.filter
def inr(value: Decimal | float | None) -> str:
    """Write an amount of Indian rupees, without paise."""
    return "–" if value is None else f"₹{round(float(value)):,}"


@register.filter
def seconds(value: float | None) -> str:
    """Write a duration given in seconds."""
    if value is None:
        return ""
    if value < 1:
        return f"{value * _MILLISECONDS:.0f} ms"
    if value < _SECONDS_PER_MINUTE:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), _SECONDS_PER_MINUTE)
    return f"{minutes} min {rest} s"


@register.filter
def whole_seconds(value: float | None) -> str:
    """Write a duration given in seconds as a clock counts it."""
    if value is None:
        return ""
    minutes, rest = divmod(int(value), _SECONDS_PER_MINUTE)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


@register.filter
def milliseconds(value: float | None) -> str:
    """Write a duration given in milliseconds."""
    return "" if value is None else seconds(value / _MILLISECONDS)


@register.filter
def megabytes(value: float | None) -> str:
    """Write an amount of memory given in MB, from 1 GB on in GB."""
    if value is None:
        return ""
    if value >= 1024:  # noqa: PLR2004 - MB in a GB
        return f"{value / 1024:.1f}".removesuffix(".0") + " GB"
    return f"{value:.0f} MB"


@register.filter
def pretty_json(value: Any) -> str:
    """Write JSON for people."""
    return json.dumps(value, indent=2, ensure_ascii=False)


@register.filter
def item(mapping: Any, key: Any) -> Any:
    """Return ``mapping[key]``, or nothing."""
    return mapping.get(key) if hasattr(mapping, "get") else None


@register.filter
def prose(value: str) -> SafeString:
    """Write generated documentation as HTML; everything in it is escaped."""
    return to_html(value)
