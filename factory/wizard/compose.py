"""From the steps' forms to the request, and from there to the specification."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from factory.compilation import compile_request
from factory.wizard.forms.base import StepForm
from ledger.errors import InvalidInput
from registry.spec import AgentSpec
from templates_lib.models import TemplateVersion


@dataclass(frozen=True)
class Composition:
    """What the steps make together."""

    request: dict[str, Any]
    """Fields of the steps that are complete."""
    incomplete: tuple[str, ...]
    """Steps that are not."""
    version: TemplateVersion | None
    spec: AgentSpec | None
    """``None`` while a step is not complete."""
    error: InvalidInput | None
    """Why there is no specification although every step is complete."""


def compose(forms: Mapping[str, StepForm], *, version: TemplateVersion | None) -> Composition:
    """Return the request that ``forms`` (step → bound form) make, and its specification."""
    request: dict[str, Any] = {}
    incomplete = []
    for step, form in forms.items():
        if form.is_valid():
            request.update(form.to_request())
        else:
            incomplete.append(step)
    spec = error = None
    if not incomplete and version is not None:
        try:
            spec = compile_request(request, template_version=version)
        except InvalidInput as found:
            error = found
    return Composition(
        request=request, incomplete=tuple(incomplete), version=version, spec=spec, error=error
    )
