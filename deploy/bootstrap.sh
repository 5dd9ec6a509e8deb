#!/bin/sh
# Makes or brings up to date the virtual environment in .venv, from nothing but this repository and package registries:
#
#     deploy/bootstrap.sh EXTRAS          for instance: deploy/bootstrap.sh api,worker,local
#
# Run by the Makefile from the repository's root. PYTHON names the interpreter to use; otherwise one is looked for.
set -eu

EXTRAS=$1
VENV=.venv

say() { printf '\033[1m%s\033[0m\n' "$*" >&2; }
fail() { printf '\033[31m%s\033[0m\n' "$*" >&2; exit 1; }

# 3.11 and 3.12 only: basicsr's set-up script breaks on 3.13.
is_right() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; }

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        is_right "$PYTHON" || fail "PYTHON=$PYTHON is not Python 3.11 or 3.12."
        echo "$PYTHON"
        return
    fi
    for candidate in python3.11 python3.12 python3 python; do
        # Running it is the test: a version manager's shim may exist for a version that is not switched on.
        if is_right "$candidate"; then echo "$candidate"; return; fi
    done
    for candidate in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[12].*/bin/python3; do
        if [ -x "$candidate" ] && is_right "$candidate"; then echo "$candidate"; return; fi
    done
    fail "photomend needs Python 3.11 or 3.12 and found neither (basicsr, which it builds on, does not install on 3.13).
Debian 12:       apt-get install python3.11 python3.11-venv
Ubuntu 24.04:    apt-get install python3.12 python3.12-venv
Elsewhere, with an interpreter of your own: make ... PYTHON=/path/to/python3.11"
}

# Installs Debian packages where that needs no question: as root, or with sudo that asks for no password.
apt_install() {
    command -v apt-get >/dev/null || return 1
    if [ "$(id -u)" = 0 ]; then as_root=""; elif sudo -n true 2>/dev/null; then as_root="sudo -n"; else return 1; fi
    say "Installing system packages: $*"
    { $as_root apt-get update -qq && $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@"; } >&2
}

check_venv_module() {
    "$1" -c 'import ensurepip, venv' 2>/dev/null && return
    package="$("$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
    apt_install "$package" || fail "This Python cannot make virtual environments. As root: apt-get install $package"
}

# What opencv-python's wheel expects of the system; everything else comes inside wheels.
missing_libraries() {
    "$1" - <<'PROBE'
import ctypes
for name in ("libGL.so.1", "libglib-2.0.so.0", "libgthread-2.0.so.0", "libxcb.so.1", "libSM.so.6", "libXext.so.6"):
    try:
        ctypes.CDLL(name)
    except OSError:
        print(name)
PROBE
}

check_libraries() {
    [ "$(uname -s)" = Linux ] || return 0
    missing="$(missing_libraries "$1" | tr '\n' ' ')"
    [ -n "$missing" ] || return 0
    glib=libglib2.0-0
    # Debian 13 and Ubuntu 24.04 renamed it with the change to 64-bit time.
    if apt-cache show libglib2.0-0t64 >/dev/null 2>&1; then glib=libglib2.0-0t64; fi
    packages="libgl1 $glib libxcb1 libsm6 libxext6"
    # shellcheck disable=SC2086 # a list of words
    if ! apt_install $packages || [ -n "$(missing_libraries "$1")" ]; then
        fail "OpenCV needs system libraries that are not here: $missing
Debian/Ubuntu, as root: apt-get install $packages"
    fi
}

# The page is tested in a real browser. Without one its tests are left out at home, and fail where CI is set.
check_browser() {
    for name in chromium chromium-browser google-chrome; do
        command -v "$name" >/dev/null && return
    done
    apt_install --no-install-recommends chromium fonts-dejavu-core ||
        say "No Chromium: the page's tests are left out. Debian, as root: apt-get install chromium"
}

# The README's how-tos are run as they stand; some of them call curl.
check_curl() {
    command -v curl >/dev/null || apt_install --no-install-recommends curl ||
        say "No curl: the README's how-tos are not tested. Debian, as root: apt-get install curl"
}

# The alerts are tested by Prometheus' own tool, the dashboard by the server. Taken out of Debian's package, since installing
# that starts a server. Without them their tests are left out at home, and fail where CI is set.
check_prometheus() {
    if command -v promtool >/dev/null && command -v prometheus >/dev/null; then return; fi
    if [ -x "$VENV/bin/promtool" ] && [ -x "$VENV/bin/prometheus" ]; then return; fi
    folder="$(mktemp -d)"
    # A container has no lists of packages until it asks.
    (cd "$folder" && { apt-get download -qq prometheus || { apt-get update -qq && apt-get download -qq prometheus; }; } &&
        dpkg -x prometheus_*.deb . && cp usr/bin/promtool usr/bin/prometheus "$OLDPWD/$VENV/bin/") >/dev/null 2>&1 ||
        say "No Prometheus: alerts' and dashboard's tests are left out. Debian: apt-get download prometheus, dpkg -x, onto PATH"
    rm -rf "$folder"
}

make_venv() {
    if [ -e "$VENV/bin/python" ] && ! is_right "$VENV/bin/python"; then
        say "$VENV has another Python; making it anew"
        rm -rf "$VENV"
    fi
    [ -x "$VENV/bin/pip" ] || "$1" -m venv "$VENV" || fail "Could not make $VENV with $1."
}

python="$(find_python)"
check_venv_module "$python"
check_libraries "$python"
case ",$EXTRAS," in *,dev,*) check_browser; check_curl ;; esac
make_venv "$python"
case ",$EXTRAS," in *,dev,*) check_prometheus ;; esac
say "Installing photomend[$EXTRAS] into $VENV ($("$VENV/bin/python" --version)); the first time this takes some minutes"
quiet=-q
if [ -t 1 ]; then quiet=""; fi # a person wants to see that it moves
pip() {
    # shellcheck disable=SC2086 # empty or one word
    "$VENV/bin/python" -m pip install --disable-pip-version-check $quiet -c constraints.txt "$@" ||
        fail "pip could not install everything; its message is above. Run make again to go on where it stopped."
}

case ",$EXTRAS," in
*,worker,*)
    # These two come as sources. Left to itself pip gives basicsr's build an environment with a torch of its own, of any
    # version and gigabytes large, or (pip 23 of Debian 12) fails in it. It needs nothing but setuptools.
    pip 'setuptools>=77'
    pip --no-build-isolation --use-pep517 --no-deps basicsr filterpy
    ;;
esac
pip -e ".[$EXTRAS]"
