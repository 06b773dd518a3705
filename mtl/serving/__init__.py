"""A run that answers: as an MLflow model, on a page in the browser, and as a component of spaCy.

All of them predict with `mtl.prediction.predictor`, so they find what `mtl predict` writes.

- `model_folder`: writes a run as an MLflow model, and logs and registers it.
- `model_code`: the code file of such a model.
- `served_run`: what the code file loads: the run behind MLflow's interface.
- `model_files`: where the files of such a folder lie, and their checksums.
- `request_problems`: problems of a request, in the terms of its sender.
- `scoring_server`: MLflow's server of such a model, in a process of its own.
- `ports`: the address of a server, and whether its port is free.
- `page_server`: the page in the browser, and its server.
- `spacy_component`: the component `biomtl` of a spaCy pipeline.

Next: `mtl.commands`.
"""

DECIDES_RESULTS = False

__all__ = ["model_folder", "page_server", "ports", "scoring_server"]
