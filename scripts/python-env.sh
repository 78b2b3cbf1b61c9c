#!/bin/sh
# Usage: scripts/python-env.sh [FOLDER REQUIREMENTS]: makes the tree's own Python environment, .venv, with what the plots,
# the Python package and its tests need; or FOLDER, with the packages that the file REQUIREMENTS names.
# Where it is there already and complete, nothing is done and no network is needed; a broken one is made anew.
set -u
cd "$(dirname "$0")/.." || exit 3
folder=${1:-.venv}
packages="numpy>=1.24,<3 matplotlib>=3.7,<4 tensorboard>=2.12,<3 torch==2.13.0 cffi>=1.16,<3 scikit-build-core>=0.10,<1"
packages="$packages hypothesis>=6.100,<7 setuptools>=68 gymnasium>=1.1,<2 mujoco>=2.3.3 imageio>=2.14 ale-py>=0.12,<1"
packages="$packages tqdm>=4.60,<5 sb3-contrib>=2.7,<3 auditwheel>=6.1,<7"
[ $# -lt 2 ] || packages=$(grep -v '^#' "$2" | paste -s -d ' ' -)
# Names what was installed: another list makes another environment.
complete=$folder/complete
modules=""
for package in $packages; do modules="$modules${modules:+, }$(echo "${package%%[<>=]*}" | tr - _)"; done

refuse() {
    echo "scripts/python-env.sh: $1" >&2
    exit 3
}

if [ "$(cat "$complete" 2>/dev/null)" = "$packages" ] && "$folder/bin/python" -c 'import sys' 2>/dev/null; then exit 0; fi

command -v python3 >/dev/null 2>&1 || refuse "there is no python3: install Python 3.9 or newer."
python3 -c 'import sys; sys.exit(sys.version_info < (3, 9))' || refuse "python3 is older than 3.9."
python3 -c 'import ensurepip, venv' 2>/dev/null ||
    refuse "python3 cannot make environments: install the Debian package python3-venv."
[ ! -L "$folder" ] || refuse "$folder is a link to an environment without $complete: remove it."

install() {
    # The packages are words of their own.
    # shellcheck disable=SC2086
    python3 -m venv --clear "$folder" && "$folder/bin/python" -m pip --disable-pip-version-check install -q $packages
}

echo "making $folder: $packages" >&2
install || {
    echo "the installation failed; once more" >&2
    sleep 5
    install || refuse "pip could not install $packages from PyPI."
}
"$folder/bin/python" -c "import $modules" || refuse "what pip installed cannot be imported."
printf '%s\n' "$packages" >"$complete"
