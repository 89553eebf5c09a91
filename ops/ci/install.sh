#!/usr/bin/env bash
# Installs what the tests need beyond a Rust toolchain: Prometheus with promtool, curl, and what makes and cuts networks of
# namespaces. Debian and Ubuntu; can be run again at any time. Needs root, or sudo without a password.
set -euo pipefail

packages=(prometheus curl iproute2 iptables)

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo --non-interactive "$@"; fi
}

missing=()
for package in "${packages[@]}"; do
    if ! dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed; then
        missing+=("$package")
    fi
done
if [ "${#missing[@]}" -eq 0 ]; then
    echo "installed already: ${packages[*]}"
    exit 0
fi

# The package would start a server on port 9090. A policy that forbids it, for the time of the installation only.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
    trap 'as_root rm -f "$policy"' EXIT
fi

as_root apt-get update
as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${missing[@]}"
# Nor at the next boot.
if command -v systemctl >/dev/null; then
    as_root systemctl disable prometheus || true
fi
