"""From raw text to predictions: inputs as people have them, mentions that become candidates of relations, outputs.

- `inputs`: texts in files, strings or rows, with the keys and columns that are carried to the output.
- `input_options`: what the user says about how an input is written; `input_encoding` and `table_layout` find out the
  rest.
- `mentions`: which entity tasks find the mentions that another task relates or labels, and rows with these mentions.
- `pipeline`: rows to batches and outputs to decoded predictions, one chunk of rows at a time.
- `row_fitting`: rows as a head reads them, completed to what it had in training.
- `input_job`: which rows of an input tasks can predict, and where the mentions that they need come from.
- `output_records`: decoded predictions in the form in which they are written.
- `unfinished`: what an interrupted prediction leaves, so that it can be resumed.
- `trained_model`: the mixture, heads, weights and calibration of a checkpoint.
- `predictor`: the checkpoint of a run, loaded once, which predicts any number of inputs.
- `predicting`: predicts a whole input with a checkpoint, and writes the predictions.
- `one_device`: the trainer of predictions and of scores of finished runs.
- `end_to_end`: scores relations and attributes of predicted mentions on test.
- `calibrating`: calibrates tasks of a finished run on dev, and checks them on test.
- `label_sets`: sets of labels that contain the right one with a stated probability.
- `soft_labels`: which tasks write the probabilities of the tags of words, as soft labels for another model.
- `finished_run`: the best checkpoint of a run, which scores rows.
- `other_systems`: predictions of another system as those of a head; `systems` scores them, and runs, on the same rows.
- `weak_agreement`: how weak labels agree with gold, by source.
- `other_corpus`: the rows of another corpus for a task of a run; `cross_evaluation` scores them.

Next: `mtl.serving`, `mtl.study` and `mtl.commands`.
"""

DECIDES_RESULTS = False

__all__ = [
    "calibrating",
    "cross_evaluation",
    "end_to_end",
    "finished_run",
    "inputs",
    "other_corpus",
    "predicting",
    "predictor",
    "systems",
    "trained_model",
    "weak_agreement",
]
