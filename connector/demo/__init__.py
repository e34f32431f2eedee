"""The demo: real servers, simulated annotators, a sync between their batches, and a table of rounds.

servers   a real Label Studio and the ML backend as separate processes
people    annotators who use the same endpoints as Label Studio's page
texts     what they label: generated requests, or a directory of tables
rounds    label, sync, measure
"""
