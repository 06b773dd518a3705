"""Presents findings: sentences, numbers, figures, pages and files.

- `conclusions`: what a study shows, in sentences, with phrases from `presentation`.
- `presentation`: how a gain is shown: its place in a matrix, its mark, its numbers and the phrase for its partner.
- `score_matrix`: scores by training corpus and test corpus, of the design `cross`.
- `figures`: heat maps, forest plots and learning curves.
- `fold_table`: the scores of a cross-validated study, all folds together and as means over folds.
- `size_curves`: the gains against the size of the target's training set, of the design `sizes`.
- `stage_table`: the scores before and after the stages of `refine_finetune`.
- `surface_table`: the scores on seen and on unseen mentions.
- `arm_table`: the scores of the arms next to published ones.
- `page`: a self-contained HTML page, and tables for MLflow and the terminal.
- `outcome`: the files of a report, and what MLflow gets.

Next: `mtl.commands.study`, which writes the report and prints the gains.
"""

__all__ = ["conclusions", "outcome", "page"]
