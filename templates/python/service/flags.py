"""Feature flags: a JSON file of names and booleans, and FLAG_NAME=true in the environment, which wins.

They are read at the start. A flag that is nowhere is off, a file that cannot be understood is an error: a service must
not come up with half of its flags.
"""

import json
import os

PREFIX = "FLAG_"


class Flags:
    """Which features are on."""

    def __init__(self, file=None, variables=None):
        self._known = {} if file is None else json.loads(file)
        for name, value in self._known.items():
            if not isinstance(value, bool):
                raise ValueError(f"{name} is neither true nor false")
        for name, value in (variables or {}).items():
            if not name.startswith(PREFIX):
                continue
            if value not in ("true", "false"):
                raise ValueError(f"{name} is {value!r}; write true or false")
            self._known[name.removeprefix(PREFIX).lower()] = value == "true"

    def on(self, name):
        """Whether the feature is on."""
        return self._known.get(name, False)


def read_flags(env=os.environ):
    """Reads $FLAGS_FILE (else flags.json, which may be absent) and the environment."""
    path = env.get("FLAGS_FILE", "flags.json")
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        text = None
    try:
        return Flags(text, env)
    except ValueError as error:
        raise ValueError(f"flags ({path}): {error}") from error
