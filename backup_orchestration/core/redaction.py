"""Takes secrets out of every text before it is shown, logged or stored."""

from __future__ import annotations

import re

_MASK = "***"
_SHORTEST = 4
_PATTERNS = (
    re.compile(r"(?<=://)[^/\s@]+(?=@)"),  # user information in a URL
    re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),  # AWS access key ids
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class Redactor:
    """Knows the secrets of this process; `clean` masks them."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def add(self, secret: str) -> None:
        """Remember a secret. Shorter than four characters is not masked: it would garble every text."""
        parts = {secret, *secret.splitlines()}
        fresh = {part for part in parts if len(part) >= _SHORTEST} - self._known
        if fresh:
            self._known |= fresh
            longest_first = sorted(self._known, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(re.escape, longest_first)))

    def mask(self, text: str) -> str:
        """The text with every secret masked; nothing else is changed, so that JSON stays JSON."""
        if self._pattern:
            text = self._pattern.sub(_MASK, text)
        for pattern in _PATTERNS:
            text = pattern.sub(_MASK, text)
        return text

    def clean(self, text: str) -> str:
        """For people and records: masked, and terminal control characters made visible."""
        return _CONTROL.sub(lambda match: f"\\x{ord(match.group()):02x}", self.mask(text))

    def clean_lines(self, text: str) -> str:
        """As `clean`, for text of several lines."""
        return "\n".join(map(self.clean, text.split("\n")))


REDACTOR = Redactor()
