"""Where things are inside an agent's container, and who it runs as."""

from typing import Final

AGENT_UID: Final = 10_001
AGENT_GID: Final = 10_001
AGENT_PORT: Final = 8080
PROJECT_FOLDER: Final = "/agent"
LIBRARY_FOLDER: Final = "/opt/agent/lib"
PACKAGES_FOLDER: Final = "/opt/agent/packages"
CREDENTIALS_FOLDER: Final = "/run/agent"
