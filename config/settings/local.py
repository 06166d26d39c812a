"""One machine, one person: what ``make run`` uses. The launcher fills in the environment."""

from config.settings.base import *  # noqa: F403 - settings are one namespace
from config.settings.base import env

EGRESS_ALLOW_PRIVATE = env.bool("EGRESS_ALLOW_PRIVATE", default=True)
