"""Time what people wait for before they see something: imports, and a notebook's first picture.

    python benchmarks/start.py --out results/benchmarks/start.csv

Each import is made in a process of its own, on one thread; the modules take turns, and times are
medians over the rounds, after one that is not counted. `times_torch` is the row's CPU time over
that of `import torch`. A first picture is timed from the start of the kernel until the notebook
shows one: in a working folder that is new, where the data set must be drawn first, and again.
"""

import json
import os
import subprocess
import sys
import time
from statistics import median
from tempfile import TemporaryDirectory

from jupyter_client.manager import start_new_kernel
from rows import ROOT, load_average, parser, write_rows

MODULES = (
    *("torch", "torchvision", "torch_geometric", "timm", "pandas", "seaborn", "sklearn"),
    *("fdhmfe", "fdhmfe.__main__", "fdhmfe.metrics", "fdhmfe.data.door", "fdhmfe.lessons.lesson"),
    *("fdhmfe.network", "fdhmfe.runs.results", "fdhmfe.runs.experiment", "fdhmfe.search"),
)
CLOCK = """
import time
wall, cpu = time.perf_counter(), time.process_time()
import {module}
print(time.perf_counter() - wall, time.process_time() - cpu)
"""
PATIENCE = 600  # seconds that a kernel may be silent


def imported(module):
    """(wall, CPU) seconds that an import takes in a new process."""
    command = [sys.executable, "-W", "ignore", "-c", CLOCK.format(module=module)]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    return [float(word) for word in done.stdout.split()[-2:]]


def first_picture(notebook):
    """Seconds from the start of a kernel to the first picture of a notebook."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    started = time.perf_counter()
    manager, client = start_new_kernel()
    try:
        for cell in cells:
            if cell["cell_type"] == "code" and shows_picture(client, "".join(cell["source"])):
                return time.perf_counter() - started
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    raise RuntimeError(f"{notebook.name} shows no picture")


def shows_picture(client, code):
    """Run a cell until it shows a picture; whether it does. RuntimeError if it fails."""
    asked = client.execute(code)
    while True:
        message = client.get_iopub_msg(timeout=PATIENCE)
        if message["parent_header"].get("msg_id") != asked:
            continue
        kind, content = message["msg_type"], message["content"]
        if kind == "error":
            raise RuntimeError("\n".join(content["traceback"]))
        if "image/png" in content.get("data", {}):
            return True
        if kind == "status" and content["execution_state"] == "idle":
            return False


def import_rows(rounds):
    """A row for each module."""
    for module in MODULES:
        imported(module)  # now all files are in memory
    taken = {module: [] for module in MODULES}
    for _ in range(rounds):
        for module in MODULES:
            taken[module].append(imported(module))
    table = []
    for module, times in taken.items():
        wall, cpu = (round(median(column), 3) for column in zip(*times, strict=True))
        table.append({"what": f"import {module}", "seconds": wall, "cpu_seconds": cpu})
    (unit,) = (row["cpu_seconds"] for row in table if row["what"] == "import torch")
    return [{**row, "times_torch": round(row["cpu_seconds"] / unit, 2)} for row in table]


def picture_rows(rounds):
    """A row for the first time, and one for the second."""
    notebook, taken = ROOT / "notebooks" / "00_start_here.ipynb", []
    for number in range(rounds):
        with TemporaryDirectory() as folder:
            os.environ["FDHMFE_HOME"] = folder
            taken.append([first_picture(notebook), first_picture(notebook)])
        print(f"round {number + 1}: first picture after", *(f"{s:.1f} s" for s in taken[-1]))
    return [
        {"what": f"first picture of {notebook.stem}, {name}", "seconds": round(median(column), 1)}
        for name, *column in zip(("first time", "second time"), *taken, strict=True)
    ]


def main():
    made = parser(__doc__, "start")
    made.add_argument("--rounds", type=int, default=5)
    options = made.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    table = import_rows(options.rounds) + picture_rows(options.rounds)
    facts = {"rounds": options.rounds, "load": load_average()}
    write_rows(options.out, [{**row, **facts} for row in table])


if __name__ == "__main__":
    main()
