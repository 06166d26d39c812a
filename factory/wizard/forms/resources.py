"""Step 4: what the agent is given, and how it behaves under load and failure."""

from types import MappingProxyType
from typing import Any, Final

from django import forms

from factory.wizard.fields import ListField, NumberInput
from factory.wizard.forms.base import StepForm
from ledger.errors import FieldProblem
from registry.spec import Priority

_PRIORITIES: Final = ((Priority.HIGH, "High"), (Priority.NORMAL, "Normal"), (Priority.LOW, "Low"))
_BACKOFFS: Final = (("exponential", "Exponential: waits longer each time"), ("fixed", "Fixed"))
_ADVANCED: Final = frozenset(
    {"max_attempts", "backoff", "initial_seconds", "operation_seconds", "workflow_seconds",
     "rate_limit_per_minute", "environment", "packages"}
)  # fmt: skip
"""What is folded away unless something in it needs attention."""


class ResourcesForm(StepForm):
    """Resources, queue, policies, environment and packages."""

    asked_for = MappingProxyType(
        {
            "cpu_cores": "Give the CPU cores, from 0.5 to 4.",
            "memory_mb": "Give the memory in MB, as in 2048 for 2 GB.",
            "storage_gb": "Give the storage in GB, from 1 to 100.",
            "priority": "Choose a queue priority.",
            "max_concurrency": "Give the requests at a time, from 1 to 50.",
            "max_attempts": "Give the attempts, from 1 to 10.",
            "backoff": "Choose how the waits between attempts grow.",
            "initial_seconds": "Give the first wait in seconds, as in 1.",
            "operation_seconds": "Give the seconds after which an operation ends, as in 30.",
            "workflow_seconds": "Give the seconds that a workflow may take, as in 300.",
            "rate_limit_per_minute": "Give the requests a minute, as in 100.",
        }
    )

    cpu_cores = forms.FloatField(
        label="CPU", min_value=0.5, max_value=4, widget=NumberInput(step=0.25)
    )
    memory_mb = forms.IntegerField(
        label="Memory",
        min_value=512,
        max_value=8192,
        widget=NumberInput(),
        error_messages={
            "invalid": "Give the memory in whole MB, as in 2048 for 2 GB.",
            "min_value": "Give at least 512 MB. For 2 GB, write 2048.",
            "max_value": "Give at most 8192 MB, which is 8 GB.",
        },
    )
    storage_gb = forms.IntegerField(
        label="Storage",
        min_value=1,
        max_value=100,
        widget=NumberInput(),
        help_text="Counted in the cost and against the tier; not enforced while the agent runs.",
    )
    priority = forms.ChoiceField(
        label="Queue priority",
        choices=[(key.value, label) for key, label in _PRIORITIES],
        help_text="Kept with the agent; the order of requests does not follow it yet.",
    )
    max_concurrency = forms.IntegerField(
        label="Concurrent requests", min_value=1, max_value=50, help_text="From 1 to 50."
    )
    max_attempts = forms.IntegerField(
        label="Attempts", min_value=1, max_value=10, help_text="The first one included."
    )
    backoff = forms.ChoiceField(choices=_BACKOFFS)
    initial_seconds = forms.FloatField(
        label="First wait (seconds)", min_value=0.01, max_value=60, widget=NumberInput(step=0.01)
    )
    operation_seconds = forms.FloatField(
        label="Operation timeout (seconds)",
        min_value=0.1,
        max_value=600,
        widget=NumberInput(step=0.1),
    )
    workflow_seconds = forms.FloatField(
        label="Workflow timeout (seconds)",
        min_value=1,
        max_value=3600,
        widget=NumberInput(),
        help_text="Kept with the agent; nothing is ended by it yet.",
    )
    rate_limit_per_minute = forms.IntegerField(
        label="Requests a minute", min_value=1, max_value=100_000
    )
    environment = ListField(
        one_per_line=True,
        required=False,
        label="Environment variables",
        help_text="One a line, as in <code>LOG_LEVEL=debug</code>. Keep secrets out: connect a "
        "tool and choose its secret instead.",
    )
    packages = ListField(
        one_per_line=True,
        required=False,
        label="Extra packages",
        help_text="One a line, as in <code>python-dateutil==2.9.0</code>.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        definition = self.context.definition
        if definition is None:
            return
        defaults = definition.defaults.model_dump(mode="json")
        policies = defaults["policies"]
        for part in (
            defaults["resources"], defaults["queues"], policies["retry"], policies["timeouts"],
        ):  # fmt: skip
            for name, value in part.items():
                self.initial.setdefault(name, value)
        self.initial.setdefault("rate_limit_per_minute", policies["rate_limit_per_minute"])
        self.initial.setdefault(
            "environment", [f"{e['name']}={e['value']}" for e in defaults["environment"]]
        )

    def clean_environment(self) -> list[dict[str, str]]:
        """Split the lines into names and values."""
        variables = []
        for line in self.cleaned_data["environment"]:
            name, found, value = line.partition("=")
            if not found:
                raise forms.ValidationError(f"Write {line[:40]!r} as NAME=value.")
            variables.append({"name": name.strip(), "value": value.strip()})
        return variables

    def place(self, problem: FieldProblem) -> None:
        """Put what is wrong with a line of a list beside its list."""
        part = problem.attr.split(".", 1)[0]
        if part in ("environment", "packages"):
            self.tell(self, part, problem.detail)
        else:
            super().place(problem)

    def to_request(self) -> dict[str, Any]:
        """Return this step's part of the request, without the fields that are not valid."""
        data = self.cleaned_data

        def part(*names: str) -> dict[str, Any]:
            return {name: data[name] for name in names if name in data}

        return {
            "resources": part("cpu_cores", "memory_mb", "storage_gb"),
            "queues": part("priority", "max_concurrency"),
            "policies": {
                "retry": part("max_attempts", "backoff", "initial_seconds"),
                "timeouts": part("operation_seconds", "workflow_seconds"),
                **part("rate_limit_per_minute"),
            },
            **part("environment", "packages"),
        }

    @property
    def advanced_in_error(self) -> bool:
        """Whether something in the folded settings needs attention."""
        return bool(_ADVANCED & self.errors.keys())
