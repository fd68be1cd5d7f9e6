"""What takes the events of requests: the store itself, or Kafka, where workers bring them into the store."""

from __future__ import annotations

from upshot_joiner.intake.committer import Committer
from upshot_joiner.intake.receive import Receiver
from upshot_server.settings import Settings


def open_receiver(settings: Settings, committer: Committer) -> Receiver:
    """The receiver that the settings ask for. Raises ConfigurationError for an address of Kafka that is none."""
    if not settings.kafka:
        return Receiver(committer)
    from upshot_joiner.intake.kafka.client import KafkaWriter  # kafka-python: only where it is needed
    from upshot_joiner.intake.kafka.forward import Forwarder
    from upshot_server.work import kafka_address

    writer = KafkaWriter(kafka_address(settings.kafka), settings.kafka_password.get_secret_value(), gives_up_s=10)
    return Forwarder(committer, writer)
