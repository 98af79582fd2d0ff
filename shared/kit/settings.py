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

from shared.log.topology import Topology

PREFIX = "CASEFLOW_"
MIB = 1024 * 1024

Role = Literal["admin", "intake", "routing", "supervision", "reporting", "vault"]
AreaCode = Annotated[str, StringConstraints(pattern=r"^([0-9]{2}){1,3}$")]
Network = Annotated[str, AfterValidator(lambda text: str(ip_network(text)))]
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
    port: Annotated[int, Field(ge=1, le=65535)] = 8080
    demo: bool = False  # demo users and their tokens; the embedded stack turns it on

    # The log
    nats_url: str = "nats://127.0.0.1:4222"
    nats_user: str = ""
    nats_password: SecretStr = SecretStr("")
    areas: tuple[AreaCode, ...] = ("5101", "5107")
    replicas: Annotated[int, Field(ge=1, le=5)] = 1

    # Postgres, one DSN per role
    pg_dsn_admin: SecretStr | None = None
    pg_dsn_intake: SecretStr | None = None
    pg_dsn_routing: SecretStr | None = None
    pg_dsn_supervision: SecretStr | None = None
    pg_dsn_reporting: SecretStr | None = None
    pg_dsn_vault: SecretStr | None = None
    pg_pool_size_max: Count = 8

    # Where webhooks may go besides the public network: networks such as 10.20.0.0/16
    webhook_networks: tuple[Network, ...] = ()
    notices: Path | None = (
        None  # what residents are told by text message; default: services/supervision/feed/notices.yaml
    )

    # Secrets
    master_key: Path | None = None  # default: <data>/secrets/master.key
    tokens: Path | None = None  # default: <data>/secrets/tokens.yaml

    # Telemetry and tests
    otlp_endpoint: str | None = None  # http://collector:4318; nothing leaves the process without it
    trace_share: Annotated[float, Field(ge=0, le=1)] = 1.0
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    failpoints: str = ""

    # Limits on what comes in
    body_bytes_max: Count = 1 * MIB
    attachment_bytes_max: Count = 20 * MIB
    attachment_count_max: Count = 20
    page_rows_max: Count = 200
    after_wait_s_max: Seconds = 2.0

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
        given: dict[str, Any] = {}
        for variable, text in environ.items():
            if not variable.startswith(PREFIX):
                continue
            name = variable.removeprefix(PREFIX).lower()
            if name not in cls.model_fields:
                raise BadSettings(f"{variable} is not a setting. {_nearest(name, list(cls.model_fields))}")
            given[name] = _parsed(cls, name, text)
        try:
            return cls(**given)
        except ValidationError as error:
            lines = (f"{PREFIX}{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors(include_input=False))
            raise BadSettings("these settings cannot be used: " + "; ".join(lines)) from None

    def dsn(self, role: Role) -> str:
        """The DSN of a Postgres role. Raises BadSettings when it is not given."""
        secret: SecretStr | None = getattr(self, f"pg_dsn_{role}")
        if secret is None:
            raise BadSettings(
                f"{PREFIX}PG_DSN_{role.upper()} is missing: set it to postgresql://{role}:...@host/caseflow,"
                " or start the embedded stack with `caseflow up`"
            )
        return secret.get_secret_value()

    def backdate_max(self, channel: str) -> timedelta:
        """How far back a time of this channel may lie; none for a channel without an allowance."""
        return timedelta(seconds=self.backdate_s_max.get(channel, 0))

    @property
    def master_key_file(self) -> Path:
        return self.master_key or self.data / "secrets" / "master.key"

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
            raise BadSettings(f"{PREFIX}{name.upper()} is not understood: write name=value,name=value")
        return default | dict(part.split("=", 1) for part in parts)
    return text


def _nearest(name: str, names: list[str]) -> str:
    close = get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"Did you mean {PREFIX}{close[0].upper()}?"
    return "Remove it; the settings are " + ", ".join(PREFIX + n.upper() for n in names)
