"""The command line: fdhmfe COMMAND, or python -m fdhmfe COMMAND.

The code of a command is imported only when that command is chosen. Its options are the settings of
a run, with their meanings and defaults from Config. If a setting is not given, the variant, the
method's tuning or the profile decides.
"""

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from io import TextIOWrapper
from itertools import product
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import FlagCreatePairsOff, Positional, arg

from fdhmfe.config import profiles
from fdhmfe.config.options import all_but, options, typed
from fdhmfe.config.settings import load
from fdhmfe.lessons import notebooks
from fdhmfe.support.places import suggest

Names = Annotated[tuple[str, ...], arg(metavar="NAME ...", help_behavior_hint="")]
Numbers = Annotated[tuple[int, ...], arg(metavar="INT ...", help_behavior_hint="")]
TUNED_SETTINGS = (
    *("hash_head", "pooling"),
    *("backbone_learning_rate", "loss_weight", "learning_rate"),
)
MOVED = ("data_dir", "weights")  # where a finished run's files are now


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the command line names; returns the exit code.

    0: done. 1: something failed on the way. 2: it cannot be done as asked. 130: interrupted.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a locale may lack the ✓ that is printed
    words = list(sys.argv[1:] if arguments is None else arguments)
    name = words.pop(0) if words else ""
    if name in ("", "-h", "--help"):
        print("usage: fdhmfe COMMAND ...\n")
        for each, run in COMMANDS.items():
            print(f"  {each:<10} {str(run.__doc__).splitlines()[0]}")
        print("\nfdhmfe COMMAND --help: more")
        return 0 if name else 2
    if name not in COMMANDS:
        print(f"fdhmfe: there is no command {name!r}{suggest(name, COMMANDS)}", file=sys.stderr)
        return 2
    try:
        if any(":" in word for word in words):  # module:NAME, which only `python -m` finds here
            sys.path.append(str(Path.cwd()))
        chosen, program = COMMANDS[name], f"fdhmfe {name}"
        return tyro.cli(chosen, args=words, prog=program, config=(FlagCreatePairsOff,)) or 0
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"fdhmfe {name}: {error}", file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1
    except KeyboardInterrupt:
        print("interrupted; what is finished is kept: give the command again", file=sys.stderr)
        return 130


def reproduce(
    *,
    given: Annotated[dict[str, str], options(notebooks.settings_taken)],
    only: Names = (),
    solutions: bool = False,
    again: bool = False,
) -> int:
    """Run the notebooks, headless; those that are done are skipped.

    Two run at a time; one if backbones are fine-tuned. Executed copies, tables and figures go to
    results/<profile>. A notebook that fails is kept with its error, and the others still run.

    Args:
        only: run only these, by number or name, such as 08 tables, even if they are done
        solutions: afterwards also run the solutions of their exercises
        again: also run those that are done
    """
    from fdhmfe.lessons.reproduce import reproduce

    return reproduce(typed(given), only, solutions=solutions, again=again)


def lab(*, copy_only: bool = False) -> None:
    """Copy the notebooks into ./notebooks and open JupyterLab there.

    Your own changes are kept: a copy is replaced by a newer one of the kit only if you have not
    changed it. In a checkout of the repository its own notebooks are opened.

    Args:
        copy_only: copy, and open nothing
    """
    from fdhmfe.lessons import lab

    folder = Path.cwd() / "notebooks"
    if not (folder.exists() and folder.samefile(notebooks.NOTEBOOKS)):
        print(lab.copy_notebooks(folder).told(folder))
    if not copy_only:
        lab.open_lab(folder)


def train(*, given: Annotated[dict[str, str], all_but()]) -> None:
    """Make one run: train, encode, score.

    Under torchrun, several processes train one network. Each has its own GPU and its share of every
    batch. batch_size counts the images of all of them, so the result is that of one process. If a
    run is killed, the same command continues it, even with another number of processes.
    """
    from fdhmfe.runs import experiment, results
    from fdhmfe.support import distributed

    config = load(**typed(given))
    with distributed.process_group(), distributed.only_the_first_prints():
        folder = experiment.run(config)
        if distributed.rank() == 0:
            print(f"{folder}\nmAP {results.read_map(folder):.4f}")


def sweep(
    *,
    methods: Names = (),
    bits: tuple[int, ...] = profiles.BITS,
    seeds: Numbers = (),
    plan: Names = (),
    jobs: int = 0,
    given: Annotated[dict[str, str], all_but("method", "bits", "seed")],
) -> None:
    """Make many runs, every method with every code length and seed; print a table of mAP.

    Their rows go to results/<profile>/tables. A run that has rows there, or is finished, is not
    made again, so a sweep can go on with another machine's tables. If a run fails, the others are
    still made. If the variable DASK_SCHEDULER_ADDRESS names a Dask scheduler, its workers do that.

    Args:
        methods: names; if none, those of the profile's tables
        bits: code lengths
        seeds: if none, those of the profile's tables
        plan: in place of these three, the runs that the notebooks' tables need: main, folds, half,
            ablation, grid
        jobs: processes at a time; 0: one per core, or one in all if backbones are fine-tuned
    """
    from fdhmfe.runs import ledger, tables
    from fdhmfe.runs import plan as plans
    from fdhmfe.runs.sweep import collect

    rest = load(**typed(given))
    methods = methods or profiles.TABLE_METHODS[rest.profile]
    seeds = seeds or profiles.table_seeds(rest.profile, rest.dataset)
    chosen = [dict(method=m, bits=k, seed=s) for m, k, s in product(methods, bits, seeds)]
    if plan:
        chosen = plans.planned(plan, rest.profile, rest.dataset)
    names = collect([load(**{**typed(given), **run}) for run in chosen], jobs=jobs or None)
    rows = ledger.rows_of(rest.output_dir, ledger.METRICS, names)
    print(f"mAP@all in %, {rest.dataset}, {len(names)} runs")
    for protocol, part in rows.groupby("protocol", sort=False):
        print(f"\n{protocol}\n{tables.pivot_cells(tables.map_cells(part)).to_string()}")


def tune(
    *,
    methods: Names = (),
    jobs: int = 0,
    given: Annotated[dict[str, str], all_but("method", "bits", "protocol", *TUNED_SETTINGS)],
) -> None:
    """Search each method's head, learning rates and a loss weight, on a validation split.

    Every method gets the same number of trials, by one rule; the search goes on past an edge. The
    best has the highest mAP@all at 24 bits, on queries taken from the train split. All trials go to
    results/<profile>/tables/tuning.csv, the best into the kit: later runs of the profile use them.

    Args:
        methods: names; if none, all that learn
        jobs: processes at a time; 0: one per core, or one in all if backbones are fine-tuned
    """
    from fdhmfe.runs.tune import tune

    print(tune(typed(given), methods, jobs or None).to_string(index=False))


def data(
    name: Annotated[Positional[str], arg(metavar="NAME")],
    *,
    root: Annotated[str, arg(metavar="PATH")],
    no_download: bool = False,
    verify: bool = False,
) -> None:
    """Fetch, check and describe an official data set.

    If its owner does not allow programs to fetch it, the command says what to fetch and where to
    put it. It compares checksums, unpacks safely, and compares lists, files and sizes with what is
    published. A broken download goes on where it stopped. A data set that is there is only checked.

    Args:
        name: an official data set, as in --dataset of `fdhmfe train`
        root: folder to keep it in
        no_download: use only the archives and folders that are there
        verify: also read every image, and compare the archives' checksums again
    """
    from fdhmfe.data.door import report
    from fdhmfe.data.fetch.sources import SOURCES

    if name not in SOURCES:
        raise ValueError(f"{name!r} is no official data set{suggest(name, SOURCES)}")
    print(report(name, root, download=not no_download, decode=verify))


def check(folder: Annotated[Positional[Path], arg(metavar="FOLDER")]) -> int:
    """Check a folder of your own images before you train on it.

    Every file is read. All problems are listed with what to do: what stops the training, and what
    it would leave out. Exit code 2 if it cannot be trained on. Nothing is changed.

    Args:
        folder: what --data-dir would name, with --dataset folder
    """
    from fdhmfe.data.readers.folder import survey
    from fdhmfe.support.places import resolve

    found = survey(resolve(str(folder)))
    print(found.told(all_names=True))
    return 2 if found.fatal else 0


def encode(
    run: Annotated[Positional[Path], arg(metavar="RUN_FOLDER")],
    images: Annotated[Positional[Path], arg(metavar="IMAGES")],
    out: Annotated[Positional[Path], arg(metavar="OUT")],
    *,
    processes: int = 1,
    shard_size: int = 2048,
    export: Annotated[tuple[str, ...], arg(metavar="KIND ...", help_behavior_hint="")] = (),
    places: Annotated[dict[str, str], options(lambda: MOVED)],
) -> None:
    """Turn any number of images into hash codes.

    If the command is killed, the same command goes on with the first shard that is missing. If
    images are new, gone or others since, it encodes those; what has an id keeps it. Several
    processes share the shards, on one machine or on many that share OUT. unreadable.csv lists files
    that cannot be read. If the run's images or weights have moved, give --data-dir or --weights.

    Args:
        run: a finished run, results/<profile>/runs/<run_id>
        images: a folder, searched with its subfolders; a list of paths (text, CSV); or one image
        out: folder for the codes; give the same one to go on
        processes: how many of them this command starts
        shard_size: images per shard
        export: also write all codes to one file with the images' names, OUT/codes.KIND: csv,
            parquet (id, name, hexadecimal code) or npz (ids, names, codes of -1 and +1)
    """
    from fdhmfe.encoding.encode import encode

    sizes = dict(processes=processes, shard_size=shard_size)
    encode(run, images, out, **sizes, exports=export, places=places)


def search(
    photo: Annotated[Positional[Path], arg(metavar="PHOTO")],
    *,
    album: Annotated[Path, arg(name="in", metavar="FOLDER")],
    run: str = "",
    k: int = 10,
    out: Path = Path("neighbours"),
    given: Annotated[dict[str, str], options(lambda: (*MOVED, "backbone", "bits"))],
) -> None:
    """Find the pictures of a folder that are nearest to a photograph.

    It prints their names and distances, and writes a contact sheet, JSON and CSV. The folder needs
    no labels. Its codes are kept in data/cache/albums, so that the next question is answered at
    once. Without a run, the features of a pretrained backbone are hashed (ITQ, fitted to the
    folder): MobileNetV2 with ImageNet's weights, from the file --weights or downloaded.

    Args:
        album: the folder, searched with its subfolders
        run: a finished run, results/<profile>/runs/<run_id>; if none, nothing is trained
        k: how many pictures to find
        out: folder for neighbours.png, neighbours.json and neighbours.csv
    """
    from fdhmfe.encoding import neighbours

    model = neighbours.open_model(run, album, **typed(given))
    print(neighbours.find(photo, album, out, model, k))


def explore(
    shown: Annotated[Positional[str], arg(metavar="RUN_FOLDER")] = "",
    *,
    out: Path,
    album: Annotated[str, arg(name="in", metavar="FOLDER")] = "",
    run: str = "",
    given: Annotated[dict[str, str], options(lambda: (*MOVED, "backbone", "bits"))],
) -> None:
    """Write an HTML page to click through: a run image by image, or a folder of your pictures.

    A run's page shows neighbours, classes and kept regions. With --in, the page shows any pictures
    with their neighbours; they need no labels, and are encoded as `fdhmfe search` does. The page
    holds thumbnails of the images: check their licence before you share it.

    Args:
        shown: a finished run, results/<profile>/runs/<run_id>, in place of --in
        out: the HTML file to write
        album: a folder of pictures, searched with its subfolders
        run: a finished run that encodes them; if none, nothing is trained
    """
    from fdhmfe.explorer.page import explore

    explore(shown, album, out, network=run, given=typed(given))


def share(
    run: Annotated[Positional[Path], arg(metavar="RUN_FOLDER")],
    out: Annotated[Positional[Path], arg(metavar="OUT")],
    *,
    places: Annotated[dict[str, str], options(lambda: MOVED)],
) -> None:
    """Write a finished run as a model for others, in the Hub's format, with a model card.

    OUT opens without the data set, other weights or the internet. If the run's images or weights
    have moved, give --data-dir or --weights.

    Args:
        run: a finished run, results/<profile>/runs/<run_id>
        out: a new folder
    """
    from fdhmfe.encoding.trained import open_run

    open_run(run, **places).save_pretrained(out)
    print(f"{out}: read its README.md; fdhmfe.from_pretrained({str(out)!r}) opens it")
    print(f"To the Hub, with an account there: hf upload OWNER/NAME {shlex.quote(str(out))}")


COMMANDS: Mapping[str, Callable[..., int | None]] = {
    run.__name__: run
    for run in (reproduce, lab, train, sweep, tune, data, check, encode, search, explore, share)
}

if __name__ == "__main__":
    sys.exit(main())
