"""The wizard's steps, walked without scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.urls import reverse

from factory.models import Blueprint

if TYPE_CHECKING:
    from tests.pages import Visitor

SENTIMENT_INPUT = '{"text": "string", "customer_id": "string"}'
SENTIMENT_OUTPUT = '{"sentiment": "positive|neutral|negative", "confidence": "float"}'


def use_template(visitor: Visitor, slug: str = "memory-agent") -> Visitor:
    """Choose a template; basics come next."""
    visitor.open(reverse("wizard-start"))
    return visitor.press(slug, form="/agents/new", name="template-template")


def fill_basics(visitor: Visitor, **typed: str) -> Visitor:
    """Fill in step 2 and go on."""
    given = {"name": "Customer Context Agent", **typed}
    return visitor.press("next", {f"basics-{key}": value for key, value in given.items()})


def at_test_step(visitor: Visitor) -> Visitor:
    """Go to step 5."""
    fill_basics(use_template(visitor)).press("next")
    return visitor.press("next", {"resources-memory_mb": "4096"})


def at_review(visitor: Visitor) -> Visitor:
    """Go to step 6, the test skipped in writing."""
    at_test_step(visitor).press("skip", {"test-skip_reason": "The sandbox is shown elsewhere."})
    return visitor.press("next")


def draft_of(visitor: Visitor) -> Blueprint:
    """Return the draft that the visitor is on."""
    return Blueprint.objects.get(pk=visitor.path.split("/")[3])


def draft_path(step: str) -> str:
    """Return the address of a step of the newest draft, reached or not."""
    return reverse("wizard-step", args=[Blueprint.objects.latest("created_at").pk, step])


def step_of(visitor: Visitor) -> str:
    """Return the step that is shown."""
    return visitor.path.rsplit("/", 1)[-1]
