"""The commands of ``ibnseg``: a table of them, their shared arguments, and a file for each group.

Nothing here imports what is slow at its top; a command does when it runs.
"""
