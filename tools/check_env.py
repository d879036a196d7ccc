"""Can this Python run the kit? Exit 0 if so; else 1, and say on stderr what is missing or too old.

    python tools/check_env.py [extra ...]

Standard library only, so that it runs in a bare environment. The requirements come from
pyproject.toml, its extras and its groups, each written `name>=bound`. Python and package versions
are not enough: a torchvision built for another torch installs but does not import, so it is
imported too.
"""

import re
import sys
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
OLDEST_PYTHON = (3, 11)


def declared(pyproject=PYPROJECT):
    """What a pyproject.toml requires: always, by extra of the package, by group."""
    import tomllib  # from 3.11 on; an older Python is told so before it comes here

    content = tomllib.loads(pyproject.read_text(encoding="utf-8"))
    project = content["project"]
    optional = project.get("optional-dependencies", {})
    return project["dependencies"], optional, content.get("dependency-groups", {})


def requirements(extras=(), pyproject=PYPROJECT):
    """Name -> lower bound of each direct dependency, those of `extras` (or groups) included."""
    lines, optional, groups = declared(pyproject)
    for extra in extras:
        lines = lines + {**optional, **groups}[extra]
    bounds = {}
    for line in lines:
        match = re.fullmatch(r"([A-Za-z0-9._-]+)>=(\d+(?:\.\d+)*)", line)
        if match is None:
            raise ValueError(f"pyproject.toml: {line!r} is not of the form name>=bound")
        bounds[match[1]] = match[2]
    return bounds


def at_least(version, bound):
    """Whether `version` is `bound` or later; a pre-release comes before its release.

    >>> at_least("2.15.0+cu130", "2.11"), at_least("2.9.1", "2.11"), at_least("2.11", "2.11.0")
    (True, False, True)
    >>> at_least("2.11.0rc1", "2.11"), at_least("2.11.0.post1", "2.11")
    (False, True)
    """

    def key(text):
        match = re.match(r"v?(\d+(?:\.\d+)*)[._-]?(a|b|c|rc|pre|dev)?", text.strip().lower())
        if match is None:
            return ([], False)
        numbers = [int(part) for part in match[1].split(".")]
        while numbers and numbers[-1] == 0:
            numbers.pop()
        return (numbers, match[2] is None)

    return key(version) >= key(bound)


def problems(extras=(), pyproject=PYPROJECT):
    """What keeps this Python from running the kit, one phrase each."""
    if sys.version_info < OLDEST_PYTHON:
        return ["Python {}.{}.{}, 3.11 is needed".format(*sys.version_info[:3])]
    from importlib import metadata  # from 3.8 on

    missing, found = [], []
    for name, bound in requirements(extras, pyproject).items():
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            version = None
        if not version:
            missing.append(name)
        elif not at_least(version, bound):
            found.append(f"{name} {version}, {bound} is needed")
    if missing:
        found.insert(0, f"missing {', '.join(missing)}")
    if not found:
        try:
            import torchvision  # noqa: F401
        except Exception as error:  # whatever it raises, it is of no use
            found.append(f"torchvision does not import ({type(error).__name__}: {error})")
    return found


if __name__ == "__main__":
    found = problems(sys.argv[1:])
    if found:
        sys.exit(f"{sys.executable} can't run the kit: {'; '.join(found)}")
