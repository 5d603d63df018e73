"""W3C Trace Context: a request belongs to its caller's trace, or begins one."""

import re
import secrets

PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class Trace:
    """This service's place in a trace."""

    def __init__(self, trace_id, flags):
        self.id = trace_id
        self.span_id = _random_id(8)
        self.flags = flags

    @classmethod
    def of(cls, parent):
        """A span of our own in the trace of the header `traceparent`, or in a new one."""
        found = PARENT.fullmatch(parent or "")
        if found:
            version, trace_id, span_id, flags, more = found.groups()
            valid = version != "ff" and not (version == "00" and more)
            if valid and trace_id.strip("0") and span_id.strip("0"):
                return cls(trace_id, flags)
        return cls(_random_id(16), "01")

    def header(self):
        """The header `traceparent` for calls that are made on the request's behalf."""
        return f"00-{self.id}-{self.span_id}-{self.flags}"


def _random_id(size):
    """Random and not zero."""
    return f"{secrets.randbelow(256 ** size - 1) + 1:0{size * 2}x}"
