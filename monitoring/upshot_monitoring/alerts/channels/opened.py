"""The channels of a server, made from its settings."""

from __future__ import annotations

from collections.abc import Mapping

from upshot_monitoring.alerts.channels.contract import Channel
from upshot_monitoring.alerts.channels.services import Service
from upshot_monitoring.alerts.channels.webhook import Webhook
from upshot_monitoring.alerts.settings import Alerting, WebhookChannel


def open_channels(settings: Alerting, environment: Mapping[str, str]) -> dict[str, Channel]:
    """Every channel by its name. Nothing is connected to, and no secret is read, before something is sent."""
    return {
        name: Webhook(config, environment) if isinstance(config, WebhookChannel) else Service(config, environment)
        for name, config in settings.channels.items()
    }
