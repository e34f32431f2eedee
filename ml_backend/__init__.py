"""The model side of the loop: texts and labels in, out-of-sample class probabilities and predictions out, over HTTP.

It knows texts, classes, models and Label Studio's ML-backend protocol, and no annotators. In reading order: `cli`
starts a server from `settings`; `app` is the table of routes; `service` the use cases behind them; `project` what is
kept of one project (`pool`, `features`, `registry`); `jobs`, `training`, `milestones` and `tuning` make a new model;
`classifiers` are the models.
"""
