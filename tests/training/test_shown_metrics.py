from typing import Any

from heads.classification import Classification
from heads.multilabel import Multilabel
from mtl.training.shown_metrics import main_metrics, metrics_of_interest

SHOWN = {"gad": ["f1", "auroc", "mcc"], "sts": ["pearson"]}
OPERATING_POINT = {"sensitivity", "specificity", "ppv", "npv"}


def test_the_main_metrics_are_few_and_those_of_the_user_are_shown() -> None:
    shows = main_metrics(SHOWN)
    main = [
        "val/selection",
        "val/gad/f1",
        "val/gad/loss",
        "val/gad/auroc",
        "test/gad/f1",
        "test/gad/mcc",
        "test/gad/seen_f1",
        "test/gad/unseen_f1",
        "test/gad/end_to_end_micro_f1",
        "test/gad/end_to_end_recall",
        "test/sts/pearson",
        "train/gad/loss",
        "baseline/test/gad/f1",
        "learning_rate/encoder",
        "guard/withheld",
        "mine",
        "mine/gad/f1/x",
    ]
    others = [
        "epoch",
        "val/gad/recall",
        "test/gad/loss",
        "test/gad/seen_recall",
        "test/sts/f1",
        "test/sts/mcc",
        "baseline/test/gad/recall",
        "baseline/test/gad/mcc",
        "baseline/test/gad/tfidf/f1",
        "learning_rate/gad",
        "data/gad/train/read",
        "data/gad/rate",
    ]
    assert [name for name in main + others if shows(name)] == main


def test_what_options_ask_for_is_of_interest() -> None:
    def of(head: type[Any], **options: Any) -> list[str]:
        return metrics_of_interest(head(["yes", "no"], 8, **options), options)

    assert of(Classification) == ["accuracy"]
    assert of(Classification, primary_metric="macro_f1", metrics=["mcc", "auroc"]) == ["macro_f1", "mcc", "auroc"]
    assert of(Multilabel, metrics=["auprc"]) == ["micro_f1", "auprc"]
    goal = {"threshold": {"sensitivity": 0.95}}
    assert of(Multilabel, **goal)[0] == "micro_f1"
    assert set(of(Multilabel, **goal)[1:]) == OPERATING_POINT
    primary, *rest = of(Classification, **goal, positive="yes", primary_metric="specificity", metrics=["auroc"])
    assert (primary, set(rest)) == ("specificity", OPERATING_POINT - {primary} | {"auroc"})
    assert of(Multilabel, threshold="tuned") == ["micro_f1"]


def test_eight_tasks_have_fewer_than_sixty_main_metrics() -> None:
    shown = {f"t{number}": ["f1"] for number in range(8)}
    shows = main_metrics(shown)
    names = ["val/selection", "epoch", "learning_rate/encoder"]
    for task in shown:
        names += [f"learning_rate/{task}", f"train/{task}/loss"]
        for name in ("f1", "precision", "recall", "loss"):
            names += [f"val/{task}/{name}", f"test/{task}/{name}"]
            names += [f"baseline/{split}/{task}/{name}" for split in ("dev", "test")]
    assert len([name for name in names if shows(name)]) == 2 + 6 * len(shown) < 60
