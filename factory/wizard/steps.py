"""The six steps, in their order."""

from typing import Final

TEMPLATE: Final = "template"
BASICS: Final = "basics"
CAPABILITIES: Final = "capabilities"
RESOURCES: Final = "resources"
TEST: Final = "test"
REVIEW: Final = "review"

TITLES: Final = {
    TEMPLATE: "Choose Template",
    BASICS: "Configure Basics",
    CAPABILITIES: "Define Capabilities",
    RESOURCES: "Configure Resources",
    TEST: "Test Agent",
    REVIEW: "Review & Deploy",
}
SHORT_TITLES: Final = {
    TEMPLATE: "Template",
    BASICS: "Basics",
    CAPABILITIES: "Capabilities",
    RESOURCES: "Resources",
    TEST: "Test",
    REVIEW: "Review",
}

_STEP_OF_FIELD: Final = {
    "template_id": TEMPLATE,
    "template": TEMPLATE,
    "capabilities": CAPABILITIES,
    "tools": CAPABILITIES,
    "memory": CAPABILITIES,
    "config": CAPABILITIES,
    "resources": RESOURCES,
    "queues": RESOURCES,
    "policies": RESOURCES,
    "environment": RESOURCES,
    "packages": RESOURCES,
}


def step_of(attr: str) -> str:
    """Return the step on which the request's field ``attr`` (dotted) is filled in."""
    return _STEP_OF_FIELD.get(attr.split(".", 1)[0], BASICS)
