"""Tell the outside: one POST with JSON to each webhook."""

from __future__ import annotations

import http.client
import json
import urllib.request
from collections.abc import Sequence

from backup_orchestration.core.errors import NotificationError
from backup_orchestration.core.redaction import REDACTOR
from backup_orchestration.homelab.load import Homelab
from backup_orchestration.operations.alerts import Alert

_SECONDS = 10


def notify(homelab: Homelab, alerts: Sequence[Alert]) -> None:
    """Send alerts to every notification target, all of them in one message.

    Raises:
        NotificationError: one did not take it; the others were told.
        SecretError: a target's URL is missing.
    """
    text = REDACTOR.clean_lines("\n".join(alert.text for alert in alerts))
    events = [
        {
            "target": alert.target,
            "event": alert.event,
            "protection": alert.protection,
            "reason": REDACTOR.clean(alert.reason),
        }
        for alert in alerts
    ]
    body = json.dumps({"text": text, "events": events}).encode()
    failed = [name for name in homelab.settings.notifications if not _post(_url(homelab, name), body)]
    if failed:
        raise NotificationError(
            f"not delivered: {', '.join(failed)}", remedy="it is tried again; see whether the webhook answers"
        )


def _url(homelab: Homelab, name: str) -> str:
    ref = homelab.settings.notifications[name].url
    return homelab.secrets.value(ref, f"{homelab.path}: notifications.{name}.url")


def _post(url: str, body: bytes) -> bool:
    """Whether the webhook took it. The URL may hold a token: it is in no message."""
    if not url.startswith(("http://", "https://")):
        return False
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, body, headers, method="POST")  # noqa: S310 - checked above
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310 - checked above
            return 200 <= int(answer.status) < 300
    except (OSError, ValueError, http.client.HTTPException):  # the last of a URL or an answer that is no HTTP
        return False
