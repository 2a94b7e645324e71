"""The model card of a shared network, in the form that Hugging Face's hub reads: metadata that it
shows and searches, and a text with the results and their protocols."""

from __future__ import annotations

from collections.abc import Mapping

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ibnseg.evaluation.metrics import METRICS
from ibnseg.report.markdown import escaped
from ibnseg.report.sheets import protocol_title
from ibnseg.report.tables import run_markdown
from ibnseg.runs.kinds import as_list

LICENCES = (
    "afl-3.0 agpl-3.0 apache-2.0 apple-amlr apple-ascl artistic-2.0 bigcode-openrail-m "
    "bigscience-bloom-rail-1.0 bigscience-openrail-m bsd bsd-2-clause bsd-3-clause "
    "bsd-3-clause-clear bsl-1.0 c-uda cc cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 "
    "cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 "
    "cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0 "
    "cdla-permissive-2.0 cdla-sharing-1.0 creativeml-openrail-m ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 "
    "eupl-1.1 eupl-1.2 gfdl gpl gpl-2.0 gpl-3.0 intel-research isc lgpl lgpl-2.1 lgpl-3.0 lgpl-lr "
    "lppl-1.3c mit mpl-2.0 ms-pl ncsa odbl odc-by ofl-1.1 openrail openrail++ osl-3.0 pddl "
    "postgresql unlicense wtfpl zlib"
)
"""The hub's names of the licences that it knows (hub-docs, docs/hub/repositories-licenses.md), but
for those of single language models. Others are ``other`` there, and have a name beside it."""


def model_card(info: Mapping, results: Mapping | None, name: str) -> str:
    """Writes the card of a network.

    Args:
        info: the content of its ``config.json``.
        results: the content of its ``results.json``; None if it was not tested.
        name: what it is called on the hub, without the user.

    Returns:
        Markdown, with the metadata in front, as ``README.md`` has it.
    """
    data = card_data(info, results, name)
    parts = [
        f"# {escaped(info['title'])}, trained on {_trained_on(info)}",
        _what_it_is(info),
        f"## Results\n\n{_results(info, results)}",
        f"## Use\n\n{_use(name)}",
        f"## Training\n\n{_training(info)}",
        f"## Licence\n\n{_licence(info)}",
    ]
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(parts) + "\n").content


def card_data(info: Mapping, results: Mapping | None, name: str) -> ModelCardData:
    """Collects the metadata of a card.

    mIoU is given as a fraction, with its protocol in its name and arguments.

    Args:
        info, results, name: as for :func:`model_card`.
    """
    evaluated = _evaluations(results) if results else []
    return ModelCardData(
        library_name=info["library_name"],
        pipeline_tag="image-segmentation",
        tags=["semantic-segmentation", "domain-generalization", "driving-scenes"],
        datasets=list(info["train_domains"]),
        metrics=["mean_iou"] if evaluated else None,
        model_name=name if evaluated else None,
        eval_results=evaluated or None,
        **_licence_data(info["licence"]),
    )


def _evaluations(results: Mapping) -> list[EvalResult]:
    return [
        EvalResult(
            task_type="image-segmentation",
            task_name="Semantic segmentation",
            dataset_type=test["domain"],
            dataset_name=_title(results, test["domain"]),
            dataset_split=test["split"],
            metric_type="mean_iou",
            metric_name=f"{METRICS['mIoU'].title} ({protocol_title(test['protocol'])})",
            metric_value=test["mIoU"],
            metric_args=dict(test["protocol"], classes=len(test["eval_classes"])),
        )
        for test in results["tests"]
        if test["mIoU"] is not None
    ]


def _licence_data(licence: str | None) -> dict[str, str]:
    if licence is None:
        return {}
    if licence in LICENCES.split():
        return dict(license=licence)
    return dict(license="other", license_name=licence)


def _title(info: Mapping, domain: str) -> str:
    return (info["domains"].get(domain) or {}).get("title", domain)


def _trained_on(info: Mapping) -> str:
    recorded = dict(domains=info["config"].get("domains") or {})
    return " + ".join(escaped(_title(recorded, name)) for name in info["train_domains"])


def _what_it_is(info: Mapping) -> str:
    classes = ", ".join(map(escaped, info["classes"]))
    return (
        f"A network for the semantic segmentation of driving scenes, trained on "
        f"{_trained_on(info)} with the Python package `ibnseg`, which measures how well such a "
        "network works in other domains. It gives each pixel of an image one of "
        f"{len(info['classes'])} classes: {classes}."
    )


def _results(info: Mapping, results: Mapping | None) -> str:
    parts = []
    if info["selected"]:
        parts.append(f"**A selected checkpoint:** {escaped(info['selected'])}.")
    if results is None:
        parts.append("This checkpoint has not been tested.")
        return "\n\n".join(parts)
    parts.append(run_markdown(results).strip())
    shown = {protocol_title(test["protocol"]): None for test in results["tests"]}
    parts.append(
        f"Tested by {escaped('; '.join(shown))}. Numbers by other protocols cannot be compared "
        "with these.\n\n`results.json` has the confusion matrices, `per_image/` those of images."
    )
    return "\n\n".join(parts)


def _use(name: str) -> str:
    return f"""```python
from ibnseg import from_pretrained, predict

network = from_pretrained("USER/{name}")  # or a folder with these files
train_ids = predict(network, "street.png")  # (H, W) uint8
```

`ibnseg pull USER/{name}` makes a run of it, which can be tested on other domains and compared:

```sh
ibnseg test work_dirs/{name} --domains cityscapes,bdd100k
```"""


def _training(info: Mapping) -> str:
    config = info["config"]
    optimizer = config.get("optimizer") or (config.get("optim_wrapper") or {}).get("optimizer")
    height, width = config["crop_size"]
    lines = {
        "config": f"`{config['name']}`",
        "steps": f"{info['length']['iterations']} of {config['batch']} crops of {width}x{height}",
        "optimiser": ", ".join(f"{key} {value}" for key, value in (optimizer or {}).items()),
        "starts from": _start(config),
        "recipe": f"{info['recipe']}, seed {info['seed']}; `config.json` has all of it",
        "checkpoint": f"of step {info['iteration']}",
        "versions": ", ".join(f"{key} {value}" for key, value in info["versions"].items()),
    }
    return "\n".join(f"- {key}: {_cell(value)}" for key, value in lines.items() if value)


def _cell(text: str) -> str:
    return text if "`" in text else escaped(text)


def _start(config: Mapping) -> str:
    if config.get("start_from"):
        return "another run's weights"
    given = (config["model"].get("backbone") or {}).get("init_cfg")
    several = given if isinstance(given, list) else [given]
    found = [each["checkpoint"] for each in several if each and each.get("checkpoint")]
    return ", ".join(map(str, found)) or "random weights"


def _licence(info: Mapping) -> str:
    data = ", ".join(as_list(info["train_domains"]))
    if info["licence"] is None:
        return (
            f"No licence was stated for these weights. The terms of the training data ({data}) may "
            "restrict their use."
        )
    return f"{escaped(info['licence'])}. The terms of the training data ({data}) hold as well."
