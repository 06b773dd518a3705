"""Training one mixture: the LightningModule, its callbacks and its checkpoints.

- `module`: `MultiTaskModule`, the shared encoder with a head per task.
- `assembly`: from a mixture to the objects that Lightning trains; configuration ends here and plain arguments begin;
  `default_module` also takes the default learning rate of an encoder's entry in the catalogue.
- `hyperparameters`: `Optimisation`, the learning rates and the other settings of the optimiser, with their defaults.
- `learning_rates`: default learning rates by the size of the encoder.
- `averaging`: the average of the weights, which is evaluated and saved if `average` is set.
- `optimisation`, `precision`, `profiling`: the optimiser and its schedule, the number format, and where the time goes.
- `selection`: which evaluation on dev is the best; `early_stopping` and `saving` act on it.
- `checkpoints`: reads checkpoints and checks whether they fit a mixture.
- `matching_heads`: heads that start from those of another run.
- `train_losses`: training losses between two logs.
- `withholding`: updates that are not finite change no weight; `guard`: what else happens then, with its defaults.
- `memory`: what to lower if the device runs out of memory.
- `recorder`: what a run records; `shown_metrics` and `run_description`: what of it MLflow shows at first sight.
- `subgroup_report`: scores of groups of rows, such as those of one site, in tables and files of a run.
- `surface_report`: scores on mentions that train knows and on those that it does not, in tables and files of a run.
- `progress`: lines about the progress where there is no terminal.
- `undertrained`: which tasks were still improving when training ended.
- `signals`: SIGTERM and SIGUSR1 save and end a run; `run_watch` ends one whose other processes have died.

Next: `mtl.study`, which trains many runs to answer a question.
"""

__all__ = [
    "assembly",
    "checkpoints",
    "default_module",
    "early_stopping",
    "guard",
    "hyperparameters",
    "learning_rates",
    "matching_heads",
    "module",
    "precision",
    "profiling",
    "progress",
    "recorder",
    "run_watch",
    "saving",
    "selection",
    "shown_metrics",
    "signals",
    "surface_report",
    "undertrained",
]
