"""kafka:// addresses: what they mean, and what is refused when a logger is configured."""

from __future__ import annotations

import pytest

import upshot
from upshot.kafka_address import KafkaAddress

LOGIN = "security_protocol=SASL_SSL&sasl_mechanism=PLAIN&sasl_plain_username=models"


def test_an_address_names_brokers_and_the_way_to_log_in():
    """In kafka-python's words; 9092 is Kafka's port."""
    address = KafkaAddress.parse("url", f"kafka://one,two:9093,[::1]:9094?{LOGIN}&ssl_cafile=/etc/ca%20file.pem")
    assert address == KafkaAddress(
        servers=("one:9092", "two:9093", "[::1]:9094"),
        security_protocol="SASL_SSL",
        sasl_mechanism="PLAIN",
        sasl_plain_username="models",
        ssl_cafile="/etc/ca file.pem",
    )
    assert (address.has_login, address.has_tls) == (True, True)
    plain = KafkaAddress.parse("url", "kafka://broker/")
    assert (plain.servers, plain.has_login, plain.has_tls) == (("broker:9092",), False, False)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("kafka://", "url must name its brokers"),
        ("kafka://one,,two", "url must name its brokers"),
        ("kafka://one:99999", "url must name its brokers"),
        ("kafka://one:0", "url must name its brokers"),
        ("kafka://a..b", "url must name its brokers"),
        ("kafka://[::1", "url is not an address"),
        ("kafka://user:secret@one", "must not hold a user or password"),
        ("kafka://one,user:secret@two", "must not hold a user or password"),
        ("kafka://one/topic", "url must be like kafka://"),
        ("kafka://one#secret", "url must be like kafka://"),
        ("kafka://one two", "url must be like kafka://"),
        ("kafka://one?sasl_plain_password=secret", "must not hold a password"),
        ("kafka://one?ssl_password=secret", "must not hold a password"),
        ("kafka://one?acks=secret", "unknown option 'acks'"),
        ("kafka://one?servers=secret", "unknown option 'servers'"),
        ("kafka://one?ssl_cafile=a&ssl_cafile=secret", "ssl_cafile twice"),
        ("kafka://one?security_protocol=secret", "security_protocol must be one of PLAINTEXT, SSL"),
        ("kafka://one?security_protocol=SASL_SSL", "sasl_mechanism must be one of PLAIN, SCRAM-SHA-256"),
        ("kafka://one?security_protocol=SASL_SSL&sasl_mechanism=GSSAPI", "sasl_mechanism must be one of"),
        ("kafka://one?security_protocol=SASL_SSL&sasl_mechanism=PLAIN", "needs sasl_plain_username"),
        ("kafka://one?sasl_plain_username=secret", "SASL options need security_protocol"),
        ("kafka://one?ssl_cafile=secret", "TLS options need security_protocol"),
        ("kafka://one?security_protocol=SSL&ssl_check_hostname=secret", "ssl_check_hostname must be true or false"),
        ("kafka://one?security_protocol=SSL&ssl_cafile=/no/secret", "cannot be used: No such file"),
        (f"kafka://one?{LOGIN}", "needs the password as api_key"),
    ],
)
def test_a_wrong_address_is_refused_by_name_and_without_its_value(url, said):
    """At configure(), where somebody is there to read it."""
    with pytest.raises(upshot.ConfigurationError, match=said.replace("?", r"\?")) as raised:
        upshot.Logger(url=url)
    assert "secret" not in str(raised.value)


def test_a_password_that_would_not_be_sent_is_an_error():
    """An api_key left over from HTTP would otherwise look as if it protected something."""
    with pytest.raises(upshot.ConfigurationError, match="security_protocol=SASL_SSL") as raised:
        upshot.Logger(url="kafka://one", api_key="secret")
    assert "secret" not in str(raised.value)


def test_a_key_file_that_wants_a_password_is_refused_and_asks_nobody(tmp_path):
    """OpenSSL would ask on the terminal, which a model service does not have."""
    import subprocess

    options = "-newkey rsa:2048 -days 2 -subj /CN=a -passout pass:b -keyout key.pem -out certificate.pem"
    subprocess.run(["openssl", "req", "-x509", *options.split()], cwd=tmp_path, check=True, capture_output=True)
    files = f"ssl_certfile={tmp_path}/certificate.pem&ssl_keyfile={tmp_path}/key.pem"
    with pytest.raises(upshot.ConfigurationError, match="a key with a password"):
        upshot.Logger(url=f"kafka://one?security_protocol=SSL&{files}")
