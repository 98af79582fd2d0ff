"""What an operator may choose, read once from `CASEFLOW_*` variables; everything else has one value in the code.

Names in the environment are the field names in capitals behind `CASEFLOW_`: `CASEFLOW_PORT=8081`. Lists are written
with commas. A variable that no field has is refused with the nearest name, since a silent typo is a lost setting.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from difflib import get_close_matches
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    field_validator,
)

from shared.case.base import Owner
from shared.log.topology import Topology

VARIABLE_PREFIX = "CASEFLOW_"
MIB = 1024 * 1024

# The Postgres roles: the administrator, one per service, and the vault.
ROLES = ("admin", *map(str, Owner), "vault")
DSN = "pg_dsn_"
AreaCode = Annotated[str, StringConstraints(pattern=r"^([0-9]{2}){1,3}$")]
Network = Annotated[str, AfterValidator(lambda text: str(ip_network(text)))]
Port = Annotated[int, Field(ge=1, le=65535)]
Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(ge=0)]


class BadSettings(ValueError):
    """The environment holds something that cannot be used; the text says which variable and what to do."""


class Settings(BaseModel):
    """Settings of one process. Sizes in bytes, times in seconds unless the name says otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    # Where it lives and listens
    data: Path = Path("data")
    host: str = "127.0.0.1"
    port: Port = 8080
    # A second port for /metrics and health, for the operator alone; the first one then answers no /metrics
    inner_host: str = "127.0.0.1"
    inner_port: Port | None = None
    demo: bool | None = None  # demo documents, users and their tokens; default: in the embedded mode only

    # The log
    nats_url: str = "nats://127.0.0.1:4222"
    nats_user: str = ""
    nats_password: SecretStr = SecretStr("")
    areas: tuple[AreaCode, ...] = ("5101", "5107")
    replicas: Annotated[int, Field(ge=1, le=5)] = 1

    # Postgres, one DSN per role, each from a variable of its own: CASEFLOW_PG_DSN_<ROLE>
    pg_dsn: dict[str, SecretStr] = {}
    pg_pool_size_max: Count = 8

    # Where webhooks may go besides the public network: networks such as 10.20.0.0/16
    webhook_networks: tuple[Network, ...] = ()
    notices: Path | None = (
        None  # what residents are told by text message; default: services/supervision/feed/notices.yaml
    )

    # Secrets
    master_key: Path | None = None  # default: <data>/secrets/master.key
    tokens: Path | None = None  # default: <data>/secrets/tokens.yaml

    # Platforms and subscribers over NATS (infra/servers/partners.py)
    partners: Path | None = None  # default: <data>/partners.yaml, and without it the partners of the demo

    # Telemetry and tests
    otlp_endpoint: str | None = None  # http://collector:4318; nothing leaves the process without it
    trace_share: Annotated[float, Field(ge=0, le=1)] = 1.0
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    failpoints: str = ""

    # Limits on what comes in
    body_bytes_max: Count = 1 * MIB
    attachment_bytes_max: Count = 20 * MIB
    page_rows_max: Count = 200
    after_wait_s_max: Seconds = 2.0

    # Reverse proxies whose X-Forwarded-For names the caller, by network; from any other address the header is ignored
    proxies: tuple[Network, ...] = ()

    # Rates, per minute
    look_up_rate_max: Count = 10  # public look-ups per case number and per address
    public_rate_max: Count = 120  # public requests per address

    # How far `time` may lie behind `recordedat`, per channel (the two times): letters travel, grid
    # workers are without a link; "desk" is whatever is done on a case that exists
    backdate_s_max: dict[str, Seconds] = {
        "letter": 30 * 86_400, "call": 86_400, "visit": 86_400, "web": 0, "app": 3 * 86_400, "grid": 3 * 86_400,
        "transfer": 30 * 86_400, "superior": 30 * 86_400, "platform": 3 * 86_400, "desk": 86_400,
    }  # fmt: skip

    @field_validator("areas")
    @classmethod
    def _apart(cls, areas: tuple[str, ...]) -> tuple[str, ...]:
        Topology(areas)  # raises ValueError for none, and for areas that overlap
        return areas

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """The settings in `environ`. Raises BadSettings that names the variable, never its value."""
        names = [*(name for name in cls.model_fields if name != "pg_dsn"), *(DSN + role for role in ROLES)]
        given: dict[str, Any] = {}
        for variable, text in environ.items():
            if not variable.startswith(VARIABLE_PREFIX):
                continue
            name = variable.removeprefix(VARIABLE_PREFIX).lower()
            if name.removeprefix(DSN) in ROLES and name.startswith(DSN):
                given.setdefault("pg_dsn", {})[name.removeprefix(DSN)] = text
                continue
            if name not in names:
                raise BadSettings(f"{variable} is not a setting. {_nearest(name, names)}")
            given[name] = _parsed(cls, name, text)
        try:
            return cls(**given)
        except ValidationError as error:
            lines = (
                f"{VARIABLE_PREFIX}{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors(include_input=False)
            )
            raise BadSettings("these settings cannot be used: " + "; ".join(lines)) from None

    def dsn(self, role: str) -> str:
        """The DSN of a Postgres role. Raises BadSettings when it is not given."""
        if role not in self.pg_dsn:
            raise BadSettings(
                f"{VARIABLE_PREFIX}PG_DSN_{role.upper()} is missing: set it to postgresql://{role}:...@host/caseflow,"
                " or start the embedded stack with `caseflow up`"
            )
        return self.pg_dsn[role].get_secret_value()

    def backdate_max(self, channel: str) -> timedelta:
        """How far back a time of this channel may lie; none for a channel without an allowance."""
        return timedelta(seconds=self.backdate_s_max.get(channel, 0))

    @property
    def master_key_file(self) -> Path:
        return self.master_key or self.data / "secrets" / "master.key"

    @property
    def partners_file(self) -> Path:
        return self.partners or self.data / "partners.yaml"

    @property
    def tokens_file(self) -> Path:
        return self.tokens or self.data / "secrets" / "tokens.yaml"


def _parsed(cls: type[Settings], name: str, text: str) -> Any:
    """Lists as `a,b`, tables as `a=1,b=2`; the rest is left to pydantic."""
    default = cls.model_fields[name].default
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if isinstance(default, tuple):
        return tuple(parts)
    if isinstance(default, dict):
        if not all("=" in part for part in parts):
            raise BadSettings(f"{VARIABLE_PREFIX}{name.upper()} is not understood: write name=value,name=value")
        return default | dict(part.split("=", 1) for part in parts)
    return text


def _nearest(name: str, names: list[str]) -> str:
    close = get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"Did you mean {VARIABLE_PREFIX}{close[0].upper()}?"
    return "Remove it; the settings are " + ", ".join(VARIABLE_PREFIX + n.upper() for n in names)
