"""The loop replayed offline, on labels that several people have already given.

simulate   `simulate`, all runs of a `Plan` and their files
replay     `replay`, one run
corpus     `Corpus` and `read_corpus`, labelled texts from tables
"""
