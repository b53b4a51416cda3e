# Sourced by arm64/run and kernels/run, which set `arch`: a Debian userland that is started under a kernel of its
# own in qemu.
#
#   PROCIO_GUEST_CACHE   where everything is kept (default ${XDG_CACHE_HOME:-$HOME/.cache}/procio-guest);
#                        delete it to start anew
#   PROCIO_GUEST_CPUS    processors of the guest (2)
#   PROCIO_GUEST_STAGES  an extended regular expression: only the stages whose names it matches
#
# The userland is a folder, which the kernel gets whole as its initramfs. Its packages are unpacked and not
# configured, so that no program for another processor has to run here.

guest=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(cd "$guest/../../.." && pwd)
. "$guest/../toolchain.sh"
cache=${PROCIO_GUEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/procio-guest}/$arch
root=$cache/root
debian=http://deb.debian.org/debian
programs=python3,procps,psmisc,gcc,libc6-dev,util-linux,strace,iproute2
site=usr/local/lib/python3.11/dist-packages
cpus=${PROCIO_GUEST_CPUS:-2}
export CARGO_PROFILE_DEV_STRIP=debuginfo # the guest keeps its files in memory
mkdir -p "$cache" || die "cannot make the cache folder $cache"

lock_cache() {
    exec 8>"$cache/lock"
    flock -n 8 && return
    say "another run uses $cache: waiting until it has ended"
    flock -w 3600 8 || die "another run still uses $cache"
}

install_packages() { # PACKAGE...
    dpkg -s "$@" >/dev/null 2>&1 && return
    [ "$(id -u)" = 0 ] || die "these packages have to be installed: $*"
    say "installing packages: $*"
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update
    apt-get -qq -y --no-install-recommends install "$@" >"$cache/apt.log" 2>&1 ||
        { tail -n 20 "$cache/apt.log" >&2; die "the packages cannot be installed"; }
}

# A Python 3.11, as the userland's, with maturin: it builds the wheel and compiles the userland's modules.
make_venv() {
    [ -x "$cache/venv/bin/maturin" ] && return
    "$(find_python311)" -m venv "$cache/venv"
    "$cache/venv/bin/python" -m pip install -q --disable-pip-version-check 'maturin>=1.9.4,<2' || die "maturin cannot be installed"
}

# Debian's userland for the processor, with Python and what the tests need, in $root.
make_userland() { # PLATFORM of its wheels
    local tmp=$root.tmp deb requirements
    [ -e "$root/.ready" ] && return
    say "Debian's userland for $arch"
    rm -rf "$tmp" "$root"
    debootstrap --foreign --variant=minbase --arch="$arch" --include="$programs" bookworm "$tmp" "$debian" \
        >"$cache/debootstrap.log" 2>&1 || { tail -n 20 "$cache/debootstrap.log" >&2; die "debootstrap has failed"; }
    for deb in "$tmp"/var/cache/apt/archives/*.deb; do dpkg-deb -x "$deb" "$tmp"; done
    rm -rf "$tmp"/var/cache/apt/archives/*.deb "$tmp"/usr/share/{doc,man,locale,info} "$tmp/usr/lib/python3/dist-packages"
    printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n' >"$tmp/etc/passwd"
    printf 'root:x:0:\ndaemon:x:1:\nnogroup:x:65534:\n' >"$tmp/etc/group"
    mapfile -t requirements < <("$cache/venv/bin/python" -c 'import sys, tomllib
print(*tomllib.load(open(sys.argv[1], "rb"))["project"]["optional-dependencies"]["test"], sep="\n")' "$project/pyproject.toml")
    "$cache/venv/bin/python" -m pip install -q --disable-pip-version-check --no-compile --target "$tmp/$site" \
        --platform "$1" --python-version 3.11 --only-binary=:all: "${requirements[@]}" || die "pytest cannot be installed"
    # Nothing writes there later, and under emulation compiling the library takes longer than most tests.
    "$cache/venv/bin/python" -m compileall -q -j 0 --invalidation-mode unchecked-hash -x '/(test|tests|lib2to3)/' \
        "$tmp/usr/lib/python3.11" "$tmp/$site" >/dev/null || true
    ln -sf gcc "$tmp/usr/bin/cc" # which configuring the package would have made
    touch "$tmp/.ready"
    mv "$tmp" "$root"
}

# The checkout, with the changes in it, where the guest looks for it. Sets `commit`.
copy_checkout() {
    local changed
    rm -rf "$root/srv"
    mkdir -p "$root"/srv/{rust,procio}
    changed=$(git -C "$project" stash create)
    commit=$(git -C "$project" rev-parse --short HEAD)${changed:+ with changes}
    git -C "$project" archive "${changed:-HEAD}" | tar -x -C "$root/srv/procio"
    cp "$guest"/{init,stages.py} "$root/srv/"
}

# The programs of the Rust tests.
build_rust_tests() { # OPTIONS of cargo
    local name program
    (cd "$project" && cargo test --quiet --locked --lib --tests --features tokio --no-run \
        --message-format=json "$@") >"$cache/tests.json" || die "the Rust tests cannot be built"
    "$cache/venv/bin/python" -c 'import json, sys
for message in map(json.loads, sys.stdin):
    if message.get("executable") and message["profile"]["test"]:
        print(message["target"]["name"], message["executable"])' <"$cache/tests.json" |
        while read -r name program; do cp "$program" "$root/srv/rust/$name"; done
    [ -e "$root/srv/rust/core" ] || die "cargo has built no Rust tests"
}

# The extension, as a wheel, installed into the userland.
install_wheel() { # OPTIONS of maturin
    local wheel
    rm -rf "$cache/wheels" "$root/$site"/procio{,-*}
    (cd "$project" && "$cache/venv/bin/maturin" build --quiet --release --locked --compatibility linux --out "$cache/wheels" "$@") ||
        die "the wheel cannot be built"
    for wheel in "$cache"/wheels/*.whl; do "$cache/venv/bin/python" -m zipfile -e "$wheel" "$root/$site"; done
    [ -e "$root/$site/procio/__init__.py" ] || die "there is no wheel in $cache/wheels"
}

# A stage for each program of the Rust tests, or for those that are named, with a switch or without.
rust_stages() { # SECONDS [SWITCH=VALUE [PROGRAM...]]
    local program seconds=$1 switch=${2:-}
    shift $(($# < 2 ? $# : 2))
    [ $# -gt 0 ] || set -- $(ls "$root/srv/rust")
    for program; do
        [ -x "$root/srv/rust/$program" ] || die "there are no Rust tests called $program"
        echo "$seconds rust-$program${switch:+-$switch} $switch /srv/rust/$program --test-threads=2"
    done
}

# A stage for each file of Python tests.
python_stages() { # SECONDS PYTEST FOLDER...
    local file
    for file in $(cd "$root/srv/procio" && find "${@:3}" -name 'test_*.py' ! -name test_stress.py | sort); do echo "$1 $file $2 $file"; done
}

# Starts the kernel with the userland; what the guest prints is shown and kept. Fails unless the guest
# says at its end that no stage has failed.
boot() { # LOG KERNEL SECONDS CONSOLE QEMU-COMMAND...
    local log=$1 kernel=$2 seconds=$3 console=$4 initrd=$cache/initrd.cpio
    shift 4
    grep -E "^[0-9]+ (${PROCIO_GUEST_STAGES:-})" "$root/srv/stages" >"$cache/stages" || die "no stage has a name like $PROCIO_GUEST_STAGES"
    cp "$cache/stages" "$root/srv/stages"
    (cd "$root" && find . -print0 | cpio --null -o -H newc --quiet) >"$initrd"
    timeout "$seconds" "$@" -smp "$cpus" -m 4096 -kernel "$kernel" -initrd "$initrd" -no-reboot \
        -append "console=$console rdinit=/srv/init quiet panic=-1" \
        -nic none -display none -monitor none -serial stdio </dev/null | sed -u 's|\r$||' | tee "$log" || say "qemu has ended with status $?"
    rm -f "$initrd"
    grep -q '^guest: all stages have passed' "$log"
}
