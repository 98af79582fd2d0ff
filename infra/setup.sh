#!/bin/sh
# Make .venv: the pinned dependencies, this checkout on its path, the command .venv/bin/caseflow. Called by make.
set -eu
umask 022 # Postgres runs as another user when we are root, and must be able to read its programs
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
: "${PYTHON:=python3}"

fail() { echo "setup: $1" >&2; exit 1; }

command -v "$PYTHON" >/dev/null || fail "$PYTHON is missing: install the Debian package python3"
version=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "Python $version is too old, 3.11 is needed: make PYTHON=python3.11 run"
"$PYTHON" -c 'import venv, ensurepip' 2>/dev/null ||
    fail "Python $version has no venv here: install the Debian package python$version-venv, then run make again"

echo "setup: making .venv and installing $(grep -c '==' requirements.lock) pinned packages (once, about a minute)"
"$PYTHON" -m venv --clear .venv || fail "could not make .venv: remove the folder and run make again"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
    -r requirements.lock || fail "the installation failed; is the package index reachable? Run make again"

packages=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
echo "$root" > "$packages/caseflow.pth"
cat > .venv/bin/caseflow <<'END'
#!/bin/sh
exec "$(dirname "$(readlink -f "$0")")/python" -P -m infra.cli "$@"
END
chmod 755 .venv/bin/caseflow
touch .venv/ready
