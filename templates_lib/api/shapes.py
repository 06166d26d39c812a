"""What the API says of a template, made once per version and kept by its digest."""

from functools import lru_cache
from typing import Any

from templates_lib.definition import TemplateCapability, TemplateDefinition
from templates_lib.enums import VersionStatus
from templates_lib.models import TemplateVersion


@lru_cache(maxsize=256)
def _summary(digest: str, definition: "_ByDigest") -> dict[str, Any]:
    del digest
    value = definition.value
    defaults = value.defaults
    return {
        "id": value.slug,
        "name": value.name,
        "description": value.summary,
        "use_case": value.use_case,
        "category": value.category.value,
        "icon": value.icon,
        "complexity": value.complexity.value,
        "estimated_time": value.estimated_time,
        "tier_recommendation": value.tier_recommendation,
        "default_capabilities": [item.label for item in defaults.capabilities],
        "default_tools": [item.label for item in defaults.tools],
        "required_capabilities": list(value.required_capabilities),
        "optional_capabilities": [item.name for item in value.optional_capabilities],
        "dependencies": list(value.dependencies),
        "resource_defaults": {
            "cpu_cores": _whole(defaults.resources.cpu_cores),
            "memory_mb": defaults.resources.memory_mb,
            "storage_gb": defaults.resources.storage_gb,
        },
        "config_schema": value.config_schema,
        "version": value.version,
    }


@lru_cache(maxsize=256)
def _detail(digest: str, definition: "_ByDigest") -> dict[str, Any]:
    del digest
    value = definition.value
    defaults = value.defaults.model_dump(mode="json", exclude={"capabilities", "tools"})
    return {
        "description": value.description,
        "summary": value.summary,
        "capabilities": [
            _capability(item) | {"required": item.name in value.required_capabilities}
            for item in value.defaults.capabilities
        ],
        "additional_capabilities": [_capability(item) for item in value.optional_capabilities],
        "tools": [item.model_dump(mode="json") for item in value.defaults.tools],
        "defaults": defaults,
        "scenarios": [item.model_dump(mode="json") for item in value.scenarios],
        "best_practices": list(value.best_practices),
        "examples": [item.model_dump(mode="json") for item in value.examples],
        "changelog": value.changelog,
    }


class _ByDigest:
    """A definition that takes no part in a cache's key, where its digest already stands."""

    def __init__(self, value: TemplateDefinition) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByDigest)

    def __hash__(self) -> int:
        return 0


def template_summary(
    version: TemplateVersion, definition: TemplateDefinition, *, usage_count: int
) -> dict[str, Any]:
    """Return an entry of the list."""
    return _summary(version.digest, _ByDigest(definition)) | {
        "deprecated": version.status == VersionStatus.DEPRECATED,
        "created_at": version.template.created_at,
        "usage_count": usage_count,
    }


def template_detail(
    version: TemplateVersion, definition: TemplateDefinition, *, usage_count: int
) -> dict[str, Any]:
    """Return an entry of the list with everything that the preview shows."""
    return (
        template_summary(version, definition, usage_count=usage_count)
        | _detail(version.digest, _ByDigest(definition))
        | {"published_at": version.published_at}
    )


def _capability(item: TemplateCapability) -> dict[str, Any]:
    return item.model_dump(mode="json")


def _whole(number: float) -> float:
    return int(number) if float(number).is_integer() else number
