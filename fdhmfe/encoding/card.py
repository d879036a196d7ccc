"""What is to be known of a model that is shared, and the card that says it.

Every score comes from files that runs wrote.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from fdhmfe.config.methods import REFERENCES
from fdhmfe.config.settings import Config
from fdhmfe.data.dataset import Dataset
from fdhmfe.data.fetch.sources import SOURCES
from fdhmfe.data.report import of_published
from fdhmfe.data.views import Preprocessing
from fdhmfe.runs import ledger
from fdhmfe.runs.results import (
    FINE_TUNING,
    PLACES,
    headline,
    read_environment,
    read_metrics,
    read_settings,
)

TEMPLATE = Path(__file__).with_name("card.md.j2")
SCORE = ["protocol", "metric", "k", "n_query", "n_database", "value"]
ALIKE = ["protocol", "seed", "fold", "value"]
OTHER = ("seed", "protocol", "fold")  # what runs that are alike may differ in
MEANINGS: Mapping[str, str] = {
    "all-classes": "classes trained on: test images among train images",
    "seen@seen": "classes trained on: test images among train images",
    "unseen@unseen": "classes held out of training, among themselves",
    "unseen@all": "classes held out of training, among images of all classes",
    "half": "the half of the classes that was held out, each image among all others",
}


def facts(
    folder: Path, config: Config, pre: Preprocessing, dataset: Dataset, model_id: str
) -> dict[str, Any]:
    """What is to be known of a finished run beside its weights, as JSON can hold it."""
    train = dataset.rows("train")
    trained = int(dataset.labels(train).max()) + 1
    return {
        "model_id": model_id,
        "settings": {k: v for k, v in asdict(config).items() if k not in PLACES},
        "preprocessing": pre._asdict(),
        "classes": list(dataset.classes[:trained]),
        "data": {"classes": len(dataset.classes), "train_images": len(train)},
        "made_with": read_environment(folder),
        "scores": own_rows(folder)[SCORE].to_dict("records"),
        "runs_alike": runs_alike(folder)[ALIKE].to_dict("records"),
    }


def own_rows(folder: Path) -> pd.DataFrame:
    """The rows of a run's metrics.csv that are scores of its own codes, ties in expectation."""
    table = read_metrics(folder)
    table = table[~table.method.isin(REFERENCES)]
    return pd.concat([headline(table, metric) for metric in table.metric.unique()])


def runs_alike(folder: Path) -> pd.DataFrame:
    """mAP rows of a run, and of those in its results' tables that differ from it in OTHER alone."""
    own, output_dir = own_rows(folder), folder.parent.parent
    own = own[own.metric == "mAP"]
    tables = ledger.in_force(output_dir)
    runs = tables[ledger.RUNS]
    runs = runs[runs.run_id != folder.name]
    (made,) = ledger.run_list([folder]).to_dict("records")
    aside = {*PLACES, *FINE_TUNING, *OTHER}
    same = [name for name in read_settings(folder) if name not in aside]
    if made["backbone"] != "embedded":  # that one is trained anew for other held-out classes
        same.append("backbone_id")
    if made["dataset"] == "folder":  # two folders have the same name
        same.append("dataset_hash")
    needed = {*same, *OTHER, "query_classes"}
    if not needed <= {*runs.columns} & {*made}:  # no tables, or those of another version
        return own
    for name in same:
        runs = runs[runs[name].astype(str) == str(made[name])]
    runs = runs[ledger.class_counts(runs) == ledger.class_counts(pd.DataFrame([made])).iloc[0]]
    held_out = (runs.protocol != made["protocol"]) | (runs.fold != made["fold"])
    runs = runs[held_out | (runs.dataset_hash == made["dataset_hash"])]
    others = headline(tables[ledger.METRICS])
    others = others[others.run_id.isin(runs.run_id) & ~others.method.isin(REFERENCES)]
    return pd.concat([own, others])


def card(about: Mapping[str, Any]) -> str:
    """The text of README.md, from what `facts` returned."""
    config = Config(**about["settings"])
    chosen = config.composition
    title = chosen.title + ("" if config.variant == "full" else f", {config.variant}")
    shown = ModelCard.from_template(
        metadata(about, config),
        template_path=str(TEMPLATE),
        title=title,
        method=chosen.name,
        bits=config.bits,
        size=config.image_size,
        data=data_title(about),
        train_images=about["data"]["train_images"],
        trained=len(about["classes"]),
        fold=config.fold if config.protocol.startswith("folds") else None,
        scores=score_table(pd.DataFrame(about["scores"])),
        alike=alike_table(pd.DataFrame(about["runs_alike"])),
        limits=limits(about, config),
        licence=licence(config),
        settings=about["settings"],
        preprocessing=about["preprocessing"],
        made_with=about["made_with"],
    )
    return f"{str(shown).rstrip()}\n"


def data_title(about: Mapping[str, Any]) -> str:
    """A data set in words, and how many of its classes there were: "(100 of 200 classes)"."""
    name = about["settings"]["dataset"]
    own = {"toy": "drawn beetles", "folder": "a folder of the maker's own images"}
    title = own[name] if name in own else SOURCES[name].title
    return f"{title} ({of_published(name, about['data']['classes'])})"


def metadata(about: Mapping[str, Any], config: Config) -> ModelCardData:
    """What the Hub reads: licence, tags, and the scores as a `model-index`."""
    name = config.dataset
    terms: dict[str, Any] = {"license": "other", "license_name": "terms-of-the-data-set"}
    if name == "toy":
        terms = {"license": "mit"}
    elif name in SOURCES:
        terms["license_link"] = SOURCES[name].home
    results = [
        EvalResult(
            task_type="image-retrieval",
            dataset_type=name,
            dataset_name=data_title(about),
            dataset_config=row["protocol"],
            metric_type=row["metric"],
            metric_name=score_name(row),
            metric_value=row["value"],
        )
        for row in about["scores"]
    ]
    return ModelCardData(
        model_name=f"{config.composition.name}-{name}-{config.bits}bits",
        library_name="fdhmfe",
        pipeline_tag="image-feature-extraction",
        tags=["image-retrieval", "hashing", "fine-grained"],
        eval_results=results,
        **terms,
    )


def score_name(row: Mapping[str, Any]) -> str:
    """mAP@all, P@10: a metric with its cut."""
    return row["metric"] if "@" in row["metric"] else f"{row['metric']}@{row['k']}"


def score_table(scores: pd.DataFrame) -> str:
    """The model's own scores in Markdown: a row per protocol, a column per metric."""
    shown = scores.assign(score=scores.apply(score_name, axis=1), value=100 * scores.value)
    keys = ["protocol", "n_query", "n_database"]
    wide = shown.pivot_table(index=keys, columns="score", values="value", sort=False)
    wide = wide.reset_index().rename(columns={"n_query": "queries", "n_database": "database"})
    wide.insert(1, "searched", wide.protocol.map(MEANINGS).fillna("to choose settings by"))
    return wide.to_markdown(index=False, floatfmt=".1f")


def alike_table(runs: pd.DataFrame) -> str:
    """mAP by protocol in Markdown, with its spread: over the folds, else over the seeds."""
    rows = []
    for protocol, own in runs.groupby("protocol", sort=False):
        folds = own.groupby("fold").value.mean()
        seeds = own.groupby("seed").value.mean()
        spread, over = "none", "one run"
        if len(folds) > 1:
            spread, over = f"{100 * folds.std():.1f}", f"standard deviation of {len(folds)} folds"
        elif len(seeds) > 1:
            half = 50 * (seeds.max() - seeds.min())
            spread, over = f"{half:.1f}", f"half the range of {len(seeds)} seeds"
        mean = f"{100 * folds.mean():.1f}"
        rows.append({"protocol": protocol, "mAP@all": mean, "spread": spread, "of": over})
    return pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)


def limits(about: Mapping[str, Any], config: Config) -> list[str]:
    """What the model cannot do, or what nobody has measured."""
    protocols = {row["protocol"] for row in about["runs_alike"]}
    unseen = any(name.startswith(("unseen", "half")) for name in protocols)
    found = ["It was made for research, and to compare methods; nothing was tuned for other use."]
    if config.dataset == "toy":
        found.append("It knows drawn beetles, to try the kit with; photographs are beyond it.")
    found.append(
        "Classes that it was not trained on have scores of their own above: `unseen`, `half`."
        if unseen
        else "Nobody has measured its codes of classes that it was not trained on: expect less."
    )
    if (name := config.dataset) in SOURCES and about["data"]["classes"] < SOURCES[name].classes:
        found.append(f"Only a part of {SOURCES[name].title} was used: no published score compares.")
    found.append("With another machine or version of torch, a few bits of a code may differ.")
    return found


def licence(config: Config) -> str:
    """On whose terms the weights can be used, as far as the kit knows."""
    if config.dataset == "toy":
        return "MIT, as the kit, which draws the images itself."
    said = "The weights were trained on images that have terms of their own"
    if source := SOURCES.get(config.dataset):
        said += f". [{source.title}]({source.home}): {source.terms}."
    else:
        said += ": see the data set's own terms."
    if config.backbone != "embedded":
        said += (
            f" The weights of `{config.backbone}` that the training began with have theirs, too."
        )
    return said
