"""Transfer studies: many runs of one mixture's tasks, to measure which tasks help each other.

Data flows through the packages in this order:

- `design`: from a study file to the comparisons and to the runs that they need, each with its key.
- `running`: trains the runs, stores their results, and finds the results of earlier runs.
- `statistics`: from results to findings: gains, tests, intervals and groupings.
- `report`: presents findings as sentences, tables, figures and a page.

`running` imports the other three, because its session carries a study from the plan to the findings; none of them
imports `running`. Everything outside a package uses only the modules that it names in `__all__`.

Next: `mtl.commands.study`, the command that plans, runs, reports and verifies a study.
"""
