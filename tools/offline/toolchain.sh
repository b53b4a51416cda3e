# Sourced by the other scripts: a Rust toolchain with std for targets that the installed Rust lacks.
#
# It is taken from Debian 12's security archive (rustc-web, rust-web-src) and unpacked in a cache,
# not installed. The source of std comes with it, from which std is made for each target.
#
#   PROCIO_RUST_CACHE   where it is kept (default ${XDG_CACHE_HOME:-$HOME/.cache}/procio-rust);
#                       delete it to start anew

say() { echo "${0##*/}: $*"; }
die() { echo "${0##*/}: error: $*" >&2; exit 1; }
need() { local p; for p; do command -v "$p" >/dev/null || die "$p is needed and not on PATH"; done; }

# An interpreter of that version for this machine: PYTHON311 and so on, or what is found.
find_python() { # VERSION
    local given=PYTHON${1/./} candidate
    for candidate in ${!given:-} "python$1" "$HOME"/.pyenv/versions/"$1"*/bin/"python$1"; do
        if "$candidate" -c 'import sys' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    return 1
}

find_python311() { find_python 3.11 || die "no CPython 3.11 is here; set PYTHON311"; }

rust_cache=${PROCIO_RUST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/procio-rust}
rust=$rust_cache/rust

# Does this rustc know the target and have std for it? One that can be linked is of rlibs.
has_std() { # RUSTC TARGET [EXTENSION]
    local lib
    lib=$("$1" --print target-libdir --target "$2" 2>/dev/null) && compgen -G "$lib/libstd-*.${3:-r*}" >/dev/null
}

# Takes a lock, and says so when another run has it.
wait_for_lock() { # DESCRIPTOR FILE [SECONDS]
    flock -n "$1" && return
    say "waiting for another run, which has locked $2"
    flock ${3:+-w "$3"} "$1"
}

# Fails where the package lists name none, or only one whose source of std lacks the crates that std depends on.
fetch_debs() { # DIRECTORY
    local version series llvm
    version=$(apt-cache policy rustc-web | awk '/Candidate:/ { print $2 }')
    [ -n "$version" ] && [ "$version" != "(none)" ] || return 1
    series=$(cut -d. -f1,2 <<<"$version")
    printf '1.96\n%s\n' "$series" | sort -CV || return 1
    llvm=$(apt-cache depends "libstd-rust-web-$series=$version" | awk '/Depends: libllvm/ { print $2; exit }')
    [ -n "$llvm" ] || return 1
    say "downloading rustc-web $version (140 MB)"
    (cd "$1" && apt-get -qq -o APT::Sandbox::User="$(id -un)" download "$llvm" "rustc-web=$version" \
        "libstd-rust-web-$series=$version" "libstd-rust-web-dev=$version" "rust-web-src=$version")
}

unpack() { # DEB, then tar's arguments
    local deb=$1; shift
    dpkg-deb --fsys-tarfile "$deb" | tar -x "$@"
}

make_toolchain() { # in $rust
    need apt-get apt-cache dpkg-deb tar cc
    local tmp=$rust.tmp deb
    rm -rf "$tmp" "$rust"
    mkdir -p "$tmp/debs" "$tmp/src"
    if ! fetch_debs "$tmp/debs"; then # no package lists, or outdated ones
        say "apt-get update"
        apt-get -qq update || say "apt-get update failed (it needs root)"
        fetch_debs "$tmp/debs" || die "cannot get Debian's rustc-web (it is in bookworm-security)"
    fi
    for deb in "$tmp"/debs/{rustc-web,libstd-rust-web,libllvm}*.deb; do
        unpack "$deb" -C "$tmp" --strip-components=2 --exclude './usr/share*' --exclude '*/rustdoc' --exclude './usr/libexec*' ./usr
    done
    unpack "$tmp"/debs/rust-web-src_*.deb -C "$tmp/src" --strip-components=4 --wildcards './usr/src/rustc-*/library'
    [ -d "$tmp/src/library/vendor" ] || die "this rust-web-src lacks the crates that std depends on (1.96 has them)"
    mv "$tmp/bin/rustc" "$tmp/bin/rustc.real"
    # The packages count on libraries in the system's own folder; find them beside the program.
    cat >"$tmp/bin/rustc" <<'END'
#!/bin/sh
top=${0%/bin/rustc}
set -- "$top/bin/rustc.real" "$@"
export LD_LIBRARY_PATH="$top/lib/$(uname -m)-linux-gnu${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
exec "$@"
END
    chmod +x "$tmp/bin/rustc"
    "$tmp/bin/rustc" -V >/dev/null || die "the unpacked rustc does not run here"
    rm -rf "$tmp/debs"
    mv "$tmp" "$rust"
}

# Makes std by `cargo check` (metadata, half a minute) or `cargo build` (rlibs, a minute).
make_std() { # TARGET check|build
    local target=$1 command=$2 extension=rmeta profile=debug library=$rust/src/library
    local work=$rust_cache/std.tmp lib=$rust/lib/rustlib/$1
    local -a release=()
    if [ "$command" = build ]; then extension=rlib profile=release release=(--release); fi
    "$rust/bin/rustc" --print cfg --target "$target" >/dev/null || die "unknown target $target"
    say "std for $target (cargo $command, up to a minute)"
    rm -rf "$work" "$lib.tmp"
    mkdir -p "$work" "$lib.tmp/lib"
    echo '#![no_std]' >"$work/lib.rs"
    cat >"$work/Cargo.toml" <<END
cargo-features = ["profile-rustflags"]
[package]
name = "only-std"
edition = "2024"
[lib]
path = "lib.rs"
[dependencies]
sysroot.path = "$library/sysroot"
[profile.dev]
debug = 0
debug-assertions = false
incremental = false
[profile.dev.package.panic_abort]
rustflags = ["-Cpanic=abort"]
[profile.release.package.panic_abort]
rustflags = ["-Cpanic=abort"]
[patch.crates-io]
rustc-std-workspace-core.path = "$library/rustc-std-workspace-core"
rustc-std-workspace-alloc.path = "$library/rustc-std-workspace-alloc"
rustc-std-workspace-std.path = "$library/rustc-std-workspace-std"
[workspace]
END
    # The unstable features are allowed for std only, not for the crate. The bitcode is for LTO.
    (cd "$work" && env -u CARGO_ENCODED_RUSTFLAGS -u RUSTC_WRAPPER -u RUSTC_WORKSPACE_WRAPPER -u CARGO_BUILD_TARGET \
        RUSTC="$rust/bin/rustc" RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$work/target" __CARGO_DEFAULT_LIB_METADATA=std \
        RUSTFLAGS='-Zforce-unstable-if-unmarked -Cembed-bitcode=yes' \
        cargo --config 'source.crates-io.replace-with="std-vendor"' --config "source.std-vendor.directory='$library/vendor'" \
        "$command" "${release[@]}" --offline --target "$target" -p sysroot) >"$work/log" 2>&1 ||
        { tail -n 40 "$work/log" >&2; die "std for $target cannot be made"; }
    mv "$work/target/$target/$profile/deps"/*."$extension" "$lib.tmp/lib/"
    rm -rf "$lib" "$work"
    mv "$lib.tmp" "$lib"
    has_std "$rust/bin/rustc" "$target" || die "std for $target was made, but rustc does not find it"
}

# Sets `rustc` to one that has std for the target, of rlibs if it is to be linked.
find_rustc() { # TARGET check|build
    local extension
    [ "$2" = build ] && extension=rlib || extension='r*'
    if has_std "${RUSTC:-rustc}" "$1" "$extension"; then
        say "using the installed Rust, which has std for $1"
        rustc=${RUSTC:-rustc}
        return
    fi
    need flock cargo
    mkdir -p "$rust_cache" || die "cannot make the cache folder $rust_cache"
    rustc=$rust/bin/rustc
    exec 9>"$rust_cache/lock"
    wait_for_lock 9 "$rust_cache/lock" # of two runs at once, one sets up
    [ -x "$rustc" ] || make_toolchain
    if ! has_std "$rustc" "$1" "$extension"; then
        make_std "$1" "$2"
        rm -rf "$rust_cache"/target*/"$1" # what was made with another std is no use
    fi
    exec 9>&-
}
