"""What of shared/kit/messaging.py needs no server; the rest is in tests/integration/test_messaging.py."""

from __future__ import annotations

import pytest
from faststream.nats import NatsRouter

from infra.servers.services import SERVICES
from shared.kit.messaging import BrokerEdge, announce_stream, given, make_broker
from shared.kit.retry import delay_s
from shared.kit.service import Service
from shared.log.topology import PROGRESS, RECEIPTS

URL = "nats://127.0.0.1:1"


@pytest.mark.parametrize("service", [service for service in SERVICES if service.messages], ids=lambda each: each.owner)
def test_each_broker_asks_for_a_router_of_its_own(service: Service) -> None:
    assert service.messages is not None
    first, second = service.messages(), service.messages()
    assert first is not second
    assert not {id(each) for each in first.subscribers} & {id(each) for each in second.subscribers}


async def test_nothing_is_said_that_no_router_declares() -> None:
    broker, router = make_broker(URL, name="x"), NatsRouter()
    announce_stream(router, "receipt.*.*", stream=RECEIPTS)
    broker.include_router(router)
    with pytest.raises(KeyError, match=PROGRESS):
        await BrokerEdge(broker).publish(PROGRESS, "progress.demo.1", b"{}", expected=0)


def test_delays_grow_up_to_a_minute() -> None:
    assert [delay_s(attempts) for attempts in (1, 2, 3, 8, 9, 1000)] == [0.4, 0.8, 1.6, 51.2, 60.0, 60.0]


def test_a_value_is_given_to_handlers_only() -> None:
    with pytest.raises(LookupError):
        given("submissions")


def test_every_service_that_decides_has_a_router() -> None:
    assert {service.owner for service in SERVICES if service.messages} == {"intake", "routing", "supervision"}
