"""One run from the command line, by one process or several.

    python -m fdhmfe.runs --profile paper -p dataset cub200 -p data_dir DIR -p bits 48
    torchrun --nproc-per-node 4 -m fdhmfe.runs --profile paper -p dataset cub200 -p data_dir DIR

Several processes train one network on one batch, each on its own GPU and on its share of the
images: batch_size is that of all together, and the result is that of one process. The same
command goes on where a killed one stopped, with another number of processes if need be.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import fields

from fdhmfe.config.settings import Config, load
from fdhmfe.runs import experiment, results
from fdhmfe.support import distributed


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, encode and score the run that the command line asks for; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m fdhmfe.runs",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--profile", default="paper", help="smoke, quick, laptop or paper")
    parser.add_argument(
        *("-p", "--parameter"),
        **dict(nargs=2, action="append", default=[], metavar=("NAME", "VALUE")),
        help="any setting of fdhmfe.config.settings.Config, as papermill takes it",
    )
    options = parser.parse_args(arguments)
    try:
        given = {name: parse(name, value) for name, value in options.parameter}
        config = load(options.profile, **given)
        with distributed.process_group(), only_the_first_prints():
            folder = experiment.run(config)
            if distributed.rank() == 0:
                print(f"{folder}\nmAP {results.read_map(folder):.4f}")
    except (FloatingPointError, OSError, ValueError) as error:
        print(f"launch: {error}", file=sys.stderr)
        return 1
    return 0


def parse(name: str, value: str) -> bool | int | float | str:
    """A setting's value as its type; what is not of that type stays text, for `load` to refuse."""
    types = {field.name: type(field.default) for field in fields(Config)}
    kind = types.get(name, str)
    if kind is bool:
        return {"true": True, "false": False}.get(value.lower(), value)
    try:
        return kind(value)
    except ValueError:
        return value


@contextmanager
def only_the_first_prints() -> Iterator[None]:
    """The other processes would say the same."""
    with (
        open(os.devnull, "w") as nowhere,
        redirect_stdout(nowhere if distributed.rank() else sys.stdout),
    ):
        yield


if __name__ == "__main__":
    sys.exit(main())
