"""The release's image: its checked project on top of the runtime."""

from typing import Any

from provisioning.drivers.base import BuildRequest
from provisioning.models import Deployment
from provisioning.steps.base import Step, StepContext, StepOutcome
from registry.spec import AgentSpec


def build_request(deployment: Deployment, spec: AgentSpec) -> BuildRequest:
    """Return what the deployment's image is made of, the same each time."""
    return BuildRequest(
        tag=deployment.image_tag,
        files=deployment.release.files,
        packages=spec.packages,
        labels=deployment.labels,
    )


class BuildImage(Step):
    """Builds the image, or finds it built from the same files."""

    name = "build_image"
    title = "Building the release image"
    timeout_seconds = 300
    usual_seconds = 3
    advice = "The release's image could not be built. Check its packages, then retry."

    def plan(self, ctx: StepContext) -> dict[str, Any]:
        """Say which image, and whether an earlier deployment left it."""
        tag = ctx.deployment.image_tag
        there = any(
            owned.kind == "image" and owned.name == tag for owned in ctx.driver.list_owned()
        )
        return {"image": tag, "existed": there}

    def apply(self, ctx: StepContext) -> StepOutcome:
        """Build it."""
        image = ctx.driver.ensure_image(build_request(ctx.deployment, ctx.spec))
        how = "Built" if image.created else "Found, built from the same files"
        return StepOutcome({"image": image.reference}, f"{how}: {ctx.deployment.image_tag}")

    def compensate(self, ctx: StepContext) -> None:
        """Remove it, unless it was there before."""
        if not ctx.intent["existed"]:
            ctx.driver.remove_image(ctx.intent["image"])

    def leftovers(self, ctx: StepContext) -> list[str]:
        """Name the image."""
        return [f"image {ctx.intent['image']}"]
