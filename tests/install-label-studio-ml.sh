#!/bin/sh
# An environment with label-studio-ml 1.0.9 for its tests, which finds all that is not there, PyTorch above all, in ours.
set -eu
python=$1 ours=$2 environment=$3
packages_of() { "$1" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; }

"$python" -m venv --clear "$environment"
there=$environment/bin/python
# What it pins itself, and otherwise than we do.
grep -v -i -E '^(jinja2|werkzeug)==' constraints.txt >"$environment/constraints.txt"
"$there" -m pip install --quiet --constraint "$environment/constraints.txt" label-studio-ml rq redis
# Last, so that ours come behind its own; with the link to our packages, which are installed as editable.
echo "import site; site.addsitedir('$(packages_of "$ours")')" >"$(packages_of "$there")/ours.pth"
