"""A log of many complete cases, sealed and encoded as by the services, for projections and rebuilds."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from infra.servers.embedded import Embedded, Endpoints
from infra.servers.folder import Folder, write_private
from infra.servers.programs import nats_program
from shared.case.base import Actor, Address, Event, Meta, Recorded, event_id, new_id
from shared.kit.clock import SystemClock
from shared.kit.seal import seal_fields
from shared.kit.vault import Vault
from shared.log.connection import NatsConnection, connect
from shared.log.envelope import encode_event
from tests.bench.base import Say
from tests.support.reporting import EVENTS_PER_CASE, START, VILLAGE, _life, matter

STREAM = "LOG_5101"
SIDE_BY_SIDE = 200  # cases whose events interleave
ACK_EVERY = 500
KEYS_AT_ONCE = 1000
REFERENCES = ("posts@3", "people:510104000000@7")
_CHARS = (
    "的一是不了在人有我他这中大来上国个到说们为子和你地出道也时年得就那要下以生会自着去之过家学对可她里后"
    "小么心多天而能好都然没日于起还发成事只作当想看文无开手十用主行方又如前所本见经头面公同三已老从动两长"
    "知民样现分将外但身些与高意进把法此实回二理美点月明其种声全工己话儿者向情部正名定女问力机给等几很业最"
    "间新什打便位因重被走电四第门相次东政海口使教西再平真听世气信北少关并内加化由却代军产入先山五太水万市"
    "眼体别处总才场师书比住员九笑性通目华报立马命张活难神数件安表原车白应路期叫死常提感金何更反合放做系计"
    "或司利受光王果亲界及今京务制解各任至清物台象记边共风战干接它许八特觉望直服毛林题建南度统色字请交爱让"
    "认算论百吃义科怎元社术结六功指思非流每青管夫连远资队跟带花快条院变联言权往展该领传近留红治决周保达办"
    "运武半候七必城父强步完革深区即求品士转量空甚众技轻程告江语英基派满式李息写呢识极令黄德收脸钱党倒未持"
    "取设始版双历越史商千片容研像找友孩站广改议形委早房音火际则首单据导影失拿网香似斯专石若兵弟谁校读志飞"
    "观争究包组造落视济喜离虽坏楼梯费物业停"
)


def texts() -> Iterator[str]:
    """Texts of a usual size, endless and the same in each run."""
    chance = random.Random(1)
    while True:
        yield "".join(chance.choices(_CHARS, k=60))


async def new_keys(vault: Vault, count: int) -> dict[str, bytes]:
    """Addresses of new cases, with keys in the vault."""
    ids = [new_id(VILLAGE, f"seed {number}") for number in range(count)]
    found: dict[str, bytes] = {}
    for start in range(0, count, KEYS_AT_ONCE):
        found |= await vault.new_keys(None, [(id, VILLAGE) for id in ids[start : start + KEYS_AT_ONCE]])
    return found


class Seeder:
    """Writes the events of cases to the log as fast as the server accepts them."""

    def __init__(self, connection: NatsConnection) -> None:
        self._connection, self._clock, self._texts = connection, SystemClock(), texts()
        self._actor = Actor(person="li.na", post="desk", unit=f"{VILLAGE}-desk", centre=VILLAGE, region=VILLAGE)

    async def write(self, keys: dict[str, bytes], say: Say) -> None:
        """Write all events of these cases, interleaved, and await the acknowledgement of every ACK_EVERY-th."""
        total, number, told = len(keys) * EVENTS_PER_CASE, 0, time.monotonic()
        items = iter(keys.items())
        while group := list(itertools.islice(items, SIDE_BY_SIDE)):
            for step in zip(*(self._life(id, key, n) for n, (id, key) in enumerate(group)), strict=True):
                for recorded in step:
                    number += 1
                    data, subject = encode_event(recorded), recorded.address.subject
                    if number % ACK_EVERY and number < total:
                        await self._connection.client.publish(subject, data)
                    else:
                        await self._connection.api(subject, data)
            if time.monotonic() - told > 5:
                told = time.monotonic()
                say(f"events on the log: {number:,} of {total:,}")

    def _life(self, id: str, key: bytes, number: int) -> Iterator[Recorded[Event]]:
        address, at = Address("case", VILLAGE, id), START + timedelta(seconds=number)
        for place, event in enumerate(_life(VILLAGE, at)):
            if place == 0:
                event = event.model_copy(update={"matter": matter(text=next(self._texts))})
            command_id = f"{place} {id}"
            known = event_id(command_id, address.subject)
            meta = Meta.model_construct(
                command_id=command_id, time=at, recorded_at=at, actor=self._actor, references=REFERENCES
            )
            sealed = seal_fields(event, key, id, known, self._clock) if event.PRIVATE else event
            yield Recorded(known, address, meta, sealed)


@asynccontextmanager
async def lazy_nats(data: Path) -> AsyncIterator[NatsConnection]:
    """The NATS server of a stopped stack, without fsync on every append, as seeding is not measured."""
    run, folder = data / "run", Folder(data.resolve())
    config = run / "seeding.conf"
    own = json.loads((run / "nats.conf").read_text())
    own["jetstream"]["sync_interval"] = "2m"
    write_private(config, json.dumps(own))
    server = await asyncio.create_subprocess_exec(nats_program(), "-c", str(config))
    try:
        url = f"nats://127.0.0.1:{own['port']}"
        if own["port"] < 0:
            ports = run / f"nats-server_{server.pid}.ports"
            while not ports.exists() or not ports.read_text().endswith("}"):
                await asyncio.sleep(0.02)
            url = json.loads(ports.read_text())["nats"][0]
        connection = await connect(url, user="admin", password=folder.passwords(["admin"])["admin"], name="seed")
        try:
            yield connection
        finally:
            await connection.close()
    finally:
        server.terminate()
        await server.wait()
        config.unlink()


@asynccontextmanager
async def servers(data: Path) -> AsyncIterator[Endpoints]:
    """Both servers of a data folder, without services."""
    embedded = Embedded()
    endpoints = await embedded.start(data, nats_port=0)
    try:
        yield endpoints
    finally:
        await embedded.stop()
