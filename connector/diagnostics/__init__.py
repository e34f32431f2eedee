"""The status of a project, and what is wrong with it. Label Studio and the state are only read.

status     `status` and `ProjectStatus`, with `status_text.format_status`
overview   `overview`, one line per server and project
doctor     `examine`, the checks of servers, queue and serving order
"""
