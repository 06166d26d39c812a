"""Step 6: read it all once more, then deploy."""

from typing import Any

from factory.wizard.forms.base import StepForm


class ReviewForm(StepForm):
    """Nothing to fill in: the button is the decision."""

    def to_request(self) -> dict[str, Any]:
        """Nothing of the review belongs to the agent."""
        return {}
