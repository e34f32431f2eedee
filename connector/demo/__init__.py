"""The main job on one machine: real servers, simulated annotators, a sync between their batches, a table of rounds.

servers   a real Label Studio and the ML backend as processes of their own
people    annotators who use the endpoints that Label Studio's own page uses
texts     what they label: generated requests, or a directory of tables
rounds    label, sync, measure; then the table
"""
