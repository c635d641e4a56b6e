# What the scripts share; sourced, not run. The caller has set `set -euo pipefail`.

# A plain user's PATH may lack the folders of ip and ethtool, and a non-login shell's that of cargo.
export PATH="$PATH:/usr/sbin:/sbin:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin"

# The project's root, wherever the script was called from.
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

# Says what happens next.
say() { printf '%s\n' "$*"; }

# Ends the script with the reason.
fail() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# True if commands can be run as root: as root already, or through sudo without asking (a terminal may be asked).
can_be_root() {
    [ "$(id -u)" -eq 0 ] && return 0
    command -v sudo >/dev/null || return 1
    sudo -n true 2>/dev/null || [ -t 0 ]
}

# Runs a command as root.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}
