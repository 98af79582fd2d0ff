"""The file of tokens: a change of it counts at once, and a broken one changes nothing."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from shared.kit.identity import TokenFile
from shared.kit.settings import BadSettings


def digest(token: str) -> str:
    return sha256(token.encode()).hexdigest()


def written(path: Path, *tokens: str) -> Path:
    """A file with these tokens, each of the person of its name, put in place as a whole."""
    new = path.with_name("new")
    new.write_text("# tokens\n" + "".join(f"{digest(token).upper()} person-{token}\n" for token in tokens), "utf-8")
    return new.replace(path)


def test_a_new_token_counts_and_a_revoked_one_ends(tmp_path: Path) -> None:
    path = tmp_path / "tokens.yaml"
    tokens = TokenFile(path)
    assert tokens.get(digest("a")) is None, "there is no file yet"
    written(path, "a")
    assert tokens.get(digest("a")) == "person-a"
    written(path, "a", "b")
    assert tokens.get(digest("b")) == "person-b"
    written(path, "b")
    assert tokens.get(digest("a")) is None
    path.unlink()
    assert tokens.get(digest("b")) is None


@pytest.mark.parametrize("content", [b"nonsense\n", b"\xff\xfe\xff\n", b"ab person\n"])
def test_a_broken_file_leaves_the_tokens_as_they_are(tmp_path: Path, content: bytes) -> None:
    path = written(tmp_path / "tokens.yaml", "a")
    tokens = TokenFile(path)
    path.write_bytes(content)
    assert tokens.get(digest("a")) == "person-a"
    written(path, "b")
    assert (tokens.get(digest("a")), tokens.get(digest("b"))) == (None, "person-b")


def test_a_broken_file_at_the_start_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "tokens.yaml", "a")
    path.write_text(path.read_text("utf-8") + "nonsense\n", "utf-8")
    with pytest.raises(BadSettings, match=r"tokens\.yaml:3"):
        TokenFile(path)
