"""The worker: a process of its own, at low priority, that turns decisions into generations.

`supervisor` keeps it alive, `loop` takes one step at a time, `triggers` says what is due, `lease` holds a
job, `tasks` is where the model library and the store meet.
"""
