"""Exports and the report: what a team takes out of a project. Label Studio and the state are only read.

export   `export`, the rows of a project in a file format
report   `report`, whose `build_content` gives `content.Content`, and `html.page` the page
"""
