# Sourced by the commands in tools/: makes sure that there is a python3, then become_python FILE ARGS...
# hands over to tools/lib/FILE. Everything else that is needed is installed by project.py, by name.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export PYTHONPYCACHEPREFIX=$root/build/pycache

find_python() {
    if [ -x /usr/bin/python3 ]; then
        echo /usr/bin/python3
    else
        command -v python3
    fi
}

install_python() {
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null; then
            echo "nutcracker: python3 is missing; as root: apt-get install python3" >&2
            return 1
        fi
        as_root=(sudo)
    fi
    if ! command -v apt-get >/dev/null; then
        echo "nutcracker: python3 is missing and there is no apt-get here; install Python 3.11 or newer" >&2
        return 1
    fi
    echo "nutcracker: installing python3" >&2
    mkdir -p "$root/build"
    if ! { "${as_root[@]}" apt-get update -q && "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -q -y --no-install-recommends python3; } >"$root/build/install.log" 2>&1; then
        tail -n 20 "$root/build/install.log" >&2
        echo "nutcracker: python3 could not be installed; the lines above (build/install.log) say why" >&2
        return 1
    fi
}

become_python() {
    local python
    python=$(find_python) || { install_python && python=$(find_python); } || exit 1
    exec "$python" "$root/tools/lib/$1" "${@:2}"
}
