"""The profiles in this folder, by name; imports nothing, as every ``--help`` names them.

Contract: a profile is a YAML file of settings that differ from the defaults, each with a reason;
``pipeline.config`` reads it.
"""

from pathlib import Path

PROFILES = Path(__file__).parent
DEFAULT_PROFILE = "quick"


def profile_names() -> list[str]:
    """Names of the profiles, in alphabetical order."""
    return sorted(path.stem for path in PROFILES.glob("*.yaml"))
