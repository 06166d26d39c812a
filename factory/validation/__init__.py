"""Three-tier validation: structure, policy, platform."""

from factory.validation.findings import Finding, Report, RuleTier, Severity
from factory.validation.validator import validate, validate_spec

__all__ = ["Finding", "Report", "RuleTier", "Severity", "validate", "validate_spec"]
