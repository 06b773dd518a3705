from mtl.training.shown_metrics import main_metrics

PRIMARY = {"gad": "f1", "sts": "pearson"}


def test_the_main_metrics_are_few_and_those_of_the_user_are_shown() -> None:
    shows = main_metrics(PRIMARY)
    main = [
        "val/selection",
        "val/gad/f1",
        "val/gad/loss",
        "test/gad/f1",
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
        "test/sts/f1",
        "baseline/test/gad/recall",
        "baseline/test/gad/tfidf/f1",
        "learning_rate/gad",
        "data/gad/train/read",
        "data/gad/rate",
    ]
    assert [name for name in main + others if shows(name)] == main


def test_eight_tasks_have_fewer_than_sixty_main_metrics() -> None:
    primary = {f"t{number}": "f1" for number in range(8)}
    shows = main_metrics(primary)
    names = ["val/selection", "epoch", "learning_rate/encoder"]
    for task in primary:
        names += [f"learning_rate/{task}", f"train/{task}/loss"]
        for name in ("f1", "precision", "recall", "loss"):
            names += [f"val/{task}/{name}", f"test/{task}/{name}"]
            names += [f"baseline/{split}/{task}/{name}" for split in ("dev", "test")]
    assert len([name for name in names if shows(name)]) == 2 + 6 * len(primary) < 60
