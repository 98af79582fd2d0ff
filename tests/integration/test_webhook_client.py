"""Where a webhook may go, and what a delivery comes to: names, addresses and certificates, on real sockets."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from services.supervision.feed.webhook_client import EgressRules, NotAllowed, WebhookClient
from shared.kit.clock import SystemClock
from shared.kit.settings import BadSettings, Settings
from tests.support.receivers import Receiver

HEADERS = {"webhook-id": "1", "webhook-timestamp": "1", "webhook-signature": "v1,x"}
DEMO = EgressRules(demo=True)


def certificate(folder: Path, name: str) -> Path:
    """A certificate for a host name that signs itself, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / f"{name}.pem"
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(made.public_bytes(pem) + secret)
    return file


@pytest_asyncio.fixture
async def tls(tmp_path: Path) -> AsyncIterator[tuple[Receiver, ssl.SSLContext]]:
    """A receiver on 127.0.0.1 alone with a certificate for `localhost`, and who trusts it."""
    file = certificate(tmp_path, "localhost")
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(file)
    receiver = Receiver(trust=served)
    await receiver.start()
    yield receiver, ssl.create_default_context(cafile=str(file))
    await receiver.stop()


async def send(url: str, rules: EgressRules, trust: ssl.SSLContext) -> Any:
    target = WebhookClient(url, rules, SystemClock(), trust)
    try:
        return await target.send(b"{}", HEADERS)
    finally:
        await target.close()


async def test_the_name_that_was_asked_for_is_the_one_that_the_certificate_must_have(
    tls: tuple[Receiver, ssl.SSLContext],
) -> None:
    receiver, trust = tls
    assert (await send(f"https://localhost:{receiver.port}/x", DEMO, trust)).taken
    assert receiver.got[0].headers["host"] == f"localhost:{receiver.port}"
    for url, who in (
        (f"https://127.0.0.1:{receiver.port}/", trust),  # a certificate of another name
        (f"https://localhost:{receiver.port}/", ssl.create_default_context()),  # one that nobody we know has signed
    ):
        outcome = await send(url, DEMO, who)
        assert (outcome.down, outcome.reason) == (True, "the certificate or the TLS of the receiver is not in order")
    assert len(receiver.got) == 1


def names(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> None:
    """Looking up any name gives these addresses, the last ones for good."""
    left = list(answers)

    async def look_up(_: Any, host: str, port: int, **__: Any) -> list[Any]:
        found = left.pop(0) if len(left) > 1 else left[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", look_up)


async def test_a_name_that_leads_elsewhere_later_leads_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    receiver = Receiver()
    await receiver.start()
    names(monkeypatch, ["93.184.216.34"], ["127.0.0.1"])
    url = f"https://rebound.example:{receiver.port}/"
    assert await EgressRules().addresses(httpx.URL(url)) == ["93.184.216.34"], "when it was made all was well"
    outcome = await send(url, EgressRules(), ssl.create_default_context())
    assert (outcome.down, "private or reserved network" in outcome.reason) == (True, True)
    assert receiver.got == []
    await receiver.stop()


async def test_one_address_that_is_not_allowed_spoils_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    names(monkeypatch, ["93.184.216.34", "10.0.0.1"])
    with pytest.raises(NotAllowed):
        await EgressRules().addresses(httpx.URL("https://both.example/"))


async def test_the_operator_opens_networks_and_plain_http_stays_on_the_own_machine() -> None:
    inner = EgressRules(networks=(ip_network("10.20.0.0/16"), ip_network("fd00::/8")))
    for url in ("https://10.20.30.40/", "https://[fd00::1]/"):
        assert await inner.addresses(httpx.URL(url))
    for url in ("https://10.21.0.1/", "http://10.20.30.40/", "https://127.0.0.1/"):
        with pytest.raises(NotAllowed):
            await inner.addresses(httpx.URL(url))
    assert await DEMO.addresses(httpx.URL("http://127.0.0.1:8080/")) == ["127.0.0.1"]
    settings = Settings.from_env({"CASEFLOW_WEBHOOK_NETWORKS": "10.20.0.0/16, fd00::/8"})
    assert EgressRules.of(settings) == inner
    with pytest.raises(BadSettings, match="CASEFLOW_WEBHOOK_NETWORKS"):
        Settings.from_env({"CASEFLOW_WEBHOOK_NETWORKS": "10.20.0.1/16"})


@pytest.mark.parametrize(
    ("told", "wait_s"),
    [("120", 120.0), ("0", 0.0), ("9" * 30, 86_400.0), ("-5", None), ("soon", None), ("٣", None), ("", None)],
)
async def test_retry_after_is_read_with_care(told: str, wait_s: float | None) -> None:
    receiver = Receiver()
    await receiver.start()
    receiver.answers(503, retry_after=told.encode().decode("latin-1"))
    outcome = await send(receiver.url, DEMO, ssl.create_default_context())
    assert (outcome.status, outcome.retry_after_s) == (503, wait_s)
    await receiver.stop()
