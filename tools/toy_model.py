"""Make the model that comes with the kit anew: python tools/toy_model.py.

It is a run of profile quick whose tail is trained, shared into fdhmfe/encoding/toy. For its card,
there are runs with other seeds and with classes held out, whose backbones are trained first: that
takes long. Runs that are finished in results/quick are taken as they are.
"""

import argparse
import shutil

from fdhmfe.config.settings import load
from fdhmfe.encoding.shared import SHIPPED
from fdhmfe.encoding.trained import open_run
from fdhmfe.runs import experiment
from fdhmfe.runs.sweep import collect

OTHERS = (
    *(dict(seed=seed) for seed in range(3)),
    *(dict(protocol="folds", fold=f) for f in (0, 1)),
)


def main() -> None:
    collect([load("quick", trainable="tail", **other) for other in OTHERS])
    run = open_run(experiment.run(load("quick", trainable="tail")))
    folder = SHIPPED["toy"]
    shutil.rmtree(folder, ignore_errors=True)
    run.save_pretrained(folder)
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{run.folder.name} is in {folder}, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    main()
