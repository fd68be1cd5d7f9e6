"""Dead letters sent again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.joiner.kafka.conftest import GROUP, Running, events_of
from tests.ports import free_port
from tests.running_kafka import messages as real_messages
from tests.waiting import eventually
from upshot.kafka_address import KafkaAddress
from upshot_joiner.intake.decode import Refused
from upshot_joiner.intake.kafka.client import KafkaWriter, messages_until_now
from upshot_joiner.intake.kafka.contract import PREDICTIONS, KafkaUnavailable, Outgoing
from upshot_joiner.intake.kafka.letters import letter_of_item
from upshot_joiner.intake.kafka.resend import WantedLetters, open_letters, resend
from upshot_joiner.intake.origin import Origin
from upshot_server.replaying import Choice, from_dead


def test_dead_letters_are_sent_again_once_and_come_back_when_they_are_refused_again(
    running: Running, fresh: str
) -> None:
    """What is taken now is stored; what is refused comes back as a letter of the same entry, its attempt counted."""
    bad = {**events_of(fresh, 0)[0], "predicted_at": "yesterday"}
    running.predict(bad, *events_of(fresh, 1))
    running.send(PREDICTIONS, b"?")
    running.work()
    running.until_committed()
    before = running.quarantined()
    assert len(running.letters()) == len(before) == 2

    def replay(dry_run: bool = False, **wanted: str) -> Any:
        letters = open_letters(running.letters())
        return resend(letters, WantedLetters(**wanted), running.broker.producer(), dry_run=dry_run)

    assert (replay(dry_run=True).found, len(running.letters())) == (2, 2)
    assert (replay(model=fresh).sent, replay(code="invalid_time").found) == (1, 0)
    eventually(lambda: [letter.headers.get("upshot-attempt") for letter in running.letters()].count("2"))
    again = replay(code="invalid_time")
    assert (again.found, again.again) == (1, 1)
    running.until_committed()
    eventually(lambda: [letter.headers.get("upshot-attempt") for letter in running.letters()].count("3"))
    running.until_committed()
    assert running.quarantined() == before
    assert len({letter.key for letter in running.letters()}) == 2


def test_a_letter_whose_cause_is_mended_is_stored(running: Running, fresh: str) -> None:
    """Here a message that was no JSON to the intake of last week."""
    [event] = events_of(fresh, 5)
    letter = letter_of_item(
        "predictions", Refused(0, "a reason of last week", "", json.dumps(event)), Origin.of(PREDICTIONS, 0, 7, 0), 1
    )
    running.broker.produce(letter)
    running.work()
    assert resend(open_letters(running.letters()), WantedLetters(), running.broker.producer()).sent == 1
    running.until_committed()
    assert running.stored(fresh) == [f"{fresh}-5"]
    assert running.broker.committed(GROUP)


def test_letters_of_a_real_topic_are_sent_to_their_topic_once(kafka: str, fresh: str) -> None:
    """As `upshot replay --from dead` does it."""
    address = KafkaAddress.parse("kafka", f"kafka://{kafka}")
    writer = KafkaWriter(address, "")
    reason = Refused(3, fresh, "", events_of(fresh, 1)[0])
    letter = letter_of_item("predictions", reason, Origin.of(PREDICTIONS, 0, 7, 3), 1)
    for _ in range(2):  # a letter may be there twice
        writer.send(letter).result(60)
    writer.close(5)
    choice = Choice(code=fresh)
    assert from_dead(kafka, "", choice, True, print) == {"found": 1, "sent": 1, "again": 0, "unfit": {}}
    assert from_dead(kafka, "", choice, False, print)["sent"] == 1
    assert from_dead(kafka, "", choice, False, print)["found"] == 0
    entry = (letter.key or b"").decode()
    sent = [
        message
        for message in real_messages(kafka, PREDICTIONS)
        if dict(message.headers).get("upshot-entry") == entry.encode()
    ]
    assert [json.loads(message.value)["request_id"] for message in sent] == [f"{fresh}-1"]


def test_a_topic_is_read_to_where_it_was(kafka: str, fresh: str) -> None:
    """More than one fetch of several partitions; a topic that nobody made holds nothing; without a broker there is an error."""
    address = KafkaAddress.parse("kafka", f"kafka://{kafka}")
    writer = KafkaWriter(address, "")
    sent = [
        writer.send(Outgoing(fresh, b"%d" % number, {"n": str(number)}, str(number % 7).encode()))
        for number in range(5000)
    ]
    for each in sent:
        each.result(60)
    read = messages_until_now(address, "", fresh)
    first = next(read)
    writer.send(Outgoing(fresh, b"later", {}, b"0")).result(60)
    writer.close(5)
    found = [first, *read]
    assert sorted(int(message.value or b"") for message in found) == list(range(5000))
    for key in {message.key for message in found}:
        of_key = [int(message.value or b"") for message in found if message.key == key]
        assert of_key == sorted(of_key)
    assert len({message.partition for message in found}) > 1
    assert list(messages_until_now(address, "", f"{fresh}-none")) == []
    with pytest.raises(KafkaUnavailable):
        next(
            messages_until_now(KafkaAddress.parse("kafka", f"kafka://127.0.0.1:{free_port()}"), "", fresh, timeout_s=2)
        )
