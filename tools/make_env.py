"""Make .venv, or add to it what is missing: python tools/make_env.py [--torch cpu] [extra ...]

The extras are those of pyproject.toml, and its groups. requirements.lock says which versions, and
what their files hash to. Before anything large is fetched it says how much that will be. An
interrupted .venv is made anew.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import urllib.request
import venv
from pathlib import Path

from check_env import OLDEST_PYTHON, declared

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = VENV / ".complete"  # what .venv was made for; written last
PLAN = VENV / "pylock.toml"
SOURCES = ("pyproject.toml", "requirements.lock")
UV = "0.13.9"  # which also wrote requirements.lock
BACKENDS = ("torch", "torchvision")  # what PyTorch's own indexes have in another build


def made():
    """What .venv was made for; {} if it is not whole, older than SOURCES, or lost its Python."""
    try:
        if any((ROOT / name).stat().st_mtime > STAMP.stat().st_mtime for name in SOURCES):
            return {}
        done = json.loads(STAMP.read_text(encoding="utf-8"))
        return done if run_check(done["extras"]).returncode == 0 else {}
    except (OSError, ValueError):
        return {}


def run_check(extras):
    check = [PYTHON, ROOT / "tools" / "check_env.py", *extras]
    return subprocess.run(check, capture_output=True, encoding="utf-8", errors="replace")


def ask(*command, **variables):
    """Run a command of .venv's Python quietly; a failure ends the program with one line."""
    done = subprocess.run(
        [PYTHON, "-m", *command],
        **dict(cwd=ROOT, env={**os.environ, **variables}, capture_output=True),
        **dict(encoding="utf-8", errors="replace"),
    )
    if done.returncode:
        sys.exit(reason(done.stderr))
    return done.stdout


def reason(said):
    """One line for what pip or uv says when it fails: above all, whether the network is there."""
    host = re.search(r"(?:Failed to fetch|after connection broken).*?//([^/`]+)", said)
    if host or "(from versions: none)" in said:
        where = f" ({host[1]})" if host else ""
        return (
            f"The package index{where} can't be reached. Check the network, or name a proxy in "
            "HTTPS_PROXY; then give the same command again."
        )
    lines = [line for line in said.splitlines() if line.strip()]
    return "The environment can't be made: " + "; ".join(line.strip() for line in lines[-3:])


def can_run_uv():
    try:
        return (
            subprocess.run([PYTHON, "-m", "uv", "--version"], capture_output=True).returncode == 0
        )
    except OSError:
        return False


def begin():
    """An empty .venv with nothing but uv, which alone comes by pip."""
    venv.create(VENV, clear=True, with_pip=True)
    ask("pip", "install", "--quiet", "--retries", "1", f"uv=={UV}")


def requested(extras):
    """Which of `extras` are extras of the package; the others, groups, as uv's options."""
    _, optional, groups = declared()
    unknown = [name for name in extras if name not in {**optional, **groups}]
    if unknown:
        sys.exit(f"pyproject.toml has no extra and no group {unknown[0]}")
    named = [word for name in groups if name in extras for word in ("--group", name)]
    return [name for name in optional if name in extras], named


def plan(extras, torch):
    """The packages to install here, with their files: `packages` of a pylock.toml (PEP 751)."""
    optional, groups = requested(extras)
    given = [word for name in optional for word in ("--extra", name)] + groups
    given += ["--torch-backend", torch] if torch else []
    ask(
        *("uv", "pip", "compile", "--quiet", "--python", str(PYTHON), "--format", "pylock.toml"),
        *("--constraints", "requirements.lock", *given, "-o", str(PLAN), "pyproject.toml"),
        UV_HTTP_RETRIES=os.environ.get("UV_HTTP_RETRIES", "1"),
    )
    import tomllib  # from 3.11 on; an older Python is told so before it comes here

    return tomllib.loads(PLAN.read_text(encoding="utf-8"))["packages"]


def size(package):
    """Bytes of the file that uv would fetch; where the index gives no size, the file is asked."""
    file = (package.get("wheels") or [package["sdist"]])[0]  # uv names the one it prefers first
    if "size" in file:
        return file["size"]
    try:
        asked = urllib.request.Request(file["url"], method="HEAD")
        # Not urlopen: it keeps the proxies of its first call.
        with urllib.request.build_opener().open(asked, timeout=30) as answer:
            return int(answer.headers["Content-Length"])
    except OSError as error:
        sys.exit(f"{file['url']} can't be reached ({error}): give the same command again later.")


def told(packages):
    """What will be fetched, in a sentence, the largest packages by name."""
    sizes = {package["name"]: size(package) for package in packages}
    largest = sorted(sizes, key=sizes.get, reverse=True)[:3]
    named = ", ".join(f"{name} {sizes[name] / 1e6:.0f} MB" for name in largest)
    return (
        f"{len(sizes)} packages, {sum(sizes.values()) / 1e6:,.0f} MB to download (the largest: "
        f"{named}), less what uv has fetched before."
    )


def install(extras, torch):
    """Install the package, editable, with what it needs, at the versions of requirements.lock."""
    uv = [PYTHON, "-m", "uv", "pip", "install", "--python", PYTHON, "--compile-bytecode"]
    uv += ["--constraints", "requirements.lock"]
    optional, groups = requested(extras)
    package = ["--editable", f".[{','.join(optional)}]" if optional else "."]
    # PyTorch's own indexes have other files, of which the lock knows no hashes. All the rest is
    # compared with the lock.
    backend = [*uv, "--torch-backend", torch, "--no-deps", "--no-verify-hashes", *BACKENDS]
    for command in [backend] * bool(torch) + [[*uv, *groups, *package]]:
        if subprocess.run(command, cwd=ROOT).returncode:
            sys.exit("The environment is not complete: give the same command again.")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("extras", nargs="*", metavar="extra")
    parser.add_argument(
        "--torch", default="", help="a backend of uv: cpu, cu126; else that of PyPI"
    )
    given = parser.parse_args()
    there = made()
    torch = given.torch or there.get("torch", "")
    there = there if there.get("torch") == torch else {}
    extras = sorted({*given.extras, *there.get("extras", ())})
    if there.get("extras") == extras:
        return
    if sys.version_info < OLDEST_PYTHON:
        sys.exit(
            "fdhmfe needs Python 3.11 or newer; {} is {}.{}. Name a newer one: make env "
            "PYTHON=python3.12".format(sys.executable, *sys.version_info)
        )
    print(f"Adding {', '.join(given.extras)} to {VENV}" if there else f"Making {VENV}", flush=True)
    usable = can_run_uv()
    if not usable:
        begin()
    print(told(plan(extras, torch)), flush=True)  # ends here if the index can't be reached
    if there:
        STAMP.unlink()
    elif usable:
        begin()
    install(extras, torch)
    done = run_check(extras)
    if done.returncode:
        sys.exit(done.stderr.strip())
    STAMP.write_text(json.dumps({"extras": extras, "torch": torch}), encoding="utf-8")


if __name__ == "__main__":
    main()
