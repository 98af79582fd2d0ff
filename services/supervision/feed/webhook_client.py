"""The addresses that a webhook may have, and one delivery: no private networks, no redirects, bounded in time and size.

For every connection the client looks up the host name itself, checks each address, and connects to a checked address. A
name that changes its address between check and connection therefore gains nothing (Standard Webhooks, "Server side
request forgery").
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Self

import httpx

from shared.kit.clock import Clock
from shared.kit.problems import Unprocessable
from shared.kit.settings import Settings

URL_CHARS_MAX = 1000
DELIVERY_S_MAX = 15.0
DRAIN_S_MAX = 1.0
RESPONSE_BYTES_MAX = 64 * 1024  # the response is read so that the connection can be reused, and is then dropped
RETRY_AFTER_S_MAX = 86_400.0
CONNECTIONS_COUNT_MAX = 8
GONE, TOO_MANY = 410, 429
_NAT64 = ip_network("64:ff9b::/96")

IpAddress = IPv4Address | IPv6Address


class NotAllowed(Unprocessable):
    """The address of a webhook is not allowed; the text says why, and what to do."""

    code, advice = "webhook.not_allowed", "Give an https address on the public network, or ask the operator."


@dataclass(frozen=True, slots=True)
class EgressRules:
    """The addresses that webhooks may have: https on public addresses and on `networks`.

    With `demo` the machine itself is allowed too, also without https.
    """

    demo: bool = False
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The rules that the operator has set."""
        return cls(bool(settings.demo), tuple(ip_network(network) for network in settings.webhook_networks))

    async def addresses(self, url: httpx.URL) -> list[str]:
        """The addresses of a URL's host, all allowed. Raises NotAllowed, also when there is no such host."""
        if url.scheme not in ("https", "http") or not url.host:
            raise NotAllowed("A webhook's address begins with https:// and names a host.")
        if url.userinfo or url.fragment:
            raise NotAllowed("A webhook's address holds no user, password or fragment; the signature proves who sends.")
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            infos = await asyncio.get_running_loop().getaddrinfo(url.host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise NotAllowed("The host of this address cannot be found. Check its name.") from None
        addresses = list(dict.fromkeys(ip_address(str(info[4][0]).partition("%")[0]) for info in infos))
        for address in addresses:
            self._check(url.scheme, _embedded(address))
        return [str(address) for address in addresses]

    def _check(self, scheme: str, address: IpAddress) -> None:
        loopback = self.demo and address.is_loopback
        if scheme == "http" and not loopback:
            raise NotAllowed("A webhook's address begins with https://; plain http stays on the demo's own machine.")
        public = address.is_global and not address.is_multicast
        if not (public or loopback or any(address in network for network in self.networks)):
            raise NotAllowed(
                "This address lies in a private or reserved network, where webhooks do not go unless the operator "
                "names the network in CASEFLOW_WEBHOOK_NETWORKS."
            )


def _embedded(address: IpAddress) -> IpAddress:
    """The IPv4 address inside an IPv6 address, which is the one reached; any other address as it is."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address.sixtofour is not None:
            return address.sixtofour
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


@dataclass(frozen=True, slots=True)
class WebhookOutcome:
    """The outcome of a delivery. Nothing of the response but its status is kept.

    `status` is the HTTP status, 0 without an answer. `reason` says why the delivery failed, in our own words.
    """

    status: int = 0
    reason: str = ""
    retry_after_s: float | None = None

    @property
    def taken(self) -> bool:
        return 200 <= self.status < 300

    @property
    def gone(self) -> bool:
        return self.status == GONE

    @property
    def down(self) -> bool:
        """Whether the receiver takes nothing at all now, as distinct from not taking this item."""
        return self.status in (0, TOO_MANY, 502, 503, 504) or self.retry_after_s is not None


class WebhookClient:
    """The client of one receiver, with its own connections, so that two receivers never share one."""

    def __init__(self, url: str, rules: EgressRules, clock: Clock, trust: ssl.SSLContext) -> None:
        self._url, self._clock = url, clock
        self._client = httpx.AsyncClient(
            transport=_CheckedTransport(rules, trust), trust_env=False, follow_redirects=False, timeout=DELIVERY_S_MAX
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def send(self, body: bytes, headers: Mapping[str, str]) -> WebhookOutcome:
        """Post once. A failure is returned as an outcome; nothing is raised."""
        outcome = WebhookOutcome(reason=f"no answer within {DELIVERY_S_MAX:.0f} s")
        try:
            async with (
                asyncio.timeout(DELIVERY_S_MAX),
                self._client.stream("POST", self._url, content=body, headers=headers) as answer,
            ):
                outcome = self._outcome(answer)
                async with asyncio.timeout(DRAIN_S_MAX):
                    await _drain(answer)
        except (TimeoutError, httpx.HTTPError) as error:
            if not outcome.status and not isinstance(error, TimeoutError | httpx.TimeoutException):
                return WebhookOutcome(reason=_reason(error))
        except NotAllowed as error:
            return WebhookOutcome(reason=error.problem.detail)
        return outcome

    def _outcome(self, answer: httpx.Response) -> WebhookOutcome:
        status = answer.status_code
        reason = "" if answer.is_success else f"answered {status}"
        if 300 <= status < 400:
            reason = f"answered {status}: redirects are not followed, give the final address"
        return WebhookOutcome(
            status, reason, None if answer.is_success else self._wait_s(answer.headers.get("retry-after"))
        )

    def _wait_s(self, text: str | None) -> float | None:
        """Retry-After in seconds from now (RFC 9110, 10.2.3); None when it is missing or malformed."""
        if text is None:
            return None
        if text.strip().isascii() and text.strip().isdigit():
            return min(float(text.strip()[:12]), RETRY_AFTER_S_MAX)
        try:
            at: datetime = parsedate_to_datetime(text)
            left = (at - self._clock.now()).total_seconds()
        except (ValueError, TypeError):
            return None
        return min(max(left, 0.0), RETRY_AFTER_S_MAX)


def _reason(error: Exception) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return "the certificate or the TLS of the receiver is not in order"
        cause = cause.__cause__ or cause.__context__
    return "no connection" if isinstance(error, httpx.ConnectError) else f"no answer ({type(error).__name__})"


async def _drain(answer: httpx.Response) -> None:
    size = 0
    async for chunk in answer.aiter_raw():
        size += len(chunk)
        if size > RESPONSE_BYTES_MAX:
            return


class _CheckedTransport(httpx.AsyncBaseTransport):
    """Connects to a checked address; TLS and the Host header use the name of the URL."""

    def __init__(self, rules: EgressRules, trust: ssl.SSLContext) -> None:
        self._rules = rules
        limits = httpx.Limits(max_connections=CONNECTIONS_COUNT_MAX, keepalive_expiry=60)
        self._inner = httpx.AsyncHTTPTransport(verify=trust, trust_env=False, limits=limits)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        addresses = await self._rules.addresses(request.url)
        return await self._first_of(addresses, request)

    async def _first_of(self, addresses: Sequence[str], request: httpx.Request) -> httpx.Response:
        name = request.url
        request.extensions = {**request.extensions, "sni_hostname": name.raw_host.decode("ascii")}
        for address in addresses[:-1]:
            request.url = name.copy_with(host=address)
            try:
                return await self._inner.handle_async_request(request)
            except httpx.ConnectError:
                continue
        request.url = name.copy_with(host=addresses[-1])
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()
