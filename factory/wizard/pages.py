"""What each step shows beside its form."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest
from django.urls import reverse

from accounts.callers import Caller
from factory.cost import CostEstimate, estimate
from factory.forms import TemplateFilterForm
from factory.models import Blueprint
from factory.services.catalog import TemplateCard, template_list, tier_usage
from factory.validation import Finding, validate_spec
from factory.validation.findings import Severity
from factory.wizard import steps
from factory.wizard.compose import Composition
from factory.wizard.forms.base import StepContext, StepForm
from factory.wizard.forms.basics import BasicsForm
from factory.wizard.forms.capabilities import CapabilitiesForm
from factory.wizard.tier_prices import tier_prices
from factory.wizard.tool_buttons import CHECKS
from factory.wizard.tool_states import tool_state
from ledger.errors import DomainError
from registry.models import Agent
from registry.spec import AgentSpec, Resources
from sandbox.services import gate
from templates_lib.services import render_and_check

CHAT_MODEL: Final = "chat-model"
_KEPT_SECONDS: Final = 3600


@dataclass(frozen=True)
class ProgressItem:
    """One step of the progress indicator."""

    name: str
    number: int
    title: str
    short_title: str
    state: str
    """``done``, ``current`` or ``ahead``."""


def progress(current: str, *, draft: Blueprint | None) -> list[ProgressItem]:
    """Return the indicator: steps that were filled in lead back."""
    names = list(steps.TITLES)
    filled = draft.wizard_state.get("step_data", {}) if draft is not None else {}
    here = names.index(current)
    return [
        ProgressItem(
            name=name,
            number=number,
            title=steps.TITLES[name],
            short_title=steps.SHORT_TITLES[name],
            state="current"
            if name == current
            else "done"
            if number <= here or name in filled
            else "ahead",
        )
        for number, name in enumerate(names, start=1)
    ]


# --- Step 1 -----------------------------------------------------------------------------------


def template_page(request: HttpRequest, caller: Caller) -> dict[str, Any]:
    """Return the cards that the filter leaves, and the filter."""
    form = TemplateFilterForm(request.GET or None)
    cards = template_list(caller=caller)
    form.offer(cards)
    return {
        "filter_form": form,
        "cards": form.narrow(cards),
        "all_cards": len(cards),
        "blank_card": _blank(cards),
    }


def _blank(cards: Sequence[TemplateCard]) -> TemplateCard | None:
    return next((card for card in cards if card.template.slug == "blank"), None)


# --- Step 2 -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Check:
    """One line of what is checked as one types."""

    tone: str
    """``ok``, ``bad`` or ``warn``."""
    text: str


def basics_page(caller: Caller, form: StepForm) -> dict[str, Any]:
    """Return the tiers with what is left of them, and the checks of what is typed so far."""
    context = form.context
    recommended = context.definition.tier_recommendation if context.definition else None
    chosen = str(form["tier"].value() or "")
    return {
        "tiers": [
            {
                "usage": usage,
                "recommended": usage.tier.number == recommended,
                "checked": str(usage.tier.number) == chosen,
            }
            for usage in tier_usage(caller=caller)
        ],
        **basics_checks(caller, form),
    }


def basics_checks(caller: Caller, form: StepForm) -> dict[str, Any]:
    """Return what can be said of name, id and tier as they stand; nothing of what is empty."""
    assert isinstance(form, BasicsForm)  # noqa: S101 - told to the type checker
    name = str(form["name"].value() or "").strip()[:200]
    typed_id = str(form["agent_id"].value() or "").strip()[:200]
    suggested = form.suggested_id(name)
    checks = []
    if name:
        agent_id = typed_id or suggested
        taken = Agent.objects.of(caller.organization).filter(agent_id__iexact=agent_id).exists()
        problem = form.problem_with_id(agent_id)
        if problem:
            checks.append(Check("bad", problem))
        elif taken:
            checks.append(Check("bad", f"Agent ID {agent_id} is taken. Choose another one."))
        else:
            checks.append(Check("ok", "Agent ID is unique"))
        wrong = form.problem_with_name(name)
        checks.append(
            Check("bad", wrong) if wrong else Check("ok", "Name meets naming conventions")
        )
    chosen = str(form["tier"].value() or "")
    for usage in tier_usage(caller=caller) if chosen else ():
        if str(usage.tier.number) != chosen:
            continue
        if usage.is_full:
            text = (
                f"Tier {chosen} is full ({usage.label} used). Choose another tier, or ask an "
                "admin of your organisation to raise its quota."
            )
            checks.append(Check("bad", text))
        else:
            checks.append(Check("ok", f"Tier {chosen} quota available ({usage.label} used)"))
    return {"checks": checks, "suggested_id": suggested}


# --- Step 3 -----------------------------------------------------------------------------------


def capabilities_page(
    context: StepContext, form: StepForm, extra_data: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the tools with their last connection tests, and what can be added."""
    assert isinstance(form, CapabilitiesForm)  # noqa: S101 - told to the type checker
    checks = extra_data.get(CHECKS, {})
    here = {str(row["tool"].value()) for row in form.tools.forms}
    rows = [
        {"form": row, "state": tool_state(row, checks.get(str(row["tool"].value())))}
        for row in form.tools.forms
    ]
    # By the same rule as the finding ``model_not_connected`` of the review.
    is_model = [str(row["tool"].value()) == CHAT_MODEL for row in form.tools.forms]
    has_model = any(
        row.is_filled_in for row, found in zip(form.tools.forms, is_model, strict=True) if found
    )
    return {
        "tool_rows": rows,
        "has_model": has_model,
        "model_place": is_model.index(True) if any(is_model) else None,
        "may_add_model": any(tool.slug == CHAT_MODEL for tool in context.tools),
        "without_model": []
        if has_model
        else [
            str(skill["name"].value() or "The new capability")
            for skill in form.skills.forms
            if skill["kind"].value() == "prompt"
        ],
        "addable_tools": [tool for tool in context.tools if tool.slug not in here],
        "addable_capabilities": form.optional_capabilities,
        "secret_names": context.secrets,
    }


# --- Step 4 -----------------------------------------------------------------------------------


def resources_page(caller: Caller, composition: Composition, form: StepForm) -> dict[str, Any]:
    """Return the cost and the warnings of the resources as they are typed."""
    tier = composition.request.get("tier")
    if not isinstance(tier, int) and form.context.definition is not None:
        tier = form.context.definition.tier_recommendation
    resources = _resources(form)
    context: dict[str, Any] = {"tier": tier, "cost": None, "findings": []}
    if resources is None or not isinstance(tier, int):
        return context
    try:
        context["cost"] = estimate(tier=tier, resources=resources)
        context["tier_prices"] = tier_prices(context["cost"], resources)
    except DomainError as error:
        context["cost_error"] = error.message
    if form.context.definition is not None:
        spec = form.context.definition.sample_spec(agent_id="WowSample")
        probe = AgentSpec.model_validate(
            {**spec.to_json_dict(), "tier": tier, "resources": resources.model_dump()}
        )
        context["findings"] = [
            finding
            for finding in validate_spec(caller=caller, spec=probe).findings
            if finding.field.startswith("resources")
        ]
    return context


def _resources(form: StepForm) -> Resources | None:
    values = {}
    for name in Resources.model_fields:
        try:
            values[name] = form.fields[name].clean(form[name].value())
        except Exception:  # noqa: BLE001 - whatever is wrong is said beside the field
            return None
    try:
        return Resources.model_validate(values)
    except ValueError:
        return None


# --- Step 6 -----------------------------------------------------------------------------------


def review_page(
    caller: Caller, composition: Composition, draft: Blueprint, scenarios: Collection[str]
) -> dict[str, Any]:
    """Return the whole agent to read: specification, files, findings, cost, what will be made.

    ``scenarios`` are the names of the test's scenarios as they are now.
    """
    context: dict[str, Any] = {"spec": composition.spec, "findings": []}
    if composition.error is not None:
        context["problems"] = located(composition.error, draft)
    spec = composition.spec
    if spec is None:
        return context
    report = validate_spec(caller=caller, spec=spec)
    context["findings"] = [located_finding(finding, draft) for finding in report.findings]
    context["valid"] = report.valid
    context["gate"] = gate(organization=caller.organization, digest=spec.digest, names=scenarios)
    context["infrastructure"] = infrastructure(spec)
    try:
        context["cost"] = estimate(tier=spec.tier, resources=spec.resources)
        context["tier_prices"] = tier_prices(context["cost"], spec.resources)
        context["files"] = generated_files(spec)
    except DomainError as error:
        context["problems"] = [*context.get("problems", []), *located(error, draft)]
    return context


def generated_files(spec: AgentSpec) -> list[tuple[str, str]]:
    """Return the checked project, path and text; a digest always means the same files.

    Raises:
        DomainError: the project was refused.

    """
    key = f"project-{spec.digest}"
    files: list[tuple[str, str]] | None = cache.get(key)
    if files is None:
        files = sorted(render_and_check(spec).files.items())
        cache.set(key, files, timeout=_KEPT_SECONDS)
    return files


def infrastructure(spec: AgentSpec) -> list[tuple[str, str]]:
    """Return what a deployment of ``spec`` makes: icon and words."""
    runtime = (
        ("terminal", "Local process (not isolated)")
        if settings.RUNTIME_DRIVER == "process"
        else ("deployed_code", "Docker container")
    )
    made = [runtime, ("stacks", "Message queues (3)")]
    if spec.memory.uses_redis:
        made.append(("bolt", "Redis (memory store)"))
    if spec.memory.uses_postgresql:
        made.append(("database", "VectorDB (semantic search)"))
    return [*made, ("monitor_heart", "Health check"), ("app_registration", "Registration as DRAFT")]


# --- Findings ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class LocatedProblem:
    """Something to mend, and the step on which it is mended."""

    message: str
    step_title: str
    url: str
    """Empty for what no step can mend."""
    severity: str = "error"


def located_finding(finding: Finding, draft: Blueprint) -> LocatedProblem:
    """Return a finding with the way to its step."""
    return _located(finding.field, finding.message, draft, str(finding.severity))


def located(error: DomainError, draft: Blueprint) -> list[LocatedProblem]:
    """Return an error's problems with the way to their steps."""
    if not error.problems:
        return []
    return [_located(problem.attr, problem.detail, draft) for problem in error.problems]


def _located(attr: str, message: str, draft: Blueprint, severity: str = "error") -> LocatedProblem:
    if not attr:
        return LocatedProblem(message, "", "", severity)
    step = steps.step_of(attr)
    url = reverse("wizard-step", kwargs={"draft_id": draft.pk, "step": step})
    return LocatedProblem(message, steps.TITLES[step], f"{url}?check=1", severity)


def specification_errors(
    caller: Caller, composition: Composition, draft: Blueprint
) -> list[LocatedProblem]:
    """Return what forbids creating the agent, each with the way to its step."""
    if composition.spec is None:
        return located(composition.error, draft) if composition.error is not None else []
    return [
        located_finding(finding, draft)
        for finding in validate_spec(caller=caller, spec=composition.spec).findings
        if finding.severity == Severity.ERROR
    ]


def cost_of(spec: AgentSpec) -> CostEstimate | None:
    """Return what the agent costs; nothing while no prices are in force."""
    try:
        return estimate(tier=spec.tier, resources=spec.resources)
    except DomainError:
        return None
