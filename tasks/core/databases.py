"""This module completes database URLs for SQLAlchemy with the driver that is installed."""

import re

from tasks.core.errors import ConfigError

# What SQLAlchemy asks for when a URL names no driver is not what is installed, or not a name it knows any longer.
POSTGRESQL = "postgresql+psycopg2"


def driver_url(url: str, setting: str) -> str:
    """Return the URL with our driver where it names none. Raises ConfigError naming the setting, but not its value."""
    scheme, mark, rest = url.partition("://")
    if mark and scheme not in ("http", "https") and rest.partition("?")[0].count("@") > 1:
        raise ConfigError(f"{setting}: its password has an @ in it; write %40 for it (%3A for :, %2F for /, %25 for %)")
    return re.sub(r"^postgres(ql)?://", f"{POSTGRESQL}://", url)
