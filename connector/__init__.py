"""The loop that keeps a Label Studio project's label stream in the best order.

One `connector sync` pulls what the annotators have labelled, finds a consensus label for every labelled task, has the
ML backend trained on them, scores all tasks with ActiveLab (what would one more annotation be worth, for a new task
and for a labelled one alike), chooses the window of the most valuable tasks and publishes it as the order of the
label stream.

Reading order: `cli`, `console`, `settings`, `errors`, `sync`, `mirror`, `label_studio`, `answers`, `label_config`,
`annotations`, `scoring`, `heard`, `backend`, `activelab`, `multilabel`, `crowdlab`, `calibration`, `oracle`,
`selection`, `queue`, `adopt`, `undo`, `status`, `doctor` (with `findings`, `checks`, `symptoms`, `evidence`), `export`
(with `table`, `formats`), `state`, `database`, `lock`, `schema`, `progress`.
"""

__version__ = "0.1.0"
