"""The notebooks as a person's own copies, opened in JupyterLab."""

import os
from pathlib import Path
from typing import NamedTuple

from fdhmfe.lessons.notebooks import GLOSSARY, NOTEBOOKS, chosen, ordered_notebooks
from fdhmfe.support.files import atomic, file_hash, read_json, write_json
from fdhmfe.support.places import home

COPIED = ".fdhmfe.json"  # in the folder of copies: what was copied, by SHA-256


class Copies(NamedTuple):
    """What `copy_notebooks` did: names of files, relative to the folder."""

    new: list[str]
    renewed: list[str]  # the kit's have changed, these had not been
    kept: list[str]  # changed by the person, or not made by the kit

    def told(self, folder: Path) -> str:
        """What was done, on a line each."""
        words = {
            "copied": self.new,
            "replaced by the kit's newer ones, for you had not changed them": self.renewed,
            "kept as you have changed them": self.kept,
        }
        said = [
            f"{len(names)} {what}: {', '.join(names)}" for what, names in words.items() if names
        ]
        return "\n".join([f"notebooks in {folder}", *(said or ["all are there, and up to date"])])


def copy_notebooks(folder: Path) -> Copies:
    """Copy notebooks, solutions and glossary into a folder, but over nothing that is the person's.

    A file is replaced only if it still is what was copied before. Raises ValueError if the kit has
    no notebooks, StorageError if the folder cannot be written.
    """
    notebooks = chosen(ordered_notebooks(NOTEBOOKS), ())
    before = read_json(folder / COPIED) if (folder / COPIED).exists() else {}
    copied, done = {}, Copies([], [], [])
    for source in (*notebooks, *ordered_notebooks(NOTEBOOKS / "solutions"), GLOSSARY):
        name, wanted = source.relative_to(NOTEBOOKS).as_posix(), file_hash(source)
        target = folder / name
        found = file_hash(target) if target.exists() else None
        if found not in (None, wanted, before.get(name)):
            done.kept.append(name)
            continue
        copied[name] = wanted
        if found != wanted:
            (done.renewed if found else done.new).append(name)
            with atomic(target) as partial:
                partial.write_bytes(source.read_bytes())
    write_json(folder / COPIED, before | copied)
    return done


def open_lab(folder: Path) -> None:
    """Run JupyterLab at a folder until it is stopped; runs go to the working folder's results."""
    from jupyterlab.labapp import LabApp

    os.environ["FDHMFE_HOME"] = str(home())  # kernels start in the folder of their notebook
    LabApp.launch_instance(argv=[str(folder)])
