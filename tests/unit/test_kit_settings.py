from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from shared.kit.settings import BadSettings, Settings


def test_defaults_and_names_from_the_environment() -> None:
    settings = Settings.from_env({
        "CASEFLOW_PORT": "8081", "CASEFLOW_AREAS": "5101, 510722", "CASEFLOW_DATA": "/srv/caseflow", "HOME": "/root",
        "CASEFLOW_BACKDATE_S_MAX": "web=60", "CASEFLOW_PG_DSN_INTAKE": "postgresql://intake:geheim@db/caseflow",
    })  # fmt: skip
    assert (settings.port, settings.areas, settings.demo) == (8081, ("5101", "510722"), None)
    assert settings.master_key_file == Path("/srv/caseflow/secrets/master.key")
    assert settings.backdate_max("web") == timedelta(minutes=1)
    assert settings.backdate_max("visit") == timedelta(days=1)
    assert settings.backdate_max("pigeon") == timedelta(0)
    assert settings.dsn("intake").endswith("@db/caseflow")


def test_an_unknown_variable_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(BadSettings, match=r"CASEFLOW_PRT is not a setting. Did you mean CASEFLOW_PORT\?"):
        Settings.from_env({"CASEFLOW_PRT": "1"})


@pytest.mark.parametrize(
    ("variable", "text"),
    [("PORT", "x7x"), ("AREAS", "51x7x1"), ("REPLICAS", "0"), ("BACKDATE_S_MAX", "x7x"), ("LOG_LEVEL", "x7x")],
)
def test_a_value_that_cannot_be_used_names_the_variable_and_hides_the_value(variable: str, text: str) -> None:
    with pytest.raises(BadSettings, match=f"CASEFLOW_{variable}") as refused:
        Settings.from_env({f"CASEFLOW_{variable}": text})
    assert "x7x" not in str(refused.value)


def test_secrets_do_not_show_and_a_missing_dsn_says_what_to_do() -> None:
    settings = Settings.from_env(
        {"CASEFLOW_NATS_PASSWORD": "geheim", "CASEFLOW_PG_DSN_VAULT": "postgresql://v:geheim@h/d"}
    )
    assert "geheim" not in repr(settings)
    with pytest.raises(BadSettings, match="CASEFLOW_PG_DSN_ROUTING is missing: set it"):
        settings.dsn("routing")
