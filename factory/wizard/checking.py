"""What keeps a step from being left: the rules that judge the whole agent at the end.

Facts change (an id is taken, a tier fills up), so the last step judges again.
"""

from typing import Final

from accounts.callers import Caller
from factory.compilation import compile_request
from factory.validation import validate_spec
from factory.validation.findings import Severity
from factory.wizard.compose import Composition
from factory.wizard.forms.base import StepForm
from ledger.errors import FieldProblem, InvalidInput
from registry.spec import AgentSpec
from templates_lib.models import TemplateVersion

_TRIES: Final = 2


def check_step(form: StepForm, composition: Composition, *, caller: Caller) -> bool:
    """Put each error that the rules find in the step beside its field; return whether none is left.

    The template's defaults stand in for steps that are not filled in, and for fields of this one
    that are not valid. Warnings keep nobody.
    """
    form.is_valid()
    sent = form.to_request() if form.is_bound else {}
    if sent and composition.version is not None:
        request = {**composition.request, **sent}
        spec, problems = _compiled(request, composition.version)
        if spec is not None:
            found = validate_spec(caller=caller, spec=spec).findings
            problems += [
                FieldProblem(finding.field, finding.rule, finding.message)
                for finding in found
                # What was found in a stand-in is not the form's.
                if finding.severity == Severity.ERROR and _part(finding.field) in request
            ]
        form.place_all(problem for problem in problems if _part(problem.attr) in sent)
    return form.is_valid()


def _compiled(
    request: dict[str, object], version: TemplateVersion
) -> tuple[AgentSpec | None, list[FieldProblem]]:
    """Return the specification, and what is wrong with the parts that were taken from ``request``.

    A part that is wrong is taken out, so that the others are judged all the same.
    """
    problems: list[FieldProblem] = []
    for _ in range(_TRIES):
        try:
            return compile_request(
                {"name": "Sample", **request}, template_version=version
            ), problems
        except InvalidInput as error:
            problems += error.problems
            for problem in error.problems:
                request.pop(_part(problem.attr), None)
    return None, problems


def _part(attr: str) -> str:
    return attr.partition(".")[0]
