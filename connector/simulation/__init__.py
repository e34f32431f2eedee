"""The loop replayed offline, on labels that several people have already given.

simulate        `simulate`, all runs of a `Plan` and their files
replay          `replay`, one run
corpus          `Corpus` and `read_corpus`, labelled texts or images from tables
project_corpus  `read_project`, those of a project, and `project_media`, its media
"""
