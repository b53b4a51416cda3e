# Sourced by the other scripts: where things are, and how Wine runs without a display.
#
#   PROCIO_WINDOWS_CACHE   where everything is kept
#                          (default ${XDG_CACHE_HOME:-$HOME/.cache}/procio-windows); delete it to start anew
#   PROCIO_WINDOWS_PREFIX  which Wine prefix there: prefix (default) or prefix-2. Each has a Wine server,
#                          a registry and a folder for temporary files of its own
#   PROCIO_WINDOWS_PYTHON  which CPython: 3.11 (default), 3.12, 3.13, 3.14, or 3.14t, which is free-threaded

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../toolchain.sh"
target=x86_64-pc-windows-gnu
cache=${PROCIO_WINDOWS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/procio-windows}
version=${PROCIO_WINDOWS_PYTHON:-3.11} # as in the name of its interpreter
case $version in
    3.11 | 3.12 | 3.13 | 3.14 | 3.14t) ;;
    *) die "there is no CPython $version for Windows: 3.11, 3.12, 3.13, 3.14 or 3.14t" ;;
esac
abi=${version/./} # as in the names of its files
win_python=$cache/python-$version
prefixes=(prefix prefix-2)
export WINEPREFIX=$cache/${PROCIO_WINDOWS_PREFIX:-prefix} WINEARCH=win64 WINEDEBUG=${WINEDEBUG:--all} LC_ALL=C.UTF-8
export WINEDLLOVERRIDES='mscoree,mshtml=;winemenubuilder.exe='
export WINEPATH="$win_python;$win_python/tools"
unset DISPLAY WAYLAND_DISPLAY

# A path as a Windows program wants it.
windows_path() { printf 'Z:%s\n' "${1//\//\\}"; }

# Builds the wheel for Windows, and has the Windows Python install it.
install_wheel() {
    rm -rf "$cache/wheels"
    "$here/cargo" maturin build --release --out "$cache/wheels"
    local wheels=("$cache"/wheels/procio-*-cp"${abi%t}-cp$abi"-win_amd64.whl)
    [ -e "${wheels[0]}" ] || die "there is no wheel in $cache/wheels"
    "$here/run" "$win_python/python.exe" -m pip install --quiet --no-deps --no-index --force-reinstall --no-compile "$(windows_path "${wheels[0]}")"
}

# Runs the tests from the wheel that was installed.
run_tests() { # ARGUMENTS of pytest
    "$here/run" "$win_python/python.exe" -X utf8 -u -m pytest -p no:cacheprovider "$@"
}

# A server that stays, and services that hold none of our pipes: a program then starts in a tenth
# of a second, and its output ends when it does.
start_wine() {
    wineserver -k0 2>/dev/null && return
    wineserver -p </dev/null >/dev/null 2>&1
    timeout 120 wine cmd /c exit </dev/null >/dev/null 2>&1 || die "Wine does not start"
}
